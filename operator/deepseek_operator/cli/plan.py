"""``deepseek-operator plan``: what the operator would choose and why, without writing anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from deepseek_operator.api.problems import InvalidInputError
from deepseek_operator.cli.documents import read_config, read_deployments
from deepseek_operator.cli.exits import Exit, failures_as_exit_codes, tell_problems
from deepseek_operator.cli.options import (  # typer reads them at run time
    ConfigFile,
    DefaultStorageClass,
    ModelConfigFile,
    Namespace,
    NodesFile,
    Output,
    ResourceFile,
)
from deepseek_operator.cli.output import console, write_json, write_yaml
from deepseek_operator.cli.picture import draw
from deepseek_operator.cli.planning import catalog_with, facts, launch_of, plan_deployment, view_cluster
from deepseek_operator.plan.explain import plan_document
from deepseek_operator.plan.types import Plan, Refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deepseek_operator.api.config import OperatorConfig
    from deepseek_operator.catalog.types import Catalog
    from deepseek_operator.cli.documents import Deployment


def plan(
    *,
    filename: ResourceFile,
    nodes: NodesFile = None,
    output: Output = typer.Option(Output.TEXT, "--output", "-o", help="text is a picture."),  # noqa: B008 - typer
    namespace: Namespace = "default",
    config: ConfigFile = None,
    default_storage_class: DefaultStorageClass = None,
    model_config: ModelConfigFile = None,
) -> None:
    """Show the plan of each DeepSeekDeployment in a file: nodes, split, memory, image, and why.

    With several deployments `-o json` prints a list, each with its name and namespace.
    """
    with failures_as_exit_codes():
        settings = read_config(config)
        try:
            deployments = read_deployments(filename, namespace=namespace)
            catalog = catalog_with(deployments, model_config)
        except InvalidInputError as error:
            if output is not Output.TEXT:
                refusal = Refusal(problems=error.problems, considered=(), waits_for_cluster=False)
                _write([plan_document(refusal, launch=None, groups=0)], output)
            raise
        view = view_cluster(nodes)
        known = facts(view, settings, default_storage_class=default_storage_class)
        outcomes = [(each, plan_deployment(each, view, known, catalog=catalog)) for each in deployments]
        if output is Output.TEXT:
            _show(outcomes)
        else:
            _write([_document(*pair, settings, catalog, several=len(outcomes) > 1) for pair in outcomes], output)
        raise typer.Exit(verdict(outcomes))


def verdict(outcomes: Sequence[tuple[Deployment, Plan | Refusal]]) -> Exit:
    """The exit code of several outcomes, the worst one; refusals are told on stderr."""
    refusals = [(deployment, outcome) for deployment, outcome in outcomes if isinstance(outcome, Refusal)]
    for deployment, refusal in refusals:
        tell_problems(refusal.problems, about=f"{deployment.name}: ")
    if not refusals:
        return Exit.GOOD
    waits = all(refusal.waits_for_cluster for _, refusal in refusals)
    return Exit.NOTHING_FITS if waits else Exit.INPUT_WRONG


def _document(
    deployment: Deployment, outcome: Plan | Refusal, config: OperatorConfig, catalog: Catalog, *, several: bool
) -> dict[str, Any]:
    launch = launch_of(deployment, outcome, config, catalog=catalog) if isinstance(outcome, Plan) else None
    document = plan_document(outcome, launch=launch, groups=deployment.spec.replicas)
    identity = {"name": deployment.name, "namespace": deployment.namespace}
    return identity | document if several else document


def _write(documents: list[dict[str, Any]], output: Output) -> None:
    """One document for one deployment, a list of them for several."""
    document = documents[0] if len(documents) == 1 else documents
    (write_json if output is Output.JSON else write_yaml)(document)


def _show(outcomes: Sequence[tuple[Deployment, Plan | Refusal]]) -> None:
    screen = console()
    for deployment, outcome in outcomes:
        screen.print(draw(outcome, title=deployment.name, groups=deployment.spec.replicas, width=screen.width))

"""``deepseek-operator plan``: what the operator would choose and why, without writing anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deepseek_operator.api.problems import InvalidInputError
from deepseek_operator.cli.catalogs import read_catalog, warnings_of
from deepseek_operator.cli.documents import read_config, read_deployments
from deepseek_operator.cli.exits import Exit, failures_as_exit_codes, tell_problems
from deepseek_operator.cli.options import (  # typer reads them at run time
    CatalogFiles,
    ConfigFile,
    DefaultStorageClass,
    ModelConfigFile,
    Namespace,
    NodesFile,
    Output,
    ResourceFiles,
)
from deepseek_operator.cli.output import console, picture_width, write_json, write_yaml
from deepseek_operator.cli.picture import draw
from deepseek_operator.cli.planning import (
    Planned,
    compare_placements,
    launch_of,
    plan_all,
    plan_what_if,
    surroundings,
    view_cluster,
    with_configs,
)
from deepseek_operator.cli.tables import draw_assumptions, draw_placements, parse_assumption
from deepseek_operator.plan.comparison import Row, placements_document
from deepseek_operator.plan.explain import plan_document
from deepseek_operator.plan.types import HardwareClass, Plan, Refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deepseek_operator.api.config import OperatorConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """Everything that was asked about one deployment."""

    planned: Planned
    placements: tuple[Row, ...] | None
    """None: not asked for."""
    what_if: tuple[tuple[HardwareClass, Plan | Refusal], ...]


def plan(  # noqa: PLR0913 - each option of the command is an argument
    *,
    filename: ResourceFiles,
    nodes: NodesFile = None,
    output: Output = typer.Option(Output.TEXT, "--output", "-o", help="text is a picture."),  # noqa: B008 - typer
    namespace: Namespace = "default",
    config: ConfigFile = None,
    default_storage_class: DefaultStorageClass = None,
    model_config: ModelConfigFile = None,
    catalog: CatalogFiles = None,
    compare: Annotated[
        bool,
        typer.Option("--compare", help="Show every placement that works side by side, the best first."),
    ] = False,
    what_if: Annotated[
        list[str] | None,
        typer.Option(
            "--what-if",
            metavar="ASSUMPTION",
            help="Plan again as if the cluster had these nodes, e.g. nodes=4 or nodes=2,product=H200,devices=8. What "
            "is not said is as it is. Repeatable.",
        ),
    ] = None,
) -> None:
    """Show the plan of each DeepSeekDeployment in a file: nodes, split, memory, image, and why.

    With several deployments `-o json` prints a list, each with its name and namespace.
    """
    with failures_as_exit_codes():
        settings = read_config(config)
        try:
            deployments = read_deployments(filename, namespace=namespace)
            assumptions = [parse_assumption(each) for each in what_if or ()]
            found = read_catalog(catalog)
            deployments = with_configs(deployments, model_config=model_config, nodes_file=nodes)
        except InvalidInputError as error:
            if output is not Output.TEXT:
                refusal = Refusal(problems=error.problems, considered=(), waits_for_cluster=False)
                _write([plan_document(refusal, launch=None, groups=0)], output)
            raise
        view = view_cluster(nodes, found.catalog)
        around = surroundings(view, found.catalog, settings, default_storage_class=default_storage_class)
        answers = [
            _Answer(
                planned=each,
                placements=tuple(compare_placements(each, around)) if compare else None,
                what_if=tuple(plan_what_if(each, around, assumed) for assumed in assumptions),
            )
            for each in plan_all(deployments, around)
        ]
        if output is Output.TEXT:
            _show(answers)
        else:
            seen = (*warnings_of(found), *view.unseen)
            _write([_document(each, settings, seen, several=len(answers) > 1) for each in answers], output)
        raise typer.Exit(verdict([each.planned for each in answers]))


def verdict(planned: Sequence[Planned]) -> Exit:
    """The exit code of several outcomes, the worst one; refusals are told on stderr."""
    refusals = [(each.deployment, each.outcome) for each in planned if isinstance(each.outcome, Refusal)]
    for deployment, refusal in refusals:
        tell_problems(refusal.problems, about=f"{deployment.name}: ")
    if not refusals:
        return Exit.GOOD
    waits = all(refusal.waits_for_cluster for _, refusal in refusals)
    return Exit.NOTHING_FITS if waits else Exit.INPUT_WRONG


def _document(answer: _Answer, config: OperatorConfig, warnings: tuple[str, ...], *, several: bool) -> dict[str, Any]:
    deployment = answer.planned.deployment
    document = _planned(answer.planned, answer.planned.outcome, config)
    document["warnings"] += warnings
    if answer.placements is not None:
        document["placements"] = placements_document(answer.placements)
    if answer.what_if:
        document["whatIf"] = [
            {
                "assumed": {
                    "nodes": len(hardware.nodes),
                    "product": hardware.product,
                    "devices": hardware.accelerators_per_node,
                },
                **_planned(answer.planned, outcome, config),
            }
            for hardware, outcome in answer.what_if
        ]
    identity = {"name": deployment.name, "namespace": deployment.namespace}
    return identity | document if several else document


def _planned(planned: Planned, outcome: Plan | Refusal, config: OperatorConfig) -> dict[str, Any]:
    launch = launch_of(planned, outcome, config) if isinstance(outcome, Plan) else None
    return plan_document(outcome, launch=launch, groups=planned.deployment.spec.replicas)


def _write(documents: list[dict[str, Any]], output: Output) -> None:
    """One document for one deployment, a list of them for several."""
    document = documents[0] if len(documents) == 1 else documents
    (write_json if output is Output.JSON else write_yaml)(document)


def _show(answers: Sequence[_Answer]) -> None:
    screen = console()
    for answer in answers:
        deployment = answer.planned.deployment
        picture = draw(
            answer.planned.outcome, title=deployment.name, groups=deployment.spec.replicas, width=picture_width(screen)
        )
        screen.print(picture)
        if answer.placements:
            screen.print("", draw_placements(answer.placements))
        if answer.what_if:
            screen.print("", draw_assumptions(answer.what_if, wanted=deployment.spec.context.max_length))

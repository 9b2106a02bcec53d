"""``deepseek-operator render``: every object the operator would create, in the order it would create them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from deepseek_operator.cli.catalogs import read_catalog
from deepseek_operator.cli.documents import read_config, read_deployments
from deepseek_operator.cli.exits import failures_as_exit_codes, tell
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
from deepseek_operator.cli.output import write_json, write_yaml_stream
from deepseek_operator.cli.plan import verdict
from deepseek_operator.cli.planning import launch_of, plan_all, surroundings, view_cluster, with_configs
from deepseek_operator.plan.types import Plan
from deepseek_operator.render.apply_order import all_objects
from deepseek_operator.render.owner import Owner
from deepseek_operator.render.pull import pull_pod
from deepseek_operator.render.revision import new_revision

if TYPE_CHECKING:
    from deepseek_operator.api.config import OperatorConfig
    from deepseek_operator.cli.planning import Planned

UNKNOWN_UID: Final = "00000000-0000-0000-0000-000000000000"
"""Stands for the UID that the API server will give: owner references and labels carry it."""


def render(  # noqa: PLR0913 - each option of the command is an argument
    *,
    filename: ResourceFiles,
    nodes: NodesFile = None,
    output: Output = typer.Option(Output.YAML, "--output", "-o", help="text is a list of names."),  # noqa: B008 - typer
    namespace: Namespace = "default",
    config: ConfigFile = None,
    default_storage_class: DefaultStorageClass = None,
    model_config: ModelConfigFile = None,
    catalog: CatalogFiles = None,
    warm_up: Annotated[
        bool,
        typer.Option(
            "--warm-up", help="Also the pods that bring a changed image to the plan's nodes before a group is stopped."
        ),
    ] = False,
) -> None:
    """Print every object the operator would create, in apply order; the same input gives the same bytes.

    Nothing is printed unless every deployment of the file has a plan.
    """
    with failures_as_exit_codes():
        settings = read_config(config)
        deployments = with_configs(
            read_deployments(filename, namespace=namespace), model_config=model_config, nodes_file=nodes
        )
        found = read_catalog(catalog).catalog
        view = view_cluster(nodes, found)
        around = surroundings(view, found, settings, default_storage_class=default_storage_class)
        planned = plan_all(deployments, around)
        for each in planned:
            for warning in each.outcome.warnings:
                tell(f"warning: {each.deployment.name}: {warning}")
        code = verdict(planned)
        if not code:
            _write(
                [
                    manifest
                    for each in planned
                    if isinstance(each.outcome, Plan)
                    for manifest in [
                        *objects_of(each, each.outcome, settings),
                        *(pulls_of(each, each.outcome, settings) if warm_up else ()),
                    ]
                ],
                output,
            )
        raise typer.Exit(code)


def objects_of(planned: Planned, plan: Plan, config: OperatorConfig) -> list[dict[str, Any]]:
    """The objects of one deployment, in apply order."""
    deployment = planned.deployment
    owner = Owner(name=deployment.name, namespace=deployment.namespace, uid=deployment.uid or UNKNOWN_UID)
    launch = launch_of(planned, plan, config)
    return all_objects(owner, deployment.spec, plan, launch, config=config)


def pulls_of(planned: Planned, plan: Plan, config: OperatorConfig) -> list[dict[str, Any]]:
    """The pods that bring the image to as many of the plan's nodes as the deployment's groups need."""
    deployment = planned.deployment
    owner = Owner(name=deployment.name, namespace=deployment.namespace, uid=deployment.uid or UNKNOWN_UID)
    revision = new_revision(owner=owner, spec=deployment.spec, plan=plan, launch=launch_of(planned, plan, config))
    nodes = plan.hardware.nodes[: plan.nodes_per_group * deployment.spec.replicas]
    return [pull_pod(owner, node, revision) for node in nodes]


def _write(objects: list[dict[str, Any]], output: Output) -> None:
    match output:
        case Output.JSON:
            write_json({"apiVersion": "v1", "kind": "List", "items": objects})
        case Output.YAML:
            write_yaml_stream(objects)
        case Output.TEXT:
            sys.stdout.writelines(f"{item['kind']}/{item['metadata']['name']}\n" for item in objects)

"""``deepseek-operator render``: every object the operator would create, in the order it would create them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

import typer

from deepseek_operator.cli.catalogs import read_catalog
from deepseek_operator.cli.documents import read_config, read_deployments
from deepseek_operator.cli.exits import failures_as_exit_codes, tell
from deepseek_operator.cli.options import (  # typer reads them at run time
    CatalogFiles,
    ConfigFile,
    DefaultStorageClass,
    Namespace,
    NodesFile,
    Output,
    ResourceFiles,
)
from deepseek_operator.cli.output import write_json, write_yaml_stream
from deepseek_operator.cli.plan import verdict
from deepseek_operator.cli.planning import launch_of, plan_all, surroundings, view_cluster
from deepseek_operator.plan.types import Plan
from deepseek_operator.render.apply_order import all_objects
from deepseek_operator.render.owner import Owner

if TYPE_CHECKING:
    from deepseek_operator.api.config import OperatorConfig
    from deepseek_operator.catalog.types import Catalog
    from deepseek_operator.cli.documents import Deployment

UNKNOWN_UID: Final = "00000000-0000-0000-0000-000000000000"
"""Stands for the UID that the API server will give: owner references and labels carry it."""


def render(
    *,
    filename: ResourceFiles,
    nodes: NodesFile = None,
    output: Output = typer.Option(Output.YAML, "--output", "-o", help="text is a list of names."),  # noqa: B008 - typer
    namespace: Namespace = "default",
    config: ConfigFile = None,
    default_storage_class: DefaultStorageClass = None,
    catalog: CatalogFiles = None,
) -> None:
    """Print every object the operator would create, in apply order; the same input gives the same bytes.

    Nothing is printed unless every deployment of the file has a plan.
    """
    with failures_as_exit_codes():
        settings = read_config(config)
        deployments = read_deployments(filename, namespace=namespace)
        found = read_catalog(catalog).catalog
        view = view_cluster(nodes, found)
        around = surroundings(view, found, settings, default_storage_class=default_storage_class)
        outcomes = [(each.deployment, each.outcome) for each in plan_all(deployments, around)]
        for each, outcome in outcomes:
            for warning in outcome.warnings:
                tell(f"warning: {each.name}: {warning}")
        code = verdict(outcomes)
        if not code:
            _write(
                [
                    manifest
                    for deployment, outcome in outcomes
                    if isinstance(outcome, Plan)
                    for manifest in objects_of(deployment, outcome, settings, found)
                ],
                output,
            )
        raise typer.Exit(code)


def objects_of(deployment: Deployment, plan: Plan, config: OperatorConfig, catalog: Catalog) -> list[dict[str, Any]]:
    """The objects of one deployment, in apply order."""
    owner = Owner(name=deployment.name, namespace=deployment.namespace, uid=deployment.uid or UNKNOWN_UID)
    launch = launch_of(deployment, plan, config, catalog)
    return all_objects(owner, deployment.spec, plan, launch, config=config)


def _write(objects: list[dict[str, Any]], output: Output) -> None:
    match output:
        case Output.JSON:
            write_json({"apiVersion": "v1", "kind": "List", "items": objects})
        case Output.YAML:
            write_yaml_stream(objects)
        case Output.TEXT:
            sys.stdout.writelines(f"{item['kind']}/{item['metadata']['name']}\n" for item in objects)

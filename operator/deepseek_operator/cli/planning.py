"""From a file and nodes to a plan and a launch: the operator's own functions, called without a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepseek_operator.catalog.load import load
from deepseek_operator.cli.files import read_documents
from deepseek_operator.cli.nodes import nodes_of_cluster, nodes_of_file
from deepseek_operator.engines.select import check_args, directories
from deepseek_operator.engines.select import launch as engine_launch
from deepseek_operator.plan.inventory import read_node, take_inventory
from deepseek_operator.plan.own_model import model_of, with_model
from deepseek_operator.plan.placement import make_plan
from deepseek_operator.plan.types import Facts, Plan, Refusal
from deepseek_operator.render.pod import collisions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deepseek_operator.api.config import OperatorConfig
    from deepseek_operator.catalog.types import Catalog
    from deepseek_operator.cli.documents import Deployment
    from deepseek_operator.cli.nodes import ClusterView
    from deepseek_operator.engines.types import Launch


def view_cluster(nodes_file: str | None) -> ClusterView:
    """The nodes of a file, or of the current context where no file is named.

    Raises:
        InvalidInputError: the file is wrong.
        ClusterUnreachableError: no answer from the cluster.
    """
    return nodes_of_file(nodes_file) if nodes_file else nodes_of_cluster()


def facts(view: ClusterView, config: OperatorConfig, *, default_storage_class: bool | None) -> Facts:
    """What else decides a plan; a flag of the command line wins over what was seen."""
    seen = view.default_storage_class
    return Facts(
        default_storage_class=seen if default_storage_class is None else default_storage_class,
        node_path=config.weights.node_path,
        allow_host_network=config.allow.host_network,
        allow_host_path=config.allow.host_path,
    )


def plan_deployment(
    deployment: Deployment, view: ClusterView, facts: Facts, *, catalog: Catalog | None = None
) -> Plan | Refusal:
    """The plan of one deployment, its arguments and mounts checked too; ``catalog`` is the shipped one by default."""
    catalog, spec = catalog or load(), deployment.spec
    nodes = [read_node(manifest) for manifest in view.nodes]
    inventory = take_inventory(nodes, catalog, tolerations=spec.scheduling.tolerations)
    outcome = make_plan(spec, inventory, catalog, facts, namespace=deployment.namespace, name=deployment.name)
    if isinstance(outcome, Refusal):
        return outcome
    taken = directories(outcome, catalog)
    problems = (*check_args(spec, outcome), *collisions(spec, outcome, directories=taken))
    if not problems:
        return outcome
    return Refusal(
        problems=problems,
        considered=outcome.considered,
        warnings=outcome.warnings,
        waits_for_cluster=False,
    )


def catalog_with(deployments: Sequence[Deployment], model_config: str | None) -> Catalog:
    """The shipped catalogue; with ``model_config`` the models of the deployments have the dimensions in that file.

    Raises:
        InvalidInputError: the file is no config.json of an architecture that can be planned.
    """
    catalog = load()
    if model_config is None:
        return catalog
    documents = read_documents(model_config)
    config = documents[0] if documents else {}
    for name in {each.spec.model for each in deployments}:
        catalog = with_model(catalog, model_of(name, config, catalog))
    return catalog


def launch_of(deployment: Deployment, plan: Plan, config: OperatorConfig, *, catalog: Catalog | None = None) -> Launch:
    """How the engine of a plan starts; ``catalog`` is the shipped one by default."""
    return engine_launch(
        plan,
        deployment.spec,
        catalog or load(),
        name=deployment.name,
        namespace=deployment.namespace,
        cluster_domain=config.cluster_domain,
    )

"""From a file and nodes to a plan and a launch: the operator's own functions, called without a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepseek_operator.catalog.load import load
from deepseek_operator.cli.nodes import nodes_of_cluster, nodes_of_file
from deepseek_operator.lifecycle.planning import launch_plan, plan_spec
from deepseek_operator.plan.inventory import read_node, take_inventory
from deepseek_operator.plan.types import Facts, Plan, Refusal

if TYPE_CHECKING:
    from deepseek_operator.api.config import OperatorConfig
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


def plan_deployment(deployment: Deployment, view: ClusterView, facts: Facts) -> Plan | Refusal:
    """The plan of one deployment, its engine arguments checked too."""
    catalog, spec = load(), deployment.spec
    nodes = [read_node(manifest) for manifest in view.nodes]
    inventory = take_inventory(nodes, catalog, tolerations=spec.scheduling.tolerations)
    return plan_spec(spec, inventory, catalog, facts, namespace=deployment.namespace, name=deployment.name)


def launch_of(deployment: Deployment, plan: Plan, config: OperatorConfig) -> Launch:
    """How the engine of a plan starts."""
    return launch_plan(
        plan,
        deployment.spec,
        load(),
        name=deployment.name,
        namespace=deployment.namespace,
        cluster_domain=config.cluster_domain,
    )

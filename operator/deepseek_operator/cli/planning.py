"""From a file and nodes to a plan and a launch: the operator's own functions, called without a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepseek_operator.catalog.load import load
from deepseek_operator.cli.files import read_documents
from deepseek_operator.cli.nodes import nodes_of_cluster, nodes_of_file
from deepseek_operator.lifecycle.planning import launch_plan, plan_spec
from deepseek_operator.plan.comparison import row_of_option
from deepseek_operator.plan.inventory import read_node, take_inventory
from deepseek_operator.plan.own_model import model_of, with_model
from deepseek_operator.plan.placement import placements
from deepseek_operator.plan.types import Facts, Plan, Refusal
from deepseek_operator.plan.whatif import assume

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deepseek_operator.api.config import OperatorConfig
    from deepseek_operator.catalog.types import Catalog
    from deepseek_operator.cli.documents import Deployment
    from deepseek_operator.cli.nodes import ClusterView
    from deepseek_operator.engines.types import Launch
    from deepseek_operator.plan.comparison import Row
    from deepseek_operator.plan.types import HardwareClass, Inventory
    from deepseek_operator.plan.whatif import Assumption


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
        tool_image=config.image,
        storage_classes=view.storage_classes,
        allow_host_network=config.allow.host_network,
        allow_host_path=config.allow.host_path,
    )


def plan_deployment(
    deployment: Deployment, view: ClusterView, facts: Facts, catalog: Catalog | None = None
) -> Plan | Refusal:
    """The plan of one deployment, its arguments and mounts checked too; by the package's catalogue unless given."""
    known = catalog or load()
    inventory = _inventory(deployment, view, known)
    return plan_spec(deployment.spec, inventory, known, facts, namespace=deployment.namespace, name=deployment.name)


def compare_placements(deployment: Deployment, view: ClusterView, facts: Facts, catalog: Catalog) -> list[Row]:
    """Every placement that works, the best first."""
    inventory = _inventory(deployment, view, catalog)
    found = placements(deployment.spec, inventory, catalog, facts, namespace=deployment.namespace)
    return [row_of_option(option, wanted=deployment.spec.context.max_length) for option in found]


def plan_what_if(
    deployment: Deployment, view: ClusterView, facts: Facts, catalog: Catalog, assumption: Assumption
) -> tuple[HardwareClass, Plan | Refusal]:
    """The nodes that an assumption comes to, and the plan on them. Raises InvalidInputError: see ``assume``."""
    inventory = _inventory(deployment, view, catalog)
    assumed = assume(assumption, deployment.spec, inventory, catalog)
    outcome = plan_spec(
        assumed.spec, assumed.inventory, catalog, facts, namespace=deployment.namespace, name=deployment.name
    )
    return assumed.hardware, outcome


def catalog_with(catalog: Catalog, deployments: Sequence[Deployment], model_config: str | None) -> Catalog:
    """A catalogue in which, with ``model_config``, the models of the deployments have the dimensions in that file.

    Raises:
        InvalidInputError: the file is no config.json of an architecture that can be planned.
    """
    if model_config is None:
        return catalog
    documents = read_documents(model_config)
    config = documents[0] if documents else {}
    for name in {each.spec.model for each in deployments}:
        catalog = with_model(catalog, model_of(name, config, catalog))
    return catalog


def launch_of(deployment: Deployment, plan: Plan, config: OperatorConfig, catalog: Catalog | None = None) -> Launch:
    """How the engine of a plan starts."""
    return launch_plan(
        plan,
        deployment.spec,
        catalog or load(),
        name=deployment.name,
        namespace=deployment.namespace,
        cluster_domain=config.cluster_domain,
    )


def _inventory(deployment: Deployment, view: ClusterView, catalog: Catalog) -> Inventory:
    nodes = [read_node(manifest) for manifest in view.nodes]
    return take_inventory(nodes, catalog, tolerations=deployment.spec.scheduling.tolerations)

"""From a file and nodes to a plan and a launch: the operator's own functions, called without a cluster."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from deepseek_operator.api.problems import InvalidInputError, Problem
from deepseek_operator.catalog.types import Catalog
from deepseek_operator.cli.cluster import ClusterView, read_config_map, read_context, read_file
from deepseek_operator.cli.documents import Deployment
from deepseek_operator.cli.exits import tell
from deepseek_operator.cli.files import read_text
from deepseek_operator.lifecycle.planning import launch_plan, plan_spec, with_own_model
from deepseek_operator.lifecycle.records import ConfigRecord
from deepseek_operator.plan.comparison import row_of_option
from deepseek_operator.plan.inventory import take_inventory
from deepseek_operator.plan.occupancy import Waiting, reserve
from deepseek_operator.plan.own_model import dimensions_of, model_of, read_config, with_model
from deepseek_operator.plan.placement import placements
from deepseek_operator.plan.types import Facts, Plan, Refusal
from deepseek_operator.plan.whatif import assume

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from deepseek_operator.api.config import OperatorConfig
    from deepseek_operator.cli.cluster import Owner
    from deepseek_operator.engines.types import Launch
    from deepseek_operator.plan.comparison import Row
    from deepseek_operator.plan.types import HardwareClass, Inventory
    from deepseek_operator.plan.whatif import Assumption


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the plan of each deployment may look at besides its spec."""

    view: ClusterView
    catalog: Catalog
    facts: Facts
    """Without what is in use, which differs from deployment to deployment."""

    def inventory(self, deployment: Deployment) -> Inventory:
        """The nodes that count for a deployment."""
        tolerations = deployment.spec.scheduling.tolerations
        return take_inventory(self.view.nodes, self.catalog, tolerations=tolerations, published=self.view.published)


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A deployment, what became of it, and the facts that it was planned with."""

    deployment: Deployment
    outcome: Plan | Refusal
    facts: Facts
    catalog: Catalog
    """With the model of the deployment's own, where it brings one."""


def view_cluster(nodes_file: str | None, catalog: Catalog) -> ClusterView:
    """The cluster in a file, or that of the current context where no file is named; what is not seen goes to stderr.

    Raises:
        InvalidInputError: the file is wrong.
        ClusterUnreachableError: no answer from the cluster.
    """
    view = read_file(nodes_file, catalog) if nodes_file else read_context(catalog)
    for sentence in view.unseen:
        tell(f"note: {sentence}")
    return view


def surroundings(
    view: ClusterView, catalog: Catalog, config: OperatorConfig, *, default_storage_class: bool | None
) -> Surroundings:
    """What decides a plan; a flag of the command line wins over what was seen."""
    seen = view.default_storage_class
    return Surroundings(
        view=view,
        catalog=catalog,
        facts=Facts(
            default_storage_class=seen if default_storage_class is None else default_storage_class,
            node_path=config.weights.node_path,
            tool_image=config.image,
            storage_classes=view.storage_classes or {},
            allow_host_network=config.allow.host_network,
            allow_host_path=config.allow.host_path,
        ),
    )


def plan_all(deployments: Sequence[Deployment], around: Surroundings) -> list[Planned]:
    """The plans of deployments that are applied together: what one takes, the next does not count as free."""
    planned: list[Planned] = []
    waiting: list[tuple[Owner, Plan, int]] = []
    for deployment in deployments:
        owner = (deployment.namespace, deployment.name)
        used = around.view.used_by_others(owner)
        for other, plan, groups in waiting:
            left = groups * plan.nodes_per_group - around.view.pods_of(other, devices=plan.accelerators_per_node)
            reserve(
                used,
                Waiting(
                    hardware=plan.hardware,
                    nodes_per_group=plan.nodes_per_group,
                    devices=plan.accelerators_per_node,
                    pods=max(0, left),
                ),
            )
        each = plan_deployment(deployment, around, used=used)
        planned.append(each)
        if isinstance(each.outcome, Plan) and not deployment.spec.suspend:
            waiting.append((owner, each.outcome, deployment.spec.replicas))
    return planned


def plan_deployment(deployment: Deployment, around: Surroundings, *, used: Mapping[str, int]) -> Planned:
    """The plan of one deployment, its arguments and mounts checked too; ``used`` are devices in use by node."""
    facts = replace(around.facts, used=used)
    catalog = _catalog(deployment, around.catalog)
    if isinstance(catalog, Refusal):
        return Planned(deployment=deployment, outcome=catalog, facts=facts, catalog=around.catalog)
    outcome = plan_spec(
        deployment.spec,
        around.inventory(deployment),
        catalog,
        facts,
        namespace=deployment.namespace,
        name=deployment.name,
    )
    return Planned(deployment=deployment, outcome=outcome, facts=facts, catalog=catalog)


def _catalog(deployment: Deployment, catalog: Catalog) -> Catalog | Refusal:
    """The catalogue with the model that a deployment brings."""
    named = deployment.spec.config_json
    if named is not None:
        return with_own_model(deployment.spec, named, ConfigRecord(text=deployment.config_json), catalog)
    if deployment.config_json is not None:
        config = read_config(deployment.config_json)
        return with_model(catalog, model_of(deployment.spec.model, config, catalog))
    return catalog


def compare_placements(planned: Planned, around: Surroundings) -> list[Row]:
    """Every placement that works, the best first."""
    deployment = planned.deployment
    found = placements(
        deployment.spec,
        around.inventory(deployment),
        planned.catalog,
        planned.facts,
        namespace=deployment.namespace,
    )
    return [row_of_option(option, wanted=deployment.spec.context.max_length) for option in found]


def plan_what_if(
    planned: Planned, around: Surroundings, assumption: Assumption
) -> tuple[HardwareClass, Plan | Refusal]:
    """The nodes that an assumption comes to, and the plan on them. Raises InvalidInputError: see ``assume``."""
    deployment = planned.deployment
    assumed = assume(assumption, deployment.spec, around.inventory(deployment), planned.catalog)
    outcome = plan_spec(
        assumed.spec,
        assumed.inventory,
        planned.catalog,
        planned.facts,
        namespace=deployment.namespace,
        name=deployment.name,
    )
    return assumed.hardware, outcome


def with_configs(
    deployments: Sequence[Deployment], *, model_config: str | None, nodes_file: str | None
) -> list[Deployment]:
    """The deployments with the config.json of their models: of a file, else of the ConfigMap that they name.

    Args:
        deployments: with what stood beside them in their files.
        model_config: a file that all of them take.
        nodes_file: with it no cluster is asked.

    Raises:
        InvalidInputError: the file is no config.json that can be planned, or nothing tells what a ConfigMap holds.
        ClusterUnreachableError: the ConfigMap cannot be read.
    """
    if model_config is not None:
        text = read_text(model_config)
        dimensions_of(read_config(text))
        return [replace(each, config_json=text) for each in deployments]
    return [_with_config(each, offline=nodes_file is not None) for each in deployments]


def _with_config(deployment: Deployment, *, offline: bool) -> Deployment:
    named = deployment.spec.config_json
    if named is None or deployment.config_json is not None:
        return deployment
    if offline:
        message = (
            f"what the ConfigMap {named.name} holds is not known without a cluster; put it into a file of -f, or give "
            "the config.json with --model-config"
        )
        raise InvalidInputError(Problem(field="spec.modelConfig", reason="ModelConfigUnread", message=message))
    return replace(deployment, config_json=read_config_map(deployment.namespace, named.name, named.key))


def launch_of(planned: Planned, plan: Plan, config: OperatorConfig) -> Launch:
    """How the engine of a plan starts."""
    deployment = planned.deployment
    return launch_plan(
        plan,
        deployment.spec,
        planned.catalog,
        name=deployment.name,
        namespace=deployment.namespace,
        cluster_domain=config.cluster_domain,
    )

"""Plans from a few words: a cluster of manifests and the fields of a spec that differ from the smallest one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deepseek_operator.api.resource import Spec
from deepseek_operator.catalog.load import load
from deepseek_operator.plan.inventory import read_node, take_inventory
from deepseek_operator.plan.placement import make_plan
from deepseek_operator.plan.types import Facts, Plan, Refusal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tests.unit.plan.nodes import Manifest

FACTS = Facts(default_storage_class=True)
BF16_SOURCE = {"source": "hf://example/DeepSeek-V3-0324-BF16"}


def spec_of(fields: Mapping[str, Any]) -> Spec:
    return Spec.model_validate({"model": "deepseek-ai/DeepSeek-V3-0324", **fields})


def outcome_of(cluster: Iterable[Manifest], *, facts: Facts = FACTS, **fields: Any) -> Plan | Refusal:
    spec = spec_of(fields)
    catalog = load()
    inventory = take_inventory(map(read_node, cluster), catalog, tolerations=spec.scheduling.tolerations)
    return make_plan(spec, inventory, catalog, facts, namespace="default", name="deepseek")


def plan_of(cluster: Iterable[Manifest], *, facts: Facts = FACTS, **fields: Any) -> Plan:
    outcome = outcome_of(cluster, facts=facts, **fields)
    assert isinstance(outcome, Plan), outcome
    return outcome


def refusal_of(cluster: Iterable[Manifest], *, facts: Facts = FACTS, **fields: Any) -> Refusal:
    outcome = outcome_of(cluster, facts=facts, **fields)
    assert isinstance(outcome, Refusal), outcome
    assert outcome.problems
    return outcome

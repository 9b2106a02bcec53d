"""What holds for every cluster and every wish."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepseek_operator.catalog.load import load
from deepseek_operator.plan.inventory import read_node, take_inventory
from deepseek_operator.plan.rules import block_of, violations
from deepseek_operator.plan.types import Plan, Refusal
from tests.unit.plan import nodes
from tests.unit.plan.cases import BF16_SOURCE, outcome_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.plan.nodes import Manifest

MAKERS: list[Callable[[str], Manifest]] = [
    nodes.h100,
    lambda name: nodes.h100(name, rdma=False),
    nodes.h200,
    nodes.a100,
    nodes.l40s,
    nodes.b200,
    nodes.mi300x,
    nodes.ascend910b,
    nodes.ascend910c,
    lambda name: nodes.node(name, labels={}, allocatable={"nvidia.com/gpu": "8"}),
    lambda name: nodes.nvidia(name, "NVIDIA-H200", memory=143771, major=9, ready=False),
]
SIZES = st.sampled_from([1, 2, 3, 4, 8, 16, 24, 32])

clusters = st.lists(st.sampled_from(range(len(MAKERS))), max_size=8).map(
    lambda kinds: [MAKERS[kind](f"node-{index}") for index, kind in enumerate(kinds)]
)
wishes = st.fixed_dictionaries(
    {},
    optional={
        "parallelism": st.fixed_dictionaries(
            {},
            optional={"nodes": st.sampled_from([1, 2, 3, 4]), "tensor": SIZES, "pipeline": st.sampled_from([1, 2, 4])},
        ),
        "precision": st.sampled_from(["auto", "fp8", "bf16"]),
        "weights": st.just(BF16_SOURCE),
        "context": st.fixed_dictionaries({"maxLength": st.sampled_from([4096, 65_536, 163_840])}),
        "engine": st.fixed_dictionaries({"features": st.fixed_dictionaries({"mtp": st.booleans()})}),
        "hardware": st.fixed_dictionaries({"acceleratorsPerNode": st.sampled_from([4, 8])}),
    },
)


@settings(max_examples=40, deadline=None)
@given(cluster=clusters, wish=wishes, data=st.data())
def test_the_order_of_the_nodes_changes_nothing(
    cluster: list[Manifest], wish: dict[str, Any], data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(cluster))
    assert outcome_of(shuffled, **wish) == outcome_of(cluster, **wish)


@settings(max_examples=60, deadline=None)
@given(cluster=clusters, wish=wishes)
def test_a_plan_breaks_no_rule_and_uses_only_what_exists(cluster: list[Manifest], wish: dict[str, Any]) -> None:
    outcome = outcome_of(cluster, **wish)
    if isinstance(outcome, Refusal):
        assert outcome.problems
        assert all(each.field.startswith("spec.") and each.reason and each.message for each in outcome.problems)
        return
    catalog = load()
    model = catalog.models[outcome.model]
    assert not violations(
        outcome.parallelism,
        model.dimensions,
        block=block_of(catalog.layouts[outcome.weights.layout], model.dimensions),
        nodes=outcome.nodes_per_group,
        mtp=outcome.mtp,
    )
    assert outcome.nodes_per_group <= len(outcome.hardware.nodes)
    assert outcome.accelerators_per_node <= outcome.hardware.accelerators_per_node
    assert outcome.world_size == outcome.nodes_per_group * outcome.accelerators_per_node
    product = next(each for each in catalog.accelerators if each.product == outcome.hardware.product)
    assert outcome.precision in product.precisions
    assert outcome.parallelism.tensor <= outcome.accelerators_per_node or outcome.fabric.carrier != "tcp"
    assert outcome.memory.kv_tokens >= (wish.get("context") or {}).get("maxLength", 32_768)
    for name, chosen in (wish.get("parallelism") or {}).items():
        made = {
            "nodes": outcome.nodes_per_group,
            "tensor": outcome.parallelism.tensor,
            "pipeline": outcome.parallelism.pipeline,
        }
        assert made[name] == chosen


@settings(max_examples=40, deadline=None)
@given(cluster=clusters, more=clusters, wish=wishes)
def test_more_nodes_never_make_a_plan_impossible(
    cluster: list[Manifest], more: list[Manifest], wish: dict[str, Any]
) -> None:
    if isinstance(outcome_of(cluster, **wish), Plan):
        for index, manifest in enumerate(more):
            manifest["metadata"]["name"] = f"more-{index}"
        assert isinstance(outcome_of([*cluster, *more], **wish), Plan)


@settings(max_examples=40, deadline=None)
@given(cluster=clusters)
def test_every_node_with_accelerators_counts_or_says_why(cluster: list[Manifest]) -> None:
    inventory = take_inventory(map(read_node, cluster), load())
    counted = [name for each in inventory.classes for name in each.nodes]
    skipped = [each.name for each in inventory.skipped]
    assert sorted(counted + skipped) == sorted(each["metadata"]["name"] for each in cluster)


@pytest.mark.parametrize("model", sorted(load().models))
def test_every_model_in_every_precision_is_planned_or_refused_with_a_field(model: str) -> None:
    catalog = load()
    dimensions = catalog.models[model].dimensions
    for make in MAKERS:
        for precision in ("auto", *dict.fromkeys(each.precision for each in catalog.layouts.values())):
            outcome = outcome_of(
                [make(f"node-{index}") for index in range(4)],
                model=model,
                precision=precision,
                weights={"allowVariant": True},
            )
            if isinstance(outcome, Refusal):
                assert outcome.problems
                assert all(each.field.startswith("spec.") and each.message for each in outcome.problems)
                continue
            layout = catalog.layouts[outcome.weights.layout]
            assert layout.precision == outcome.precision
            assert precision in {"auto", outcome.precision}
            assert not layout.architectures or outcome.hardware.architecture in layout.architectures
            assert (
                not dimensions.sparse or outcome.hardware.architecture in catalog.engines["sglang"].sparse_architectures
            )
            assert outcome.memory.kv_tokens >= 32_768
            assert sum(size for name, size in outcome.memory.terms.items() if name in WEIGHT_TERMS) == pytest.approx(
                outcome.memory.weights_gib
            )


WEIGHT_TERMS = {
    "attention", "indexer", "denseMlp", "routedExperts", "sharedExperts", "router", "embeddings", "mtp", "loading",
}  # fmt: skip

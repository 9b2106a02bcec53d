"""Experts spread by DeepEP: what a user may ask for, what it takes of memory, and what is refused with which remedy."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.plan import nodes
from tests.unit.plan.cases import plan_of, refusal_of

DEEPEP: dict[str, Any] = {"engine": {"features": {"deepep": True}}}
WIDE = [nodes.h100(name) for name in "abcd"]


def features(**wanted: Any) -> dict[str, Any]:
    return {"engine": {"features": wanted}}


def test_fp8_may_use_32_ranks_because_no_expert_and_no_dense_layer_is_cut() -> None:
    refused = refusal_of(WIDE, precision="fp8", parallelism={"tensor": 32})
    assert refused.problems[0].reason == "BlocksNotDivisible"
    made = plan_of(WIDE, precision="fp8", parallelism={"tensor": 32, "attentionData": 32}, **DEEPEP)
    assert (made.parallelism.tensor, made.parallelism.expert, made.nodes_per_group) == (32, 32, 4)


def test_expert_parallelism_is_completed_to_all_ranks() -> None:
    made = plan_of([nodes.h200("a")], **DEEPEP)
    assert (made.parallelism.expert, made.parallelism.tensor) == (8, 8)
    assert made.spread.deepep
    assert plan_of([nodes.h200("a")]).parallelism.expert == 1


def test_its_buffers_and_whole_layers_take_memory_and_its_decode_batch_is_what_the_buffers_hold() -> None:
    usual, spread = plan_of([nodes.h200("a")]), plan_of([nodes.h200("a")], **DEEPEP)
    assert spread.memory.terms["expertBuffers"] == 3.0
    assert spread.memory.weights_gib > usual.memory.weights_gib
    assert spread.memory.graph_max_batch <= 128 < usual.memory.graph_max_batch
    drafting = plan_of([nodes.h200("a")], **features(deepep=True, mtp=True))
    assert drafting.memory.graph_max_batch <= 32


def test_copies_of_experts_take_memory() -> None:
    usual = plan_of([nodes.h200("a")], **DEEPEP)
    copies = plan_of([nodes.h200("a")], **features(deepep=True, redundantExperts=32))
    added = copies.memory.terms["routedExperts"] / usual.memory.terms["routedExperts"]
    assert added == pytest.approx((256 + 32) / 256)


@pytest.mark.parametrize(
    ("fields", "field", "reason", "says"),
    [
        (
            features(redundantExperts=8),
            "spec.engine.features.redundantExperts",
            "RedundantWithoutDeepEP",
            "deepep to true",
        ),
        (
            features(deepep=True, redundantExperts=12),
            "spec.engine.features.redundantExperts",
            "RedundantNotDivisible",
            "use 8 or 16",
        ),
        (
            {**DEEPEP, "parallelism": {"expert": 4}},
            "spec.parallelism.expert",
            "DeepEPNeedsAllRanks",
            "leave spec.parallelism.expert out",
        ),
        (
            {**DEEPEP, "model": "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B"},
            "spec.engine.features.deepep",
            "NoExperts",
            "turn deepep off",
        ),
    ],
)
def test_what_cannot_be_spread_is_refused_with_what_would_work(
    fields: dict[str, Any], field: str, reason: str, says: str
) -> None:
    problem = refusal_of([nodes.h200("a")], **fields).problems[0]
    assert (problem.field, problem.reason) == (field, reason)
    assert says in problem.message


@pytest.mark.parametrize("cluster", [[nodes.a100(name) for name in "abcd"], [nodes.mi300x("a"), nodes.mi300x("b")]])
def test_devices_without_its_kernels_are_refused_by_name(cluster: list[nodes.Manifest]) -> None:
    source: dict[str, Any] = {"weights": {"source": "hf://example/DeepSeek-V3-0324-BF16"}, "precision": "bf16"}
    problem = refusal_of(cluster, **source, **DEEPEP).problems[0]
    assert problem.reason == "DeepEPNotServed"
    assert "sm90" in problem.message

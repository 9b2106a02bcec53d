"""Bytes of weights and cache against what is known of the checkpoint and of engines' logs."""

from __future__ import annotations

import pytest

from deepseek_operator.catalog.load import load
from deepseek_operator.plan import footprint
from deepseek_operator.plan.footprint import Sharding
from deepseek_operator.plan.types import Parallelism

V3 = load().models["deepseek-v3"].dimensions


def total(precision: str, split: Parallelism, *, mtp: bool = False, **finer: int) -> float:
    (stage,) = footprint.stages(V3, 1)
    return sum(footprint.weights(V3, stage, Sharding(split=split, **finer), precision=precision, mtp=mtp).values())


@pytest.mark.parametrize(("precision", "gib"), [("fp8", 641.3), ("bf16", 1275.0)])
def test_all_parts_together_are_the_checkpoint(precision: str, gib: float) -> None:
    assert total(precision, Parallelism(tensor=1), mtp=True) == pytest.approx(gib, rel=0.02)


@pytest.mark.parametrize(
    ("precision", "tensor", "gib"), [("fp8", 8, 79.5), ("fp8", 16, 40.3), ("bf16", 16, 80.0), ("bf16", 32, 41.0)]
)
def test_a_rank_holds_its_share_and_what_every_rank_holds(precision: str, tensor: int, gib: float) -> None:
    assert total(precision, Parallelism(tensor=tensor)) == pytest.approx(gib, abs=0.1)


def test_attention_data_parallelism_replicates_attention() -> None:
    assert total("fp8", Parallelism(tensor=16, attention_data=16)) > 50


def test_expert_parallelism_alone_does_not_change_a_ranks_share() -> None:
    assert total("fp8", Parallelism(tensor=16, expert=16)) == total("fp8", Parallelism(tensor=16))


def test_redundant_experts_cost_memory() -> None:
    more = total("fp8", Parallelism(tensor=16, expert=16), redundant_experts=32)
    assert more - total("fp8", Parallelism(tensor=16)) == pytest.approx(58 * 2 * 3 * 7168 * 2048 / 2**30, rel=0.01)


@pytest.mark.parametrize(("tensor", "gib"), [(8, 1.6), (16, 0.9)])
def test_mtp_costs_one_more_layer(tensor: int, gib: float) -> None:
    split = Parallelism(tensor=tensor)
    assert total("fp8", split, mtp=True) - total("fp8", split) == pytest.approx(gib, abs=0.1)


@pytest.mark.parametrize(
    ("kv", "mtp", "size"),
    [("bf16", False, 70_272), ("auto", False, 70_272), ("fp8", False, 35_136), ("bf16", True, 71_424)],
)
def test_a_token_costs_what_engines_log(kv: str, *, mtp: bool, size: int) -> None:
    assert footprint.kv_bytes_per_token(V3, layers=61, kv_precision=kv, mtp=mtp) == size


@pytest.mark.parametrize("pipeline", [1, 2, 3, 4, 8, 61])
def test_stages_cover_the_layers_once(pipeline: int) -> None:
    cut = footprint.stages(V3, pipeline)
    assert len(cut) == pipeline
    assert sum(stage.layers for stage in cut) == 61
    assert sum(stage.dense for stage in cut) == 3
    assert max(stage.layers for stage in cut) - min(stage.layers for stage in cut) <= 1
    assert [stage.layers for stage in cut] == sorted(stage.layers for stage in cut)

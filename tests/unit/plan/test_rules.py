"""The engine's rules for splits, one breach at a time."""

from __future__ import annotations

import pytest

from deepseek_operator.catalog.load import load
from deepseek_operator.catalog.types import Dimensions
from deepseek_operator.plan.rules import block_of, legal_tensors, violations
from deepseek_operator.plan.types import Parallelism

V3 = load().models["deepseek-v3"].dimensions


BLOCKS = {"fp8": 128, "bf16": None}


def reasons(split: Parallelism, *, precision: str = "bf16", nodes: int = 1, mtp: bool = False) -> list[str]:
    return [each.reason for each in violations(split, V3, block=BLOCKS[precision], nodes=nodes, mtp=mtp)]


@pytest.mark.parametrize(("precision", "legal"), [("fp8", (1, 2, 4, 8, 16)), ("bf16", (1, 2, 4, 8, 16, 32, 64, 128))])
def test_tensor_sizes_that_the_model_allows(precision: str, legal: tuple[int, ...]) -> None:
    assert legal_tensors(V3, block=BLOCKS[precision], most=256) == legal


@pytest.mark.parametrize(
    ("split", "nodes"),
    [
        (Parallelism(tensor=16), 2),
        (Parallelism(tensor=8, pipeline=2), 2),
        (Parallelism(tensor=16, pipeline=2), 4),
        (Parallelism(tensor=8, pipeline=3), 3),
        (Parallelism(tensor=4, pipeline=4), 2),
        (Parallelism(tensor=16, attention_data=16, expert=16), 2),
        (Parallelism(tensor=16, attention_data=8, expert=4), 2),
    ],
)
def test_a_split_that_engines_run_breaks_nothing(split: Parallelism, nodes: int) -> None:
    assert reasons(split, precision="fp8", nodes=nodes) == []


@pytest.mark.parametrize(
    ("split", "precision", "nodes", "mtp", "reason"),
    [
        (Parallelism(tensor=3), "bf16", 1, False, "HeadsNotDivisible"),
        (Parallelism(tensor=24, attention_data=1), "bf16", 3, False, "HeadsNotDivisible"),
        (Parallelism(tensor=32), "fp8", 4, False, "BlocksNotDivisible"),
        (Parallelism(tensor=32, expert=32), "fp8", 4, False, "BlocksNotDivisible"),
        (Parallelism(tensor=16, attention_data=3), "bf16", 2, False, "AttentionDataNotDivisor"),
        (Parallelism(tensor=16, expert=3), "bf16", 2, False, "ExpertNotDivisor"),
        (Parallelism(tensor=8, pipeline=2), "bf16", 3, False, "NodesNotDivisor"),
        (Parallelism(tensor=8, pipeline=2, attention_data=1), "bf16", 16, False, None),
        (Parallelism(tensor=8, pipeline=3), "bf16", 2, False, "StagesAcrossNodes"),
        (Parallelism(tensor=1, pipeline=64), "bf16", 1, False, "PipelineTooDeep"),
        (Parallelism(tensor=8, pipeline=2), "bf16", 2, True, "MTPWithPipeline"),
    ],
)
def test_a_broken_rule_has_its_own_reason(
    split: Parallelism, precision: str, nodes: int, *, mtp: bool, reason: str | None
) -> None:
    found = reasons(split, precision=precision, nodes=nodes, mtp=mtp)
    assert found == ([] if reason is None else [reason])


QWEN_7B = load().models["deepseek-r1-distill-qwen-7b"].dimensions
LLAMA_70B = load().models["deepseek-r1-distill-llama-70b"].dimensions


@pytest.mark.parametrize(
    ("dimensions", "legal"),
    [
        # 28 heads and 4 key-value heads: seven ranks would cut a key-value head apart.
        (QWEN_7B, (1, 2, 4, 28)),
        # 64 heads and 8 key-value heads.
        (LLAMA_70B, (1, 2, 4, 8, 16, 32, 64)),
    ],
)
def test_key_value_heads_are_split_or_repeated_whole(dimensions: Dimensions, legal: tuple[int, ...]) -> None:
    assert legal_tensors(dimensions, block=None, most=64) == legal


@pytest.mark.parametrize(
    ("split", "mtp", "reason", "says"),
    [
        (Parallelism(tensor=7), False, "KVHeadsNotDivisible", "use tensor 1, 2, 4 or 28"),
        (Parallelism(tensor=8), False, "HeadsNotDivisible", "use tensor 1, 2 or 4"),
        (Parallelism(tensor=4, expert=4), False, "NoExperts", "leave spec.parallelism.expert out"),
        (Parallelism(tensor=4, attention_data=4), False, "NoAttentionData", "raise spec.replicas"),
        (Parallelism(tensor=4), True, "MTPWithoutLayer", "turn mtp off"),
    ],
)
def test_a_dense_model_has_rules_of_its_own(split: Parallelism, reason: str, says: str, *, mtp: bool) -> None:
    (found,) = violations(split, QWEN_7B, block=None, nodes=1, mtp=mtp)
    assert found.reason == reason
    assert says in found.message


def test_a_part_that_is_not_divisible_is_named_with_its_article() -> None:
    (found,) = violations(Parallelism(tensor=32), V3, block=128, nodes=4, mtp=False)
    assert "a dense layer of width 18432 over 32 ranks leaves 576" in found.message
    (found,) = violations(Parallelism(tensor=16), V3, block=96, nodes=1, mtp=False)
    assert "an expert of width 2048 over 16 ranks leaves 128" in found.message


@pytest.mark.parametrize(
    ("layout", "block", "legal"),
    [
        ("fp8-block128", 128, 16),
        ("int8-block128", 128, 16),
        ("int8-channel", None, 128),
        ("w4afp8", 128, 16),
        ("awq-group64", 64, 32),
        ("nvfp4", 16, 128),
        ("modelslim-w8a8", None, 128),
        ("bf16", None, 128),
    ],
)
def test_a_layouts_blocks_limit_the_tensor_size(layout: str, block: int | None, legal: int) -> None:
    assert block_of(load().layouts[layout], V3) == block
    assert legal_tensors(V3, block=block, most=256)[-1] == legal

"""The engine's rules for splits, one breach at a time."""

from __future__ import annotations

import pytest

from deepseek_operator.catalog.load import load
from deepseek_operator.plan.rules import legal_tensors, violations
from deepseek_operator.plan.types import Parallelism

V3 = load().models["deepseek-v3"].dimensions


def reasons(split: Parallelism, *, precision: str = "bf16", nodes: int = 1, mtp: bool = False) -> list[str]:
    return [each.reason for each in violations(split, V3, precision=precision, nodes=nodes, mtp=mtp)]


@pytest.mark.parametrize(("precision", "legal"), [("fp8", (1, 2, 4, 8, 16)), ("bf16", (1, 2, 4, 8, 16, 32, 64, 128))])
def test_tensor_sizes_that_the_model_allows(precision: str, legal: tuple[int, ...]) -> None:
    assert legal_tensors(V3, precision=precision, most=256) == legal


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

"""The LMDeploy sample against the clusters of the vendors: what is chosen, and why it is refused elsewhere."""

from __future__ import annotations

from typing import Any

import pytest

from deepseek_operator.plan.types import Refusal
from tests.unit.test_samples import Chosen, outcome

SAMPLE = "deepseek-lmdeploy"
LMDEPLOY: dict[str, Any] = {"name": "lmdeploy"}
EXPECTED = {
    "nvidia-h100": Chosen(2, 16, 1, "nccl", "openmmlab/lmdeploy:"),
    "nvidia-h200": Chosen(1, 8, 1, "nccl", "openmmlab/lmdeploy:"),
}


@pytest.mark.parametrize("cluster", EXPECTED)
def test_the_sample_is_planned(cluster: str) -> None:
    found = outcome(SAMPLE, (cluster,))
    assert not isinstance(found, Refusal), found
    plan, started = found
    expected = EXPECTED[cluster]
    split = plan.parallelism
    assert (plan.nodes_per_group, split.tensor, split.pipeline) == (expected.nodes, expected.tensor, expected.pipeline)
    assert expected.image in plan.engine.image
    assert started.leader_command[:3] == ("lmdeploy", "serve", "api_server")


@pytest.mark.parametrize(
    ("cluster", "changes", "reason", "instead"),
    [
        ("amd-mi300x", {}, "on NVIDIA only", "sglang or vllm"),
        ("ascend-910b", {"precision": "bf16"}, "on NVIDIA only", "sglang or vllm"),
        ("nvidia-b200", {}, "on Blackwell", "sglang or vllm"),
        ("nvidia-a100-80", {}, "begin with compute capability 8.9", "precision bf16"),
        ("nvidia-h100", {"precision": "w4afp8"}, "no quantised path", "precision fp8 or bf16"),
        ("nvidia-a100-80", {"precision": "int8"}, "no quantised path", "precision fp8 or bf16"),
        ("nvidia-h100", {"context": {"kvCachePrecision": "fp8"}}, "KV cache", "bf16"),
        ("nvidia-h100", {"parallelism": {"tensor": 8, "pipeline": 2}}, "no pipeline stages", "pipeline 1"),
        ("nvidia-h100", {"engine": {**LMDEPLOY, "features": {"deepep": True}}}, "DeepEP", "deepep"),
    ],
)
def test_what_it_does_not_serve_is_refused_with_what_would_work(
    cluster: str, changes: dict[str, Any], reason: str, instead: str
) -> None:
    found = outcome(SAMPLE, (cluster,), **changes)
    assert isinstance(found, Refusal), found
    assert reason in found.problems[0].message
    assert any(instead in text for each in found.problems for text in (each.message, each.field))


def test_sparse_attention_runs_on_hopper_alone() -> None:
    assert not isinstance(outcome(SAMPLE, ("nvidia-h200",), model="deepseek-ai/DeepSeek-V3.2"), Refusal)

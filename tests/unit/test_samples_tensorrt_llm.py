"""The TensorRT-LLM sample against the clusters of the vendors: what is chosen, and why it is refused elsewhere."""

from __future__ import annotations

from typing import Any

import pytest

from deepseek_operator.plan.types import Refusal
from tests.unit.test_samples import Chosen, outcome

SAMPLE = "deepseek-tensorrt-llm"
EXPECTED = {
    "nvidia-h100": Chosen(2, 16, 1, "nccl", "mpirun"),
    "nvidia-h200": Chosen(1, 8, 1, "nccl", "trtllm-serve"),
    "nvidia-b200": Chosen(1, 8, 1, "nccl", "trtllm-serve"),
}


@pytest.mark.parametrize("cluster", EXPECTED)
def test_the_sample_is_planned(cluster: str) -> None:
    found = outcome(SAMPLE, (cluster,))
    assert not isinstance(found, Refusal), found
    plan, started = found
    expected = EXPECTED[cluster]
    split = plan.parallelism
    assert (plan.nodes_per_group, split.tensor, split.pipeline) == (expected.nodes, expected.tensor, expected.pipeline)
    assert plan.engine.image.startswith("nvcr.io/nvidia/tensorrt-llm/release:")
    assert started.leader_command[0] == expected.image


@pytest.mark.parametrize(
    ("cluster", "changes", "reason", "instead"),
    [
        ("amd-mi300x", {}, "NVIDIA's own engine", "sglang or vllm"),
        ("ascend-910b", {"precision": "bf16"}, "NVIDIA's own engine", "sglang or vllm"),
        ("nvidia-a100-80", {"precision": "bf16"}, "begin with Hopper", "sglang"),
        ("nvidia-h100", {"precision": "int8"}, "known to give garbage", "precision w4afp8"),
        ("nvidia-h100", {"precision": "awq"}, "no path for these weights", "precision w4afp8"),
        ("nvidia-h100", {"precision": "nvfp4"}, "begin with Blackwell", "w4afp8 or fp8"),
        ("nvidia-b200", {"precision": "w4afp8"}, "are for Hopper", "nvfp4 or fp8"),
    ],
)
def test_what_it_does_not_serve_is_refused_with_what_would_work(
    cluster: str, changes: dict[str, Any], reason: str, instead: str
) -> None:
    found = outcome(SAMPLE, (cluster,), **changes)
    assert isinstance(found, Refusal), found
    assert reason in found.problems[0].message
    assert instead in found.problems[0].message

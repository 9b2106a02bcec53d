"""The vLLM sample against the clusters of the vendors: what is chosen, and that vLLM's own parser takes it."""

from __future__ import annotations

import pytest

from deepseek_operator.plan.types import Refusal
from e2e.parsers import vllm
from tests.unit.test_samples import Chosen, outcome

SAMPLE = "deepseek-vllm"
BF16 = {"precision": "bf16", "weights": {"source": "hf://example/DeepSeek-V3-0324-BF16"}}
EXPECTED = {
    "amd-mi300x": Chosen(1, 8, 1, "rccl", "vllm/vllm-openai-rocm:"),
    "amd-mi355x": Chosen(1, 8, 1, "rccl", "vllm/vllm-openai-rocm:"),
    "ascend-910b": Chosen(4, 32, 1, "hccl", "ascend/vllm-ascend:v0.23.0.post1"),
    "ascend-910c": Chosen(2, 32, 1, "hccl", "-a3"),
    "nvidia-h100": Chosen(2, 16, 1, "nccl", "vllm/vllm-openai:"),
    "nvidia-h100-noroce": Chosen(2, 8, 2, "nccl", "vllm/vllm-openai:"),
    "nvidia-h200": Chosen(1, 8, 1, "nccl", "vllm/vllm-openai:"),
    "nvidia-b200": Chosen(1, 8, 1, "nccl", "vllm/vllm-openai:"),
}


@pytest.mark.parametrize("cluster", EXPECTED)
def test_the_sample_is_planned_and_its_commands_pass_vllms_own_parser(cluster: str) -> None:
    found = outcome(SAMPLE, (cluster,), **(BF16 if cluster.startswith("ascend") else {}))
    assert not isinstance(found, Refusal), found
    plan, started = found
    expected = EXPECTED[cluster]
    split = plan.parallelism
    assert (plan.nodes_per_group, split.tensor, split.pipeline) == (expected.nodes, expected.tensor, expected.pipeline)
    assert plan.fabric.collective == expected.collective
    assert expected.image in plan.engine.image
    # vLLM looks whether the file of the chat template is there.
    commands = [
        [__file__ if word.endswith(".jinja") else word for word in command]
        for command in (started.leader_command, started.worker_command)
        if command
    ]
    version = plan.engine.version.partition(".post")[0]
    assert [answer.error for answer in vllm.check(commands, version)] == [None] * len(commands)

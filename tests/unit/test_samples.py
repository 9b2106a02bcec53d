"""The samples against the clusters of the vendors: what is chosen, and that the engine's own parser takes it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from deepseek_operator.catalog.load import load
from deepseek_operator.engines.select import launch
from deepseek_operator.engines.types import Launch
from deepseek_operator.lifecycle.resolve import read_spec
from deepseek_operator.plan.inventory import read_node, take_inventory
from deepseek_operator.plan.placement import make_plan
from deepseek_operator.plan.types import Facts, Plan, Refusal
from e2e.sglang_parser import Command, check

ROOT = Path(__file__).resolve().parents[2]
ENTRY_POINT = 3
"""``python3 -m sglang.launch_server`` comes before the arguments."""


@dataclass(frozen=True)
class Chosen:
    """What a row of the table expects."""

    nodes: int
    tensor: int
    pipeline: int
    collective: str
    image: str


EXPECTED: dict[tuple[str, tuple[str, ...]], Chosen] = {
    ("deepseek-fp8", ("nvidia-h100",)): Chosen(2, 16, 1, "nccl", "lmsysorg/sglang:"),
    ("deepseek-fp8", ("nvidia-h100-noroce",)): Chosen(2, 8, 2, "nccl", "lmsysorg/sglang:"),
    ("deepseek-fp8", ("nvidia-h200",)): Chosen(1, 8, 1, "nccl", "lmsysorg/sglang:"),
    ("deepseek-fp8", ("nvidia-b200",)): Chosen(1, 8, 1, "nccl", "lmsysorg/sglang:"),
    ("deepseek-fp8", ("amd-mi300x",)): Chosen(1, 8, 1, "rccl", "-mi30x"),
    ("deepseek-fp8", ("amd-mi325x",)): Chosen(1, 8, 1, "rccl", "-mi30x"),
    ("deepseek-fp8", ("amd-mi355x",)): Chosen(1, 8, 1, "rccl", "-mi35x"),
    ("deepseek-fp8", ("nvidia-h100", "nvidia-h200")): Chosen(1, 8, 1, "nccl", "lmsysorg/sglang:"),
    ("deepseek-r1", ("nvidia-h200",)): Chosen(1, 8, 1, "nccl", "lmsysorg/sglang:"),
    ("deepseek-bf16", ("ascend-910b",)): Chosen(4, 32, 1, "hccl", "-910b"),
    ("deepseek-bf16", ("ascend-910b-2026",)): Chosen(4, 32, 1, "hccl", "-910b"),
    ("deepseek-bf16", ("ascend-910c",)): Chosen(2, 32, 1, "hccl", "-a3"),
    ("deepseek-bf16", ("ascend-910c-2026",)): Chosen(2, 32, 1, "hccl", "-a3"),
    ("deepseek-bf16", ("nvidia-a100-80",)): Chosen(4, 32, 1, "nccl", "lmsysorg/sglang:"),
}


def outcome(sample: str, clusters: tuple[str, ...], **changes: Any) -> tuple[Plan, Launch] | Refusal:
    manifest = yaml.safe_load((ROOT / "manifests" / f"{sample}.yaml").read_text())
    spec = read_spec(manifest["spec"] | changes)
    catalog = load()
    bodies = [
        body
        for cluster in clusters
        for body in yaml.safe_load((ROOT / "e2e/cluster/nodes" / f"{cluster}.yaml").read_text())["items"]
    ]
    inventory = take_inventory([read_node(body) for body in bodies], catalog)
    name = manifest["metadata"]["name"]
    facts = Facts(default_storage_class=True)
    plan = make_plan(spec, inventory, catalog, facts, namespace="default", name=name)
    if isinstance(plan, Refusal):
        return plan
    started = launch(plan, spec, catalog, name=name, namespace="default", cluster_domain="cluster.local")
    return plan, started


@pytest.mark.parametrize(("sample", "clusters"), EXPECTED)
def test_a_sample_is_planned_as_the_guides_say(sample: str, clusters: tuple[str, ...]) -> None:
    found = outcome(sample, clusters)
    assert not isinstance(found, Refusal), found
    plan, _ = found
    expected = EXPECTED[sample, clusters]
    assert (plan.nodes_per_group, plan.parallelism.tensor, plan.parallelism.pipeline) == (
        expected.nodes,
        expected.tensor,
        expected.pipeline,
    )
    assert plan.fabric.collective == expected.collective
    assert expected.image in plan.engine.image


def test_without_rdma_the_plan_says_what_to_install() -> None:
    found = outcome("deepseek-fp8", ("nvidia-h100-noroce",))
    assert not isinstance(found, Refusal)
    assert any("RDMA" in warning for warning in found[0].warnings)


def test_in_a_mixed_cluster_every_class_has_its_line() -> None:
    found = outcome("deepseek-fp8", ("nvidia-h100", "nvidia-h200", "nvidia-a100-80"))
    assert not isinstance(found, Refusal)
    verdicts = {line.product: line.verdict for line in found[0].considered}
    assert verdicts["NVIDIA-H200"] == "chosen"
    assert verdicts["NVIDIA-A100-SXM4-80GB"] == "refused"


@pytest.mark.parametrize("cluster", ["nvidia-a100-80", "ascend-910b"])
def test_fp8_on_hardware_without_it_is_refused_with_what_would_work(cluster: str) -> None:
    found = outcome("deepseek-fp8", (cluster,))
    assert isinstance(found, Refusal)
    assert "bf16" in found.problems[0].message


@pytest.mark.parametrize(("sample", "clusters"), EXPECTED)
def test_the_engines_own_parser_and_validation_take_every_command(sample: str, clusters: tuple[str, ...]) -> None:
    found = outcome(sample, clusters)
    assert not isinstance(found, Refusal)
    plan, started = found
    commands = [
        Command(argv=command[ENTRY_POINT:], vendor=plan.hardware.vendor)
        for command in (started.leader_command, started.worker_command)
        if command
    ]
    assert [answer.error for answer in check(plan.engine.version, commands)] == [None] * len(commands)


def test_a_broken_command_is_not_taken() -> None:
    found = outcome("deepseek-fp8", ("nvidia-h100",))
    assert not isinstance(found, Refusal)
    plan, started = found
    broken = (*started.leader_command[ENTRY_POINT:], "--no-such-flag")
    (answer,) = check(plan.engine.version, [Command(argv=broken, vendor="nvidia")])
    assert answer.error

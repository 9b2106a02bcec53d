"""The DeepSeek-Infer demo: what is served where; command lines by torchrun's own parser and generate.py's arguments."""

from __future__ import annotations

from typing import Any

import pytest

from deepseek_operator.api.resource import Spec
from deepseek_operator.catalog.load import load
from deepseek_operator.engines.select import check_args
from deepseek_operator.engines.types import Launch
from deepseek_operator.plan.types import Plan, Refusal
from e2e.parsers import deepseek_infer, torchrun
from tests.unit.engines.infer_plans import ANSWERS, batch, by_hand, planned, wanted
from tests.unit.engines.plans import launched

LEADER = "deepseek-g0-0.deepseek-g0.demo.svc.cluster.local"
CONFIG = "/run/deepseek/config.json"


def made(spec: Spec, file: str) -> tuple[Plan, Launch]:
    plan = planned(spec, file)
    assert isinstance(plan, Plan), plan.problems
    return plan, launched(plan, spec)


def refusal(spec: Spec, file: str) -> str:
    plan = planned(spec, file)
    assert isinstance(plan, Refusal), "this was planned"
    return " ".join(f"{problem.field} {problem.reason} {problem.message}" for problem in plan.problems)


SERVED = [
    ("nvidia-h200", "fp8", 8, 1, "deepseek-ai/DeepSeek-V3"),
    ("nvidia-h200", "fp8", 16, 2, "deepseek-ai/DeepSeek-R1-0528"),
    ("nvidia-h200", "bf16", 16, 2, "deepseek-ai/DeepSeek-V3-0324"),
    ("nvidia-h100", "bf16", 32, 4, "deepseek-ai/DeepSeek-V3.1"),
    ("nvidia-h100", "fp8", 16, 2, "deepseek-ai/DeepSeek-V3.1"),
    ("nvidia-h100", "bf16", 32, 4, "deepseek-ai/DeepSeek-R1"),
    ("nvidia-a100-80", "bf16", 32, 4, "deepseek-ai/DeepSeek-V3"),
    ("nvidia-a100-80", "bf16", 8, 1, "deepseek-ai/DeepSeek-V2.5"),
]


@pytest.mark.parametrize(("file", "precision", "ranks", "nodes", "model"), SERVED)
@pytest.mark.parametrize("mode", ["batch", "terminal"])
def test_every_served_cell_gives_commands_that_torchrun_and_the_demo_read(
    file: str, precision: str, ranks: int, nodes: int, model: str, mode: str
) -> None:
    spec = wanted(ranks=ranks, precision=precision, model=model, batch=batch() if mode == "batch" else None)
    plan, launch = made(spec, file)
    assert (plan.nodes_per_group, plan.world_size) == (nodes, ranks)
    commands = [command for command in (launch.leader_command, launch.worker_command) if command]
    assert len(commands) == min(nodes, 2)
    for rank, (command, outcome) in enumerate(zip(commands, torchrun.check(commands), strict=True)):
        assert outcome.error is None
        assert (outcome.values["min_nodes"], outcome.values["max_nodes"]) == (nodes, nodes)
        assert outcome.values["nproc_per_node"] == 8
        if nodes > 1:
            assert outcome.values["rdzv_endpoint"] == f"{LEADER}:20000"
            assert outcome.values["rdzv_configs"]["rank"] == rank
        program = command[command.index("generate.py") :]
        assert outcome.values["program"][-len(program) :] == list(program)
        demo = deepseek_infer.parse(program)
        assert demo.error is None
        assert demo.values["ckpt_path"] == f"/models/v3-mp{ranks}"
        assert demo.values["interactive"] is (mode == "terminal")


def test_a_batch_over_two_nodes_is_this_command() -> None:
    spec = wanted(batch=batch(maxNewTokens=1000, temperature="0.75"))
    _, launch = made(spec, "nvidia-h100")
    assert " ".join(launch.worker_command) == (
        f"torchrun --nnodes 2 --nproc-per-node 8 --node-rank 1 --master-addr {LEADER} --master-port 20000 generate.py "
        f"--ckpt-path /models/v3-mp16 --config {CONFIG} --input-file /prompts/prompts.txt --max-new-tokens 1000 "
        "--temperature 0.75"
    )


def test_a_terminal_on_one_node_is_this_command() -> None:
    engine = {"name": "deepseek-infer", "image": "i", "args": ["--temperature", "0.7", "--max-new-tokens", "200"]}
    _, launch = made(wanted(ranks=8, engine=engine), "nvidia-h200")
    assert " ".join(launch.leader_command) == (
        f"torchrun --nnodes 1 --nproc-per-node 8 generate.py --ckpt-path /models/v3-mp8 --config {CONFIG} "
        "--interactive --temperature 0.7 --max-new-tokens 200"
    )
    assert launch.worker_command == ()


REFUSED: dict[str, tuple[dict[str, Any], str, list[str]]] = {
    "FP8 over 32 ranks": (
        {"ranks": 32, "parallelism": {"tensor": 32}},
        "nvidia-h100",
        ["BlocksNotDivisible", "blocks of 128", "precision bf16"],
    ),
    "FP8 on one H100 node": (
        {"ranks": 8, "parallelism": {"nodes": 1}},
        "nvidia-h100",
        ["WeightsTooLarge", "tensor 16 on 16 such devices would fit"],
    ),
    "BF16 on one H200 node": (
        {"ranks": 8, "precision": "bf16", "parallelism": {"nodes": 1}},
        "nvidia-h200",
        ["WeightsTooLarge", "tensor 16"],
    ),
    "FP8 on Ampere": ({}, "nvidia-a100-80", ["spec.precision", "bf16"]),
    "Blackwell": ({"ranks": 8}, "nvidia-b200", ["torch 2.4.1", "engine sglang or vllm"]),
    "AMD": ({"ranks": 8}, "amd-mi300x", ["CUDA", "engine sglang or vllm"]),
    "Ascend": ({"precision": "bf16"}, "ascend-910b", ["CUDA", "engine sglang or vllm"]),
    "V3.2": ({"model": "deepseek-ai/DeepSeek-V3.2"}, "nvidia-h200", ["no sparse attention", "engine sglang or vllm"]),
    "a distilled model": (
        {"model": "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B", "precision": "bf16", "ranks": 8},
        "nvidia-h100",
        ["DeepSeek's own attention only"],
    ),
    "INT8": ({"precision": "int8"}, "nvidia-h100", ["spec.precision", "fp8, bf16"]),
    "a batch with a claim for each rank": (
        {"weights": {"cache": "perRank"}, "batch": batch()},
        "nvidia-h100",
        ["spec.weights.cache NoClaimForEachRank", "use cache node"],
    ),
    "weights for other ranks": (
        {"ranks": 8, "parallelism": {"nodes": 2}},
        "nvidia-h100",
        ["WeightsCutForOtherRanks", "cut for 8 ranks, and these are 16"],
    ),
    "no image": (
        {"engine": {"name": "deepseek-infer"}},
        "nvidia-h100",
        ["spec.engine.image ImageNeeded", "docs/engines/deepseek-infer.md"],
    ),
    "MTP": (
        {"engine": {"name": "deepseek-infer", "image": "i", "features": {"mtp": True}}},
        "nvidia-h100",
        ["spec.engine.features.mtp"],
    ),
    "torch.compile": (
        {"engine": {"name": "deepseek-infer", "image": "i", "features": {"torchCompile": True}}},
        "nvidia-h100",
        ["spec.engine.features.torchCompile"],
    ),
    "an FP8 cache": ({"context": {"kvCachePrecision": "fp8"}}, "nvidia-h100", ["spec.context.kvCachePrecision"]),
    "pipeline stages": ({"parallelism": {"pipeline": 2}}, "nvidia-h100", ["PipelineNotInEngine"]),
    "a short context": (
        {"context": {"maxLength": 4096}},
        "nvidia-h100",
        ["spec.context.maxLength ContextChangesModel", "more than 4096"],
    ),
    "a long context for many": (
        {"context": {"maxLength": 131_072, "maxRunningRequests": 64}, "parallelism": {"nodes": 2}},
        "nvidia-h100",
        ["spec.context.maxLength", "or less"],
    ),
    "a name for the API": ({"servedName": "v3"}, "nvidia-h100", ["spec.servedName NoAPI"]),
    "keys for the API": (
        {"access": {"keys": {"mode": "secret", "secretName": "s"}}},
        "nvidia-h100",
        ["spec.access.keys NoAPI"],
    ),
    "callers of the API": (
        {"access": {"from": [{"podLabels": {"app": "web"}}]}},
        "nvidia-h100",
        ["spec.access.from NoAPI"],
    ),
    "remote code": ({"trustRemoteCode": True}, "nvidia-h100", ["spec.trustRemoteCode NoAPI"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_work_is_refused_with_what_would(case: str) -> None:
    fields, file, words = REFUSED[case]
    told = refusal(wanted(**fields), file)
    assert [word for word in words if word not in told] == [], told


def test_a_flag_of_the_batch_is_refused_with_its_field_and_taken_on_the_terminal() -> None:
    engine = {"name": "deepseek-infer", "image": "i", "args": ["--temperature=0.9"]}
    (problem,) = check_args(wanted(batch=batch(), engine=engine), by_hand())
    assert (problem.field, problem.reason) == ("spec.engine.args[0]", "OwnedArgument")
    assert "spec.batch.temperature" in problem.message
    assert check_args(wanted(engine=engine), by_hand()) == ()


@pytest.mark.parametrize(
    ("precision", "source", "tools"),
    [
        ("fp8", None, [("shard", "/models/converted/mp16")]),
        ("fp8", "pvc://mine/DeepSeek-V3", [("shard", "/models/converted/mp16")]),
        ("bf16", None, [("cast", "/models/converted/bf16"), ("shard", "/models/converted/bf16-mp16")]),
    ],
)
def test_whole_weights_are_cut_for_the_ranks_of_the_plan(
    precision: str, source: str | None, tools: list[tuple[str, str]]
) -> None:
    weights = {"source": source} if source else {"cache": "ephemeral"}
    plan = planned(wanted(precision=precision, weights=weights, parallelism={"tensor": 16}), "nvidia-h200")
    assert isinstance(plan, Plan), plan.problems
    assert plan.weights.conversion is not None
    assert [(step.tool, step.path) for step in plan.weights.conversion.steps] == tools
    assert plan.weights.path == tools[-1][1]
    last = plan.weights.conversion.steps[-1]
    assert (last.model_parallel, last.experts) == (16, 256)
    program = launched(plan, wanted()).leader_command
    assert program[program.index("--ckpt-path") + 1] == tools[-1][1]


def test_a_plan_without_a_wish_takes_the_nodes_that_the_weights_are_cut_for() -> None:
    plan = planned(wanted(ranks=16), "nvidia-h200")
    assert isinstance(plan, Plan)
    assert plan.nodes_per_group == 2


def test_the_memory_is_the_weights_and_the_whole_cache_at_once() -> None:
    plan = planned(wanted(ranks=8), "nvidia-h200")
    assert isinstance(plan, Plan)
    memory = plan.memory
    # model.py: 61 layers x (512 + 64) values x 2 bytes x 8 requests x 16,384 tokens.
    assert memory.kv_gib == pytest.approx(61 * 576 * 2 * 8 * 16_384 / 2**30)
    assert memory.kv_tokens == 8 * 16_384
    assert 78 < memory.weights_gib < 81


@pytest.mark.parametrize(("model", "file"), [("deepseek-v3", "config_671B"), ("deepseek-v3.1", "config_v3.1")])
@pytest.mark.parametrize("precision", ["fp8", "bf16"])
def test_the_configuration_follows_from_model_and_precision(model: str, file: str, precision: str) -> None:
    script = launched(by_hand(model=model, precision=precision), wanted(model=model)).script
    assert f"configs/{file}.json" in script
    assert f"""'dtype="{precision}"' max_batch_size=8 max_seq_len=16384""" in script


def test_only_the_terminal_may_be_silent_for_longer_than_nccl_waits() -> None:
    terminal, once = launched(by_hand(), wanted()), launched(by_hand(), wanted(batch=batch(answers=ANSWERS)))
    assert terminal.env["TORCH_NCCL_ASYNC_ERROR_HANDLING"] == "0"
    assert "TORCH_NCCL_ASYNC_ERROR_HANDLING" not in once.env


def test_no_port_is_declared_for_an_api() -> None:
    assert launched(by_hand(), wanted()).ports == {"rendezvous": 20000, "barrier": 20100}


def test_the_catalogue_has_a_source_for_every_configuration() -> None:
    facts = load().engines["deepseek-infer"]
    sources = [each.source for each in facts.served] + [each.source for each in facts.configurations]
    assert all("9b4e978" in source for source in sources)

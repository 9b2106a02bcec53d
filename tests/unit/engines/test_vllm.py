"""vLLM's command lines, judged by the parser of the release that will run them, and its own rules."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Mapping
from typing import Any

import pytest

from deepseek_operator.catalog.load import load
from deepseek_operator.catalog.types import EngineRelease
from deepseek_operator.engines.flags import release_flags
from deepseek_operator.engines.select import check_args, read_metrics
from deepseek_operator.plan.types import Parallelism
from e2e.parsers import ray, vllm
from e2e.parsers.sources import VLLM, sources
from tests.unit.engines.plans import launched, plan, spec

RELEASES = [each for each in load().releases if each.engine == "vllm"]
NVIDIA = next(each for each in RELEASES if each.vendor == "nvidia")
SERVED = [
    (layout, architecture)
    for row in load().engines["vllm"].served
    for layout in row.layouts
    for architecture in row.architectures
]
LEADER = "deepseek-g0-0.deepseek-g0.demo.svc.cluster.local"

Wanted = tuple[dict[str, Any], dict[str, Any]]
CASES: Mapping[str, Wanted] = {
    "one node": ({"nodes": 1}, {}),
    "one device": ({"nodes": 1, "split": Parallelism(tensor=1), "accelerators_per_node": 1}, {}),
    "tensor over two nodes": ({}, {}),
    "pipeline over two nodes": ({"split": Parallelism(tensor=8, pipeline=2), "carrier": "tcp"}, {}),
    "attention data on one node": ({"nodes": 1, "split": Parallelism(tensor=8, attention_data=8, expert=8)}, {}),
    "attention data over two nodes": ({"split": Parallelism(tensor=16, attention_data=16, expert=16)}, {}),
    "a core over two nodes": ({"nodes": 4, "split": Parallelism(tensor=32, attention_data=2, expert=32)}, {}),
    "multi-token prediction": ({"mtp": True}, {}),
    "requests limited": ({"memory": {"max_running_requests": 24}}, {}),
    "without keys": ({}, {"access": {"keys": {"mode": "none"}}}),
    "remote code and a name like a flag": ({"served_name": "--x"}, {"trustRemoteCode": True}),
    "user's arguments": ({}, {"engine": {"args": ["--enforce-eager", "--seed", "7", "--max-log-len=100"]}}),
    "more API servers": ({}, {"engine": {"args": ["--api-server-count", "4", "--enforce-eager"]}}),
    "bf16 KV cache": ({"nodes": 1, "kv_cache_precision": "bf16"}, {}),
    "fp8 KV cache": ({"nodes": 1, "kv_cache_precision": "fp8"}, {}),
    **{f"parsers of {model}": ({"model": model}, {"model": model}) for model in load().models},
}
"""What is planned and what is asked for, by name."""


def parsed_version(release: EngineRelease) -> str:
    """vLLM-Ascend 0.23.0.post1 runs vLLM 0.23.0."""
    return release.version.partition(".post")[0]


def on_this_machine(command: tuple[str, ...]) -> tuple[str, ...]:
    """vLLM looks whether the file of the chat template is there."""
    return tuple(__file__ if word.endswith(".jinja") else word for word in command)


def commands(release: EngineRelease) -> dict[str, tuple[str, ...]]:
    """Every command of every case, by name and rank."""
    found: dict[str, tuple[str, ...]] = {}
    for name, (planned, wanted) in CASES.items():
        started = launched(plan(release=release, **planned), spec(**wanted))
        found[f"{name}, leader"] = on_this_machine(started.leader_command)
        if started.worker_command:
            found[f"{name}, worker"] = started.worker_command
    return found


@pytest.mark.parametrize("release", RELEASES, ids=lambda each: each.image)
def test_every_command_passes_the_parser_of_its_own_release(release: EngineRelease) -> None:
    every = commands(release)
    outcomes = vllm.check(list(every.values()), parsed_version(release))
    assert {name: each.error for name, each in zip(every, outcomes, strict=True) if each.error is not None} == {}


@pytest.mark.parametrize("release", RELEASES, ids=lambda each: each.image)
def test_only_long_canonical_flags_are_written(release: EngineRelease) -> None:
    canonical = {flag.name for flag in release_flags("vllm", release.version).by_spelling.values()}
    for name, command in commands(release).items():
        written = {word.partition("=")[0] for word in command[3:] if word.startswith("--")}
        assert written <= canonical, name


def test_vllm_reads_the_plan_out_of_a_workers_command() -> None:
    made = plan(
        release=NVIDIA,
        split=Parallelism(tensor=16, attention_data=4, expert=16),
        mtp=True,
        kv_cache_precision="fp8",
        memory={"max_running_requests": 100},
    )
    values = vllm.parse(launched(made).worker_command, NVIDIA.version).values
    expected = {
        "model_tag": "/weights/v3",
        "served_model_name": ["DeepSeek-V3"],
        "host": "0.0.0.0",  # noqa: S104 - the pod's own address
        "port": 8000,
        # Four engine cores of four devices each, on 16 devices.
        "tensor_parallel_size": 4,
        "data_parallel_size": 4,
        "pipeline_parallel_size": 1,
        "enable_expert_parallel": True,
        "distributed_executor_backend": "mp",
        "nnodes": 2,
        "node_rank": 1,
        "master_addr": LEADER,
        "master_port": 29501,
        "data_parallel_rpc_port": 29550,
        "headless": True,
        "gpu_memory_utilization": 0.807,
        "max_model_len": 65_536,
        "max_num_batched_tokens": 8192,
        # A hundred requests of a group, of which each core takes a quarter.
        "max_num_seqs": 25,
        "kv_cache_dtype": "fp8",
        "tool_call_parser": "deepseek_v3",
        "enable_auto_tool_choice": True,
        "api_key": None,
    }
    assert {name: values[name] for name in expected} == expected
    assert values["speculative_config"] == {"method": "mtp", "num_speculative_tokens": 1}


def test_the_command_for_two_nodes_is_that_of_vllms_guides() -> None:
    started = launched(
        plan(release=NVIDIA, split=Parallelism(tensor=8, pipeline=2)), spec(engine={"args": ["--seed", "7"]})
    )
    everywhere = (
        *("vllm", "serve", "/weights/v3", "--served-model-name", "DeepSeek-V3", "--host", "0.0.0.0", "--port", "8000"),  # noqa: S104
        *("--tensor-parallel-size", "8", "--pipeline-parallel-size", "2", "--distributed-executor-backend", "mp"),
        *("--gpu-memory-utilization", "0.807", "--max-model-len", "65536", "--max-num-batched-tokens", "8192"),
        *("--kv-cache-dtype", "auto", "--enable-auto-tool-choice", "--tool-call-parser", "deepseek_v3"),
        *("--distributed-timeout-seconds", "3600", "--nnodes", "2"),
    )
    template = ("--chat-template", "/vllm-workspace/examples/tool_chat_template_deepseekv3.jinja")
    met = ("--seed", "7", "--master-addr", LEADER)
    assert started.leader_command == (*everywhere, "--node-rank", "0", "--master-port", "29501", *template, *met)
    assert started.worker_command == (*everywhere, "--node-rank", "1", "--master-port", "29501", "--headless", *met)


def test_a_group_of_one_node_has_no_rendezvous() -> None:
    started = launched(plan(release=NVIDIA, nodes=1))
    assert started.worker_command == ()
    assert started.ports == {"http": 8000}
    assert not {"--nnodes", "--node-rank", "--master-addr", "--headless"} & set(started.leader_command)


def test_ports_are_outside_node_ports_and_ephemeral_ports() -> None:
    ports = launched(plan(release=NVIDIA, split=Parallelism(tensor=16, attention_data=16, expert=16))).ports
    assert set(ports) == {"http", "rendezvous", "data-parallel", "barrier"}
    assert len(set(ports.values())) == len(ports)
    assert all(port < 30_000 for port in ports.values())


def test_a_batch_has_room_for_every_request() -> None:
    # config/scheduler.py refuses fewer tokens than requests.
    made = plan(release=NVIDIA, memory={"chunked_prefill": 2048, "max_running_requests": 4096})
    command = launched(made).leader_command
    assert command[command.index("--max-num-batched-tokens") + 1] == "4096"


def test_a_headless_rank_gets_no_argument_that_it_refuses() -> None:
    started = launched(plan(release=NVIDIA), spec(engine={"args": ["--api-server-count", "4", "--seed", "7"]}))
    words = started.leader_command
    assert words[words.index("--api-server-count") + 1] == "4"
    assert "--api-server-count" not in started.worker_command
    assert "--seed" in started.worker_command


def test_no_key_is_in_a_command() -> None:
    started = launched(plan(release=NVIDIA))
    assert not [word for word in (*started.leader_command, *started.worker_command) if "key" in word.lower()]


@pytest.mark.parametrize(("layout", "architecture"), SERVED)
def test_every_layout_is_started_as_vllm_takes_it(layout: str, architecture: str) -> None:
    known = load().layouts[layout]
    release = next(each for each in RELEASES if architecture in each.architectures)
    made = plan(release=release, precision=known.precision)
    made = dataclasses.replace(
        made,
        weights=dataclasses.replace(made.weights, layout=layout),
        hardware=dataclasses.replace(made.hardware, architecture=architecture),
    )
    outcome = vllm.parse(on_this_machine(launched(made).leader_command), parsed_version(release))
    assert outcome.error is None
    row = next(
        each for each in load().engines["vllm"].served if layout in each.layouts and architecture in each.architectures
    )
    told = dict(zip(row.arguments[::2], row.arguments[1::2], strict=True))
    dtype = "bfloat16" if known.precision == "bf16" else told.get("--dtype", "auto")
    assert outcome.values["dtype"] == dtype
    assert outcome.values["quantization"] == told.get("--quantization")


def test_a_broken_command_is_refused_by_its_release() -> None:
    sound = launched(plan(release=NVIDIA)).leader_command
    parserless = tuple(word for word in sound if word not in {"--tool-call-parser", "deepseek_v3"})
    broken = {
        (*sound, "--no-such-flag"): "unrecognized arguments",
        replaced(sound, "--max-model-len", "long"): "invalid",
        replaced(sound, "--tensor-parallel-size", "sixteen"): "invalid",
        (*sound, "--all2all-backend", "pplx_v9"): "invalid choice",
        parserless: "requires --tool-call-parser",
    }
    outcomes = vllm.check([sound, *broken], NVIDIA.version)
    assert outcomes[0].error is None
    for (command, reason), outcome in zip(broken.items(), outcomes[1:], strict=True):
        assert outcome.error is not None, command
        assert reason in outcome.error


@pytest.mark.parametrize("release", RELEASES, ids=lambda each: each.image)
def test_every_parser_that_a_model_gets_is_one_of_its_release(release: EngineRelease) -> None:
    package = sources(VLLM, parsed_version(release)) / "vllm"
    registries = {
        "--tool-call-parser": (package / "tool_parsers/__init__.py").read_text(),
        "--reasoning-parser": (package / "reasoning/__init__.py").read_text(),
    }
    known = {flag: set(re.findall(r'^    "(\w+)": \(', text, re.MULTILINE)) for flag, text in registries.items()}
    for row in load().engines["vllm"].model_arguments:
        for flag, name in itertools.pairwise(row.arguments):
            assert flag not in known or name in known[flag], (row.models, flag)


def replaced(command: tuple[str, ...], flag: str, value: str) -> tuple[str, ...]:
    at = command.index(flag) + 1
    return (*command[:at], value, *command[at + 1 :])


SPREAD = [each for each in RELEASES if each.vendor in {"nvidia", "ascend"}][:2]


@pytest.mark.parametrize("release", SPREAD, ids=lambda each: each.version)
def test_vllm_spreads_its_ranks_over_the_nodes_as_planned(release: EngineRelease) -> None:
    shapes = {
        "tensor": plan(release=release),
        "pipeline": plan(release=release, split=Parallelism(tensor=8, pipeline=2)),
        "sixteen cores": plan(release=release, split=Parallelism(tensor=16, attention_data=16, expert=16)),
        "two cores of two nodes": plan(release=release, nodes=4, split=Parallelism(tensor=32, attention_data=2)),
    }
    workers = [launched(each).worker_command for each in shapes.values()]
    leaders = [launched(each).leader_command for each in shapes.values()]
    read = dict(zip(shapes, vllm.parallel(on_all(workers), parsed_version(release)), strict=True))
    assert {name: each.error for name, each in read.items()} == dict.fromkeys(shapes)
    worker = {name: each.values for name, each in read.items()}
    # (first data parallel rank, cores on the node, rank of the node among those of its core, devices of the node).
    assert {name: tuple(values[key] for key in PLACE) for name, values in worker.items()} == {
        "tensor": (0, 1, 1, 8),
        "pipeline": (0, 1, 1, 8),
        "sixteen cores": (8, 8, 0, 1),
        "two cores of two nodes": (0, 1, 1, 8),
    }
    assert not any(each["data_parallel_external_lb"] or each["data_parallel_hybrid_lb"] for each in worker.values())
    assert {worker[name]["data_parallel_master_ip"] for name in ("sixteen cores", "two cores of two nodes")} == {LEADER}
    first = vllm.parallel(on_all(leaders), parsed_version(release))
    assert [(each.error, each.values["data_parallel_rank"]) for each in first] == [(None, 0)] * len(shapes)


PLACE = ("data_parallel_rank", "data_parallel_size_local", "node_rank_within_dp", "local_world_size")


def on_all(every: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    return [on_this_machine(each) for each in every]


@pytest.mark.parametrize("release", SPREAD, ids=lambda each: each.version)
def test_vllm_refuses_ranks_that_do_not_fit_the_nodes(release: EngineRelease) -> None:
    sound = on_this_machine(launched(plan(release=release)).worker_command)
    broken = {
        replaced(sound, "--nnodes", "3"): "world",
        replaced(sound, "--node-rank", "2"): "node",
        replaced(sound, "--distributed-executor-backend", "ray"): "",
    }
    for outcome, because in zip(vllm.parallel(list(broken), parsed_version(release)), broken.values(), strict=True):
        assert outcome.error is not None
        assert because in outcome.error


RAY = {"name": "vllm", "backend": "ray", "image": "registry.example/vllm-with-ray:1"}


@pytest.mark.parametrize("release", RELEASES, ids=lambda each: each.image)
def test_with_ray_both_parsers_take_the_command(release: EngineRelease) -> None:
    started = launched(plan(release=release), spec(engine={**RAY, "args": ["--seed", "7"]}))
    assert [each.error for each in ray.check([started.leader_command, started.worker_command])] == [None, None]
    split = started.leader_command.index("--")
    outcome = vllm.parse(on_this_machine(started.leader_command[split + 1 :]), parsed_version(release))
    assert outcome.error is None
    values = outcome.values
    assert (values["distributed_executor_backend"], values["nnodes"], values["headless"]) == ("ray", 1, False)
    devices = ["--num-gpus=8"] if release.vendor != "ascend" else []
    assert [word for word in started.leader_command if word.startswith("--num-gpus")] == devices
    assert started.ports["ray"] == 6379
    assert started.env["RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT"] == "3600"


def test_with_ray_a_worker_is_judged_by_its_actors() -> None:
    pattern = re.compile(launched(plan(release=NVIDIA), spec(engine=RAY)).startup_probe[-2])
    for line in ("ray::RayWorkerProc.run", "ray::RayWorkerWrapper", "VLLM::Worker_TP8 "):
        assert pattern.search(line), line
    for line in ("ray::IDLE", "/bin/bash -c VLLM::Worker", "python ray::RayWorkerProc"):
        assert not pattern.search(line), line


def test_several_engine_cores_are_refused_with_ray() -> None:
    made = plan(release=NVIDIA, split=Parallelism(tensor=16, attention_data=2))
    (problem,) = check_args(spec(engine=RAY), made)
    assert (problem.field, problem.reason) == ("spec.parallelism.attentionData", "UnsupportedCombination")
    assert check_args(spec(engine=RAY), plan(release=NVIDIA)) == ()


def test_torch_compile_is_no_choice_because_vllm_compiles_anyway() -> None:
    made = plan(release=NVIDIA, torch_compile=True)
    (problem,) = check_args(spec(engine={"name": "vllm", "features": {"torchCompile": True}}), made)
    assert problem.field == "spec.engine.features.torchCompile"
    assert "--enforce-eager" in problem.message
    assert check_args(spec(engine={"name": "vllm", "args": ["--enforce-eager"]}), plan(release=NVIDIA)) == ()


@pytest.mark.parametrize(
    ("deadline", "seconds"), [(None, "3600"), (60, "3600"), (7200, "7200")], ids=["default", "less", "more"]
)
def test_vllm_waits_for_its_ranks_as_long_as_the_operator_does(deadline: int | None, seconds: str) -> None:
    wanted = spec(startup={"deadlineSeconds": deadline} if deadline else {})
    assert launched(plan(release=NVIDIA), wanted).env["VLLM_ENGINE_READY_TIMEOUT_S"] == seconds


@pytest.mark.parametrize(
    ("release", "architecture", "expected", "absent"),
    [
        ("nvidia", "sm90", {"VLLM_NO_USAGE_STATS": "1"}, "VLLM_ROCM_USE_AITER"),
        ("amd", "gfx942", {"VLLM_ROCM_USE_AITER": "1", "HSA_NO_SCRATCH_RECLAIM": "1"}, "SGLANG_USE_AITER"),
        ("amd", "gfx90a", {"HSA_NO_SCRATCH_RECLAIM": "1"}, "VLLM_ROCM_USE_AITER"),
        ("ascend", "ascend910b", {"HCCL_BUFFSIZE": "200", "HCCL_INTRA_ROCE_ENABLE": "0"}, "STREAMS_PER_DEVICE"),
        ("ascend", "ascend910c", {"OMP_NUM_THREADS": "1", "HCCL_CONNECT_TIMEOUT": "7200"}, "HCCL_INTRA_ROCE_ENABLE"),
    ],
)
def test_the_environment_follows_vendor_and_architecture(
    release: str, architecture: str, expected: Mapping[str, str], absent: str
) -> None:
    found = next(each for each in RELEASES if each.vendor == release and architecture in each.architectures)
    made = plan(release=found)
    made = dataclasses.replace(made, hardware=dataclasses.replace(made.hardware, architecture=architecture))
    env = launched(made).env
    assert expected.items() <= env.items()
    assert absent not in env


def test_the_cache_is_read_as_blocks_of_the_core_with_the_fewest() -> None:
    page = (
        'vllm:cache_config_info{block_size="64",cache_dtype="auto",engine="0",num_gpu_blocks="1000"} 1.0\n'
        'vllm:cache_config_info{block_size="64",cache_dtype="auto",engine="1",num_gpu_blocks="990"} 1.0\n'
    )
    found = read_metrics("vllm", page)
    assert found is not None
    assert (found.kv_tokens, found.weights_gib) == (63_360, None)
    assert read_metrics("vllm", page.replace('num_gpu_blocks="', 'num_gpu_blocks="None')) is None

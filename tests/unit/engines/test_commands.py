"""Every command line, judged by the SGLang release that will run it."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from typing import Any

import pytest

from deepseek_operator.catalog.load import load
from deepseek_operator.engines.flags import release_flags
from deepseek_operator.plan.types import ExpertSpread, Parallelism
from e2e.sglang_parser import DEEPSEEK_V3, Command, Outcome, check
from tests.unit.engines.plans import launched, plan, spec

BF16 = {key: value for key, value in DEEPSEEK_V3.items() if key != "quantization_config"}
RELEASES = sorted({(each.vendor, each.version) for each in load().releases if each.engine == "sglang"})

VERSIONS = sorted({version for _, version in RELEASES})

Wanted = tuple[dict[str, Any], dict[str, Any]]
CASES: Mapping[str, Wanted] = {
    "one node": ({"nodes": 1}, {}),
    "tensor over two nodes": ({}, {}),
    "four nodes in bf16": ({"nodes": 4, "precision": "bf16"}, {}),
    "pipeline over two nodes": ({"split": Parallelism(tensor=8, pipeline=2), "carrier": "tcp"}, {}),
    "attention data parallel": ({"split": Parallelism(tensor=16, attention_data=4, expert=16)}, {}),
    "multi-token prediction": ({"mtp": True}, {}),
    "experts by DeepEP": (
        {"split": Parallelism(tensor=16, attention_data=16, expert=16), "spread": ExpertSpread(deepep=True)},
        {},
    ),
    "copies of experts": (
        {
            "nodes": 4,
            "split": Parallelism(tensor=32, attention_data=32, expert=32),
            "spread": ExpertSpread(deepep=True, redundant=32),
            "mtp": True,
        },
        {},
    ),
    "torch.compile": ({"nodes": 1, "torch_compile": True}, {}),
    "requests limited": ({"memory": {"max_running_requests": 24}}, {}),
    "without keys": ({}, {"access": {"keys": {"mode": "none"}}}),
    "remote code and a name like a flag": ({"served_name": "--x"}, {"trustRemoteCode": True}),
    "user's arguments": ({}, {"engine": {"args": ["--schedule-policy", "lpm", "--decode-log-interval=20"]}}),
    "bf16 KV cache": ({"nodes": 1, "kv_cache_precision": "bf16"}, {}),
    "fp8 KV cache": ({"nodes": 1, "kv_cache_precision": "fp8"}, {}),
    **{f"parsers of {model}": ({"model": model}, {"model": model}) for model in load().models},
}
"""What is planned and what is asked for, by name."""


def without_program(command: tuple[str, ...]) -> tuple[str, ...]:
    assert command[:3] == ("python3", "-m", "sglang.launch_server")
    return command[3:]


def judged(vendor: str, version: str, commands: list[tuple[str, ...]]) -> tuple[Outcome, ...]:
    return check(version, [Command(argv=argv, vendor=vendor) for argv in commands])


def rendered(version: str, *, bf16: bool) -> dict[str, Command]:
    """Every command of every case on every vendor of a release, for weights of one precision."""
    commands: dict[str, Command] = {}
    for vendor in (vendor for vendor, each in RELEASES if each == version):
        for name, (planned, wanted) in CASES.items():
            made = plan(vendor=vendor, version=version, **planned)
            if (made.precision == "bf16") is not bf16:
                continue
            started = launched(made, spec(**wanted))
            ranks = {"leader": started.leader_command, "worker": started.worker_command}
            commands |= {
                f"{vendor}, {name}, {rank}": Command(argv=without_program(command), vendor=vendor)
                for rank, command in ranks.items()
                if command
            }
    return commands


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("bf16", "model"), [(False, DEEPSEEK_V3), (True, BF16)], ids=["fp8", "bf16"])
def test_every_rendered_command_passes_the_parser_and_the_validation_of_its_own_release(
    version: str, model: Mapping[str, Any], *, bf16: bool
) -> None:
    commands = rendered(version, bf16=bf16)
    outcomes = check(version, list(commands.values()), model=model)
    refused = {name: each.error for name, each in zip(commands, outcomes, strict=True) if each.error is not None}
    assert len(commands) > 1
    assert refused == {}


def test_deepep_is_the_whole_recipe_of_large_expert_parallelism() -> None:
    made = plan(
        nodes=4,
        split=Parallelism(tensor=32, attention_data=32, expert=32),
        spread=ExpertSpread(deepep=True, redundant=32),
        mtp=True,
    )
    words = " ".join(launched(made).leader_command)
    for recipe in (
        "--ep-size 32",
        "--moe-a2a-backend deepep --deepep-mode auto --moe-dense-tp-size 1 --enable-dp-lm-head",
        "--enable-eplb --ep-num-redundant-experts 32",
        # 128 tokens a rank (SGLANG_DEEPEP_NUM_MAX_DISPATCH_TOKENS_PER_RANK), four a request with MTP, 32 ranks.
        "--max-running-requests 48",
    ):
        assert recipe in words
    assert "deepep" not in " ".join(launched(plan()).leader_command)


@pytest.mark.parametrize(("vendor", "version"), RELEASES)
def test_sglang_reads_the_plan_out_of_the_command(vendor: str, version: str) -> None:
    made = plan(
        vendor=vendor,
        version=version,
        split=Parallelism(tensor=16, attention_data=4, expert=8),
        mtp=True,
        torch_compile=True,
        kv_cache_precision="fp8",
    )
    command = without_program(launched(made).worker_command)
    values = judged(vendor, version, [command])[0].values
    width = "attn_dp_size" if "attn_dp_size" in values else "dp_size"
    expected = {
        "model_path": "/weights/v3",
        "served_model_name": "DeepSeek-V3",
        "host": "0.0.0.0",  # noqa: S104 - the pod's own address
        "port": 8000,
        "tp_size": 16,
        "pp_size": 1,
        "ep_size": 8,
        width: 4,
        "nnodes": 2,
        "node_rank": 1,
        "dist_init_addr": "deepseek-g0-0.deepseek-g0.demo.svc.cluster.local:20000",
        "mem_fraction_static": 0.807,
        "cuda_graph_max_bs_decode": 128,
        "chunked_prefill_size": 8192,
        "context_length": 65_536,
        "max_running_requests": 48,
        "kv_cache_dtype": "fp8_e4m3",
        "speculative_algorithm": "EAGLE",
        "speculative_num_steps": 3,
        "speculative_eagle_topk": 1,
        "speculative_num_draft_tokens": 4,
        "enable_torch_compile": True,
        "torch_compile_max_bs": 8,
        "dist_timeout": 3600,
        "enable_metrics": True,
        "trust_remote_code": False,
        "tool_call_parser": "deepseekv3",
        "device": "npu" if vendor == "ascend" else "cuda",
        "attention_backend": "ascend" if vendor == "ascend" else None,
    }
    assert {name: values[name] for name in expected} == expected


def replaced(command: tuple[str, ...], flag: str, value: str) -> tuple[str, ...]:
    at = command.index(flag) + 1
    return (*command[:at], value, *command[at + 1 :])


@pytest.mark.parametrize("version", VERSIONS)
def test_a_broken_command_is_refused_by_its_release(version: str) -> None:
    vendor = next(vendor for vendor, each in RELEASES if each == version)
    sound = without_program(launched(plan(vendor=vendor, version=version)).leader_command)
    spread = plan(vendor=vendor, version=version, split=Parallelism(tensor=16, attention_data=4))
    attention = without_program(launched(spread).leader_command)
    width = "--attn-dp-size" if "--attn-dp-size" in attention else "--dp-size"
    piped = plan(vendor=vendor, version=version, split=Parallelism(tensor=8, pipeline=2), mtp=True)
    broken = {
        (*sound, "--no-such-flag"): "unrecognized arguments",
        (*sound, "--speculative-num", "3"): "ambiguous option",
        replaced(sound, "--kv-cache-dtype", "fp7"): "invalid choice",
        replaced(sound, "--tp-size", "sixteen"): "invalid int value",
        (*sound, "--reasoning-parser", "deepseek-v9"): "invalid choice",
        replaced(sound, "--nnodes", "3"): "divisible by number of nodes",
        replaced(sound, "--served-model-name", "a:b"): "colon",
        replaced(attention, width, "3"): "tp_size %",
        without_program(launched(piped).leader_command): "speculative decoding",
        tuple(word for word in sound if word not in {"--model-path", "/weights/v3"}): "required: --model-path",
    }
    outcomes = judged(vendor, version, [sound, *broken])
    assert outcomes[0].error is None
    for (command, reason), outcome in zip(broken.items(), outcomes[1:], strict=True):
        assert outcome.error is not None, command
        assert reason in outcome.error


def test_leader_and_worker_differ_only_in_what_must_differ() -> None:
    made = launched(plan())
    only_leader = (
        "--api-key=$API_KEY",
        "--admin-api-key=$ADMIN_API_KEY",
        "--chat-template",
        "/sgl-workspace/sglang/examples/chat_template/tool_chat_template_deepseekv3.jinja",
    )
    assert made.leader_command == (*replaced(made.worker_command, "--node-rank", "0"), *only_leader)


def test_a_group_of_one_node_has_no_rendezvous() -> None:
    made = launched(plan(nodes=1))
    assert made.worker_command == ()
    assert made.ports == {"http": 8000}
    assert not {"--nnodes", "--node-rank", "--dist-init-addr"} & set(made.leader_command)


def test_only_long_canonical_flags_are_written() -> None:
    for (vendor, version), (planned, wanted) in itertools.product(RELEASES, CASES.values()):
        command = launched(plan(vendor=vendor, version=version, **planned), spec(**wanted)).leader_command
        written = {word.partition("=")[0] for word in command[3:] if word.startswith("--")}
        # A served name like a flag stands behind its own flag's "=".
        canonical = {flag.name for flag in release_flags("sglang", version).by_spelling.values()}
        assert written - canonical == set()


@pytest.mark.parametrize(
    ("vendor", "carrier", "expected"),
    [
        ("nvidia", "rdma", {}),
        ("nvidia", "tcp", {"NCCL_IB_DISABLE": "1"}),
        ("nvidia", "host", {}),
        ("amd", "rdma", {"SGLANG_USE_AITER": "1", "HSA_NO_SCRATCH_RECLAIM": "1"}),
        ("amd", "tcp", {"SGLANG_USE_AITER": "1", "NCCL_IB_DISABLE": "1"}),
        ("ascend", "ascend", {"HCCL_CONNECT_TIMEOUT": "7200", "PYTORCH_NPU_ALLOC_CONF": "expandable_segments:True"}),
    ],
)
def test_the_environment_follows_vendor_and_fabric(vendor: str, carrier: str, expected: Mapping[str, str]) -> None:
    env = launched(plan(vendor=vendor, carrier=carrier)).env
    assert expected.items() <= env.items()
    assert ("NCCL_IB_DISABLE" in env) is (expected.get("NCCL_IB_DISABLE") == "1")
    assert "NCCL_IB_GID_INDEX" not in env


def test_ports_are_outside_node_ports_and_ephemeral_ports() -> None:
    ports = launched(plan()).ports
    assert len(set(ports.values())) == len(ports)
    assert all(port < 30_000 for port in ports.values())
    # With attention data parallelism SGLang binds 13 ports after the rendezvous.
    assert not {ports["barrier"], ports["http"]} & set(range(ports["rendezvous"], ports["rendezvous"] + 14))


def test_a_plan_of_an_unknown_engine_is_not_launched() -> None:
    made = plan()
    unknown = dataclasses.replace(made, engine=dataclasses.replace(made.engine, name="none-such"))
    with pytest.raises(LookupError, match="none-such"):
        launched(unknown)


SERVED = [
    (layout.name, vendor, architecture)
    for layout in load().layouts.values()
    for vendor, architecture in dict.fromkeys((each.vendor, each.architecture) for each in load().accelerators)
    if architecture in layout.architectures
]


@pytest.mark.parametrize(("layout", "vendor", "architecture"), SERVED)
def test_every_quantised_layout_is_started_as_its_release_takes_it(layout: str, vendor: str, architecture: str) -> None:
    known = load().layouts[layout]
    made = plan(vendor=vendor, precision=known.precision)
    made = dataclasses.replace(
        made,
        weights=dataclasses.replace(made.weights, layout=layout),
        hardware=dataclasses.replace(made.hardware, architecture=architecture),
    )
    argv = without_program(launched(made).leader_command)
    (outcome,) = check(made.engine.version, [Command(argv=argv, vendor=vendor)], model=BF16)
    assert outcome.error is None
    flags = dict(zip(known.arguments[::2], known.arguments[1::2], strict=True))
    assert outcome.values["quantization"] == flags.get("--quantization")
    assert outcome.values["dtype"] == flags.get("--dtype", "auto")


QWEN: Mapping[str, Any] = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "hidden_size": 3584,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "intermediate_size": 18944,
    "vocab_size": 152064,
    "max_position_embeddings": 131072,
}
LITE: Mapping[str, Any] = {
    **BF16,
    "architectures": ["DeepseekV2ForCausalLM"],
    "model_type": "deepseek_v2",
    "hidden_size": 2048,
    "num_hidden_layers": 27,
    "first_k_dense_replace": 1,
    "num_attention_heads": 16,
    "q_lora_rank": None,
    "intermediate_size": 10944,
    "moe_intermediate_size": 1408,
    "n_routed_experts": 64,
    "n_shared_experts": 2,
    "num_nextn_predict_layers": 0,
    "vocab_size": 102400,
}


@pytest.mark.parametrize(("vendor", "version"), RELEASES)
@pytest.mark.parametrize(
    ("model", "config", "tensor"),
    [("deepseek-r1-distill-qwen-7b", QWEN, 2), ("deepseek-v2-lite", LITE, 1)],
)
def test_a_small_model_on_a_part_of_a_node_passes_its_release(
    vendor: str, version: str, model: str, config: Mapping[str, Any], tensor: int
) -> None:
    made = plan(
        vendor=vendor, version=version, model=model, precision="bf16", nodes=1, split=Parallelism(tensor=tensor)
    )
    made = dataclasses.replace(
        made, accelerators_per_node=tensor, weights=dataclasses.replace(made.weights, layout="bf16")
    )
    argv = without_program(launched(made, spec(model=model)).leader_command)
    (outcome,) = check(version, [Command(argv=argv, vendor=vendor)], model=config)
    assert outcome.error is None
    assert outcome.values["tp_size"] == tensor


@pytest.mark.parametrize(("vendor", "version"), RELEASES)
def test_sparse_attention_passes_its_release(vendor: str, version: str) -> None:
    config = {
        **DEEPSEEK_V3,
        "architectures": ["DeepseekV32ForCausalLM"],
        "model_type": "deepseek_v32",
        "index_n_heads": 64,
        "index_head_dim": 128,
        "index_topk": 2048,
    }
    made = plan(vendor=vendor, version=version, model="deepseek-v3.2", nodes=1, split=Parallelism(tensor=8), mtp=True)
    argv = without_program(launched(made, spec(model="deepseek-v3.2")).leader_command)
    (outcome,) = check(version, [Command(argv=argv, vendor=vendor)], model=config)
    assert outcome.error is None
    assert outcome.values["tool_call_parser"] == "deepseekv32"


def test_deepep_on_ascend_gets_buffers_that_are_large_enough() -> None:
    wide = plan(vendor="ascend", split=Parallelism(tensor=16, expert=16), spread=ExpertSpread(deepep=True))
    assert launched(wide).env["HCCL_BUFFSIZE"] == "1600"
    assert "HCCL_BUFFSIZE" not in launched(plan(vendor="ascend")).env

"""The engines' own parsers run here: sound commands are understood, broken ones refused in the engine's words."""

from __future__ import annotations

import pytest

from e2e.generate.flags import versions
from e2e.parsers import deepseek_infer, lmdeploy, ray, sglang, tensorrt_llm, torchrun, vllm
from e2e.parsers.child import Outcome

VLLM = ("vllm", "serve", "/weights/v3")
GROUP = ("--tensor-parallel-size", "8", "--pipeline-parallel-size", "2", "--nnodes", "2", "--node-rank", "1")


def refused(outcome: Outcome, *, because: str) -> bool:
    return outcome.error is not None and because in outcome.error


@pytest.mark.parametrize("version", versions("vllm"))
def test_vllm_reads_a_worker_of_two_nodes(version: str) -> None:
    command = (
        *VLLM,
        *GROUP,
        "--master-addr",
        "leader",
        "--master-port",
        "29501",
        "--headless",
        "--max_model_len",
        "32k",
    )
    outcome = vllm.parse(command, version)
    assert outcome.error is None
    expected = {
        "model_tag": "/weights/v3",
        "tensor_parallel_size": 8,
        "pipeline_parallel_size": 2,
        "nnodes": 2,
        "node_rank": 1,
        "master_addr": "leader",
        "headless": True,
        "max_model_len": 32_000,
    }
    assert {name: outcome.values[name] for name in expected} == expected


@pytest.mark.parametrize("version", versions("vllm"))
def test_vllm_refuses_what_it_does_not_know(version: str) -> None:
    broken = {
        ("--no-such-flag",): "unrecognized arguments",
        ("--tensor-parallel-size", "eight"): "invalid",
        ("--all2all-backend", "pigeons"): "invalid choice",
        ("--compilation-config", '{"no_such_field": 1}'): "no_such_field",
        ("--enable-auto-tool-choice",): "requires --tool-call-parser",
        ("--enable-auto-tool-choice", "--tool-call-parser", "deepseek_v9"): "invalid tool call parser",
        ("--reasoning-parser", "deepseek_r9"): "invalid reasoning parser",
        ("--headless", "--api-server-count", "2"): "with --headless",
        ("--kv-cache-dtype", "fp7"): "fp7",
        ("--gpu-memory-utilization", "1.9"): "gpu_memory_utilization",
        ("--max-model-len", "1M"): "max_model_len",
        ("--speculative-config", '{"method": "no-such"}'): "method",
    }
    outcomes = vllm.check([(*VLLM, *words) for words in broken], version)
    for outcome, because in zip(outcomes, broken.values(), strict=True):
        assert refused(outcome, because=because), outcome.error


SPREAD = {
    "a node": "--tensor-parallel-size 8",
    "stages": "--tensor-parallel-size 8 --pipeline-parallel-size 2 --nnodes 2 --node-rank 0 --master-addr leader",
    "a worker of it": "--tensor-parallel-size 8 --pipeline-parallel-size 2 --nnodes 2 --node-rank 1 --headless",
    "tensor": "--tensor-parallel-size 16 --nnodes 2 --node-rank 0 --distributed-executor-backend mp",
    "Ray": "--tensor-parallel-size 8 --pipeline-parallel-size 2 --distributed-executor-backend ray",
    "experts": "--tensor-parallel-size 1 --data-parallel-size 16 --data-parallel-size-local 8 "
    "--data-parallel-address leader --data-parallel-rpc-port 13345 --enable-expert-parallel",
    "MTP": '--tensor-parallel-size 8 --speculative-config {"method":"mtp","num_speculative_tokens":1}',
    "parsers": "--tensor-parallel-size 8 --reasoning-parser deepseek_r1 --enable-auto-tool-choice "
    "--tool-call-parser deepseek_v3 --chat-template /vllm-workspace/examples/tool.jinja",
    "context": "--tensor-parallel-size 8 --max-model-len 65536 --max-num-seqs 64 --gpu-memory-utilization 0.9",
}


@pytest.mark.parametrize("version", versions("vllm"))
@pytest.mark.parametrize("vendor", ["nvidia", "amd", "ascend"])
def test_vllm_makes_its_configuration_of_every_way_to_spread_a_model(version: str, vendor: str) -> None:
    outcomes = vllm.check([(*VLLM, *words.split()) for words in SPREAD.values()], version, vendor=vendor)
    assert {name: each.error for name, each in zip(SPREAD, outcomes, strict=True)} == dict.fromkeys(SPREAD)


@pytest.mark.parametrize("version", versions("vllm"))
def test_vllm_refuses_ranks_that_do_not_add_up(version: str) -> None:
    broken = {
        "--tensor-parallel-size 16": "larger than the number of available GPUs",
        "--tensor-parallel-size 3": "divisible by tensor parallel size",
        "--tensor-parallel-size 8 --pipeline-parallel-size 2 --nnodes 3": "nnodes",
        "--tensor-parallel-size 16 --nnodes 2 --node-rank 2": "rank",
        "--tensor-parallel-size 16 --nnodes 2 --distributed-executor-backend ray": "nnodes > 1",
        "--tensor-parallel-size 8 --enable-eplb": "enable_expert_parallel",
        "--tensor-parallel-size 8 --data-parallel-rank 1 --data-parallel-hybrid-lb": "load balancing mode",
    }
    outcomes = vllm.check([(*VLLM, *words.split()) for words in broken], version)
    for outcome, because in zip(outcomes, broken.values(), strict=True):
        assert refused(outcome, because=because), outcome.error


def test_vllm_counts_the_devices_of_the_node_it_is_told() -> None:
    command = (*VLLM, "--tensor-parallel-size", "16")
    assert vllm.parse(command, "0.33.0", devices=16).error is None
    assert refused(vllm.parse(command, "0.33.0", devices=8), because="available GPUs (8)")


def test_vllm_judges_by_the_checkpoint_it_is_told() -> None:
    dense = {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "num_hidden_layers": 28,
        "hidden_size": 3584,
        "max_position_embeddings": 131072,
    }
    command = (*VLLM, "--tensor-parallel-size", "4")
    assert vllm.parse(command, "0.33.0", model=dense).error is None
    assert refused(vllm.parse((*command, "--enable-expert-parallel"), "0.33.0", model=dense), because="expert")
    assert refused(vllm.parse((*VLLM, "--tensor-parallel-size", "8"), "0.33.0", model=dense), because="heads (28)")


def test_lmdeploy_reads_a_server_and_a_proxy() -> None:
    server = ("lmdeploy", "serve", "api_server", "/weights/v3", "--backend", "pytorch", "--tp", "16")
    proxy = ("lmdeploy", "serve", "proxy", "--server-name", "10.0.0.1", "--server-port", "8000")
    outcomes = lmdeploy.check([server, proxy], "0.18.0")
    assert [outcome.error for outcome in outcomes] == [None, None]
    assert outcomes[0].values["tp"] == 16
    assert outcomes[1].values["server_port"] == 8000


def test_lmdeploy_refuses_what_it_does_not_know() -> None:
    server = ("lmdeploy", "serve", "api_server", "/weights/v3")
    broken = {
        (*server, "--no-such-flag"): "unrecognized arguments",
        (*server, "--backend", "none"): "invalid choice",
        server[:3]: "model_path",
        ("lmdeploy", "serve", "nothing"): "invalid choice",
    }
    for outcome, because in zip(lmdeploy.check(list(broken), "0.18.0"), broken.values(), strict=True):
        assert refused(outcome, because=because), outcome.error


def test_ray_reads_its_commands() -> None:
    head = ("ray", "start", "--head", "--port=6379", "--node-ip-address=10.0.0.1", "--block")
    both = (
        "ray",
        "symmetric-run",
        "--address",
        "leader:6379",
        "--min-nodes",
        "2",
        "--num-gpus=8",
        "--",
        "vllm",
        "serve",
    )
    outcomes = ray.check([head, both])
    assert [outcome.error for outcome in outcomes] == [None, None]
    assert outcomes[0].values["head"] is True
    assert (outcomes[1].values["min_nodes"], outcomes[1].values["num_gpus"]) == (2, 8)


def test_ray_refuses_what_it_does_not_know() -> None:
    run = ("ray", "symmetric-run", "--address", "leader:6379")
    broken = {
        ("ray", "start", "--hed"): "No such option",
        ("ray", "begin"): "No such command",
        (*run, "--", "true", "--num-gpus"): None,
        (*run, "--num-gpus=8"): "separator",
        (*run, "--port", "1", "--", "true"): "Cannot use --port",
        (*run, "--no-such-option=1", "--", "true"): "No such option",
        (*run, "--"): "entrypoint",
    }
    for outcome, because in zip(ray.check(list(broken)), broken.values(), strict=True):
        assert outcome.error is None if because is None else refused(outcome, because=because), outcome.error


def test_torchrun_makes_a_launch_configuration() -> None:
    command = ("torchrun", "--nnodes", "2", "--nproc-per-node", "8", "--node-rank", "1", "--master-addr", "leader")
    outcome = torchrun.parse((*command, "generate.py", "--interactive"))
    assert outcome.error is None
    expected = {"min_nodes": 2, "max_nodes": 2, "rdzv_endpoint": "leader:29500", "rdzv_backend": "static"}
    assert {name: outcome.values[name] for name in expected} == expected
    assert outcome.values["rdzv_configs"]["rank"] == 1
    assert outcome.values["program"][-2:] == ["generate.py", "--interactive"]


def test_torchrun_refuses_what_it_does_not_know() -> None:
    broken = {
        ("torchrun", "--no-such-flag", "generate.py"): "unrecognized arguments",
        ("torchrun", "--nnodes", "2"): "training_script",
        ("torchrun", "--nproc-per-node", "many", "generate.py"): "nproc_per_node",
    }
    for outcome, because in zip(torchrun.check(list(broken)), broken.values(), strict=True):
        assert refused(outcome, because=because), outcome.error


def test_tensorrt_llm_is_read_by_the_catalogues_list() -> None:
    server = ("trtllm-serve", "/weights/v3", "--tp_size", "16", "--host", "10.0.0.1", "--trust_remote_code")
    outcome = tensorrt_llm.parse(server, "1.2.1")
    assert outcome.error is None
    assert outcome.values["tensor_parallel_size"] == 16
    broken = {
        (*server, "--tp", "8"): "No such option",
        (*server, "--max_batch_size", "many"): "not a valid integer",
        (*server, "--backend", "none"): "is not one of",
        server[:1]: "Missing argument",
    }
    for command, because in broken.items():
        assert refused(tensorrt_llm.parse(command, "1.2.1"), because=because), command


def test_deepseek_infer_is_read_by_the_catalogues_list() -> None:
    program = ("generate.py", "--ckpt-path", "/weights/mp16", "--config", "configs/config_671B.json")
    outcome = deepseek_infer.parse((*program, "--input-file", "/in/prompts.txt"))
    assert outcome.error is None
    assert outcome.values["input_file"] == "/in/prompts.txt"
    broken = {
        (*program, "--no-such-flag"): "unrecognized arguments",
        (*program, "--max-new-tokens", "many"): "invalid int value",
        program: "input-file or interactive",
        program[:3]: "--config",
    }
    for command, because in broken.items():
        assert refused(deepseek_infer.parse(command), because=because), command


def test_sglang_is_asked_in_the_same_way() -> None:
    server = (
        "python3",
        "-m",
        "sglang.launch_server",
        "--model-path",
        "/weights/v3",
        "--tp-size",
        "8",
        "--device",
        "cuda",
    )
    assert sglang.parse(server, "0.5.23").error is None
    assert refused(sglang.parse((*server, "--no-such-flag"), "0.5.23"), because="unrecognized arguments")


def test_a_command_of_another_program_is_not_judged() -> None:
    with pytest.raises(ValueError, match="starts with vllm serve"):
        vllm.parse(("python3", "-m", "vllm"), "0.33.0")

"""TensorRT-LLM's command lines and configuration, judged by its options as click reads them, and what it cannot do."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from deepseek_operator.api.config import OperatorConfig
from deepseek_operator.catalog.load import load
from deepseek_operator.engines.flags import release_flags
from deepseek_operator.engines.select import check_args, read_metrics
from deepseek_operator.engines.tensorrt_llm import configuration
from deepseek_operator.plan.types import Parallelism
from deepseek_operator.render.apply_order import all_objects
from e2e.parsers import tensorrt_llm
from tests.unit.engines.plans import launched, plan, spec
from tests.unit.launch.ranks import Group
from tests.unit.launch.test_script import HOSTILE
from tests.unit.render.samples import OWNER

RELEASE = next(each for each in load().releases if each.engine == "tensorrt-llm")
OPEN: dict[str, Any] = {"access": {"keys": {"mode": "none"}}}
SPREAD = Parallelism(tensor=16, attention_data=16, expert=16)

Wanted = tuple[dict[str, Any], dict[str, Any]]
CASES: Mapping[str, Wanted] = {
    "one node": ({"nodes": 1}, {}),
    "tensor over two nodes": ({}, {}),
    "pipeline over two nodes": ({"split": Parallelism(tensor=8, pipeline=2), "carrier": "tcp"}, {}),
    "attention data": ({"split": SPREAD}, {}),
    "multi-token prediction": ({"mtp": True}, {}),
    "requests limited": ({"memory": {"max_running_requests": 24}}, {}),
    "remote code": ({}, {"trustRemoteCode": True}),
    "user's arguments": ({}, {"engine": {"args": ["--free_gpu_memory_fraction", "0.8"]}}),
    **{f"parsers of {model}": ({"model": model}, {"model": model}) for model in load().models},
}
"""What is planned and what is asked for, by name."""


def made(**planned: Any) -> Any:
    return plan(release=RELEASE, **planned)


def served(command: tuple[str, ...]) -> tuple[str, ...]:
    return command[command.index("trtllm-serve") :]


@pytest.mark.parametrize("case", CASES)
def test_every_command_passes_the_release(case: str) -> None:
    planned, wanted = CASES[case]
    command = served(launched(made(**planned), spec(**OPEN, **wanted)).leader_command)
    assert tensorrt_llm.parse(command, RELEASE.version).error is None
    canonical = {flag.name for flag in release_flags("tensorrt-llm", RELEASE.version).by_spelling.values()}
    assert {word for word in command if word.startswith("--")} <= canonical


def test_tensorrt_llm_reads_the_plan_out_of_the_command() -> None:
    planned = made(split=Parallelism(tensor=8, pipeline=2, expert=4), memory={"max_running_requests": 100})
    values = tensorrt_llm.parse(served(launched(planned, spec(**OPEN)).leader_command), RELEASE.version).values
    expected = {
        "model": "/weights/v3",
        "host": "0.0.0.0",  # noqa: S104 - the pod's own address
        "port": 8000,
        "backend": "pytorch",
        "tensor_parallel_size": 8,
        "pipeline_parallel_size": 2,
        "moe_expert_parallel_size": 4,
        "gpus_per_node": 8,
        "max_seq_len": 65_536,
        "max_batch_size": 100,
        "config": "/run/deepseek/llm.yaml",
    }
    assert {name: values[name] for name in expected} == expected
    broken = (*served(launched(planned, spec(**OPEN)).leader_command), "--max_batch_size", "many")
    assert "not a valid integer" in str(tensorrt_llm.parse(broken, RELEASE.version).error)


def test_over_nodes_the_leader_starts_every_rank_by_mpirun() -> None:
    started = launched(made(), spec(**OPEN))
    domain = "deepseek-g0.demo.svc.cluster.local"
    assert " ".join(started.leader_command).startswith(
        "mpirun --allow-run-as-root -n 16 --bind-to none --mca pml ob1 --mca plm_rsh_agent ssh "
        f"--mca plm_rsh_no_tree_spawn 1 -H deepseek-g0-0.{domain}:8,deepseek-g0-1.{domain}:8 "
        "trtllm-llmapi-launch trtllm-serve /weights/v3 "
    )
    assert started.ports == {"http": 8000, "ssh": 2222, "barrier": 20100}
    assert started.env["OMPI_MCA_orte_keep_fqdn_hostnames"] == "1"
    alone = launched(made(nodes=1), spec(**OPEN))
    assert (alone.leader_command[0], alone.worker_command, alone.ssh) == ("trtllm-serve", (), False)


@pytest.mark.parametrize(
    ("architecture", "layout", "backend"),
    [
        ("sm90", "fp8-block128", "CUTLASS"),
        ("sm90", "w4afp8", "CUTLASS"),
        ("sm100", "fp8-block128", "DEEPGEMM"),
        ("sm100", "nvfp4", "CUTLASS"),
        ("sm103", "bf16", "CUTLASS"),
    ],
)
def test_the_experts_kernels_follow_the_architecture(architecture: str, layout: str, backend: str) -> None:
    planned = made()
    planned = dataclasses.replace(
        planned,
        hardware=dataclasses.replace(planned.hardware, architecture=architecture),
        weights=dataclasses.replace(planned.weights, layout=layout),
    )
    assert configuration(planned, load())["moe_config"] == {"backend": backend}


def test_features_are_in_the_configuration() -> None:
    found = configuration(made(split=SPREAD, mtp=True, kv_cache_precision="fp8"), load())
    assert found["enable_attention_dp"] is True
    assert found["speculative_config"] == {"decoding_type": "MTP", "num_nextn_predict_layers": 1}
    assert found["kv_cache_config"] == {"dtype": "fp8"}
    plain = configuration(made(), load())
    assert (plain["enable_attention_dp"], plain["return_perf_metrics"]) == (False, True)
    assert not {"speculative_config", "kv_cache_config"} & plain.keys()


@pytest.mark.parametrize(
    ("planned", "wanted", "field", "says"),
    [
        ({}, {}, "spec.access.keys.mode", "trtllm-serve has no API keys"),
        (
            {"split": Parallelism(tensor=16, attention_data=4)},
            OPEN,
            "spec.parallelism.attentionData",
            "use attentionData 1 or 16",
        ),
        ({}, {**OPEN, "engine": {"features": {"torchCompile": True}}}, "spec.engine.features.torchCompile", "leave"),
    ],
)
def test_what_it_cannot_do_is_refused_with_a_remedy(
    planned: dict[str, Any], wanted: dict[str, Any], field: str, says: str
) -> None:
    (problem,) = check_args(spec(**wanted), made(**planned))
    assert problem.field == field
    assert says in problem.message
    assert check_args(spec(**OPEN), made()) == ()


def test_pods_over_nodes_have_the_key_pair_and_what_sshd_needs_and_no_other_engines_have() -> None:
    for planned, present in ((made(), True), (made(nodes=1), False), (plan(), False)):
        wanted = spec(**OPEN)
        objects = all_objects(OWNER, wanted, planned, launched(planned, wanted), config=OperatorConfig())
        secrets = [each["metadata"]["name"] for each in objects if each["kind"] == "Secret"]
        (pod,) = [each["spec"]["template"]["spec"] for each in objects if each["kind"] == "StatefulSet"]
        (container,) = pod["containers"]
        volumes = [each["secret"] for each in pod["volumes"] if "secret" in each]
        assert secrets == (["deepseek-fp8-ssh"] if present else [])
        assert volumes == ([{"secretName": "deepseek-fp8-ssh", "defaultMode": 0o400}] if present else [])
        added = container["securityContext"]["capabilities"].get("add", [])
        assert {"SETGID", "SETUID", "SYS_CHROOT"} <= set(added) if present else "SETUID" not in added


@pytest.mark.parametrize("hostile", HOSTILE)
def test_no_value_is_read_as_shell(hostile: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    planned = made(nodes=1)
    planned = dataclasses.replace(planned, weights=dataclasses.replace(planned.weights, path=f"/weights/{hostile}"))
    started = launched(planned, spec(**OPEN, engine={"args": [f"--x={hostile}", f"y{hostile}"]}))
    with Group(started, tmp_path, size=1, address="127.0.0.1").rank(0) as rank:
        argv = rank.engine()["argv"]
    assert argv[0] == f"/weights/{hostile}"
    assert argv[-2:] == [f"--x={hostile}", f"y{hostile}"]
    written = json.loads(Path(argv[argv.index("--config") + 1]).read_text())
    assert written == configuration(planned, load())
    assert not (tmp_path / "injected").exists()


def test_an_image_without_ssh_is_told_before_the_ranks_meet(tmp_path: Path) -> None:
    started = launched(made(interface="lo"), spec(**OPEN))
    script = started.script.replace("needs sshd\n", "needs sshd-of-no-image\n")
    group = Group(dataclasses.replace(started, script=script), tmp_path)
    with group.rank(1) as worker:
        worker.says("the image has no sshd-of-no-image; ranks on several nodes need it: set spec.engine.image")
        assert worker.exit_code() == 1


def test_a_workers_ranks_are_counted_by_their_program() -> None:
    *_, pattern, count = launched(made(), spec(**OPEN)).readiness_probe
    assert re.search(pattern, "python3 -m tensorrt_llm.llmapi.mgmn_worker_node")
    assert not re.search(pattern, "/bin/bash -c … python3 -m tensorrt_llm.llmapi.mgmn_worker_node")
    assert count == "8"


def test_its_metrics_have_no_number_of_tokens() -> None:
    assert read_metrics("tensorrt-llm", "[]") is None

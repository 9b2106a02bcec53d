"""LMDeploy's command lines, judged by LMDeploy's and Ray's own parsers, and what it cannot do."""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import pytest

from deepseek_operator.catalog.load import load
from deepseek_operator.engines.flags import release_flags
from deepseek_operator.engines.launch import lmdeploy_proxy
from deepseek_operator.engines.lmdeploy import PROXY, ray_head
from deepseek_operator.engines.select import check_args, read_metrics
from deepseek_operator.plan.types import Parallelism
from e2e.parsers import lmdeploy, ray
from e2e.parsers.sources import LMDEPLOY, sources
from tests.unit.engines.plans import launched, plan, spec

RELEASE = next(each for each in load().releases if each.engine == "lmdeploy")
LEADER = "deepseek-g0-0.deepseek-g0.demo.svc.cluster.local"
SPREAD = Parallelism(tensor=16, attention_data=16, expert=16)

Wanted = tuple[dict[str, Any], dict[str, Any]]
CASES: Mapping[str, Wanted] = {
    "one node": ({"nodes": 1}, {}),
    "one device": ({"nodes": 1, "split": Parallelism(tensor=1), "accelerators_per_node": 1}, {}),
    "tensor over two nodes": ({}, {}),
    "bf16 over four nodes": ({"nodes": 4, "precision": "bf16"}, {}),
    "a server a device, on one node": ({"nodes": 1, "split": Parallelism(tensor=8, attention_data=8, expert=8)}, {}),
    "a server a device, on two nodes": ({"split": SPREAD}, {}),
    "multi-token prediction": ({"mtp": True}, {}),
    "requests limited": ({"memory": {"max_running_requests": 24}}, {}),
    "without keys": ({}, {"access": {"keys": {"mode": "none"}}}),
    "remote code and a name like a flag": ({"served_name": "--x"}, {"trustRemoteCode": True}),
    "user's arguments": ({}, {"engine": {"args": ["--cache-max-entry-count", "0.7", "--enable-prefix-caching"]}}),
    **{f"parsers of {model}": ({"model": model}, {"model": model}) for model in load().models},
}
"""What is planned and what is asked for, by name."""


def made(**planned: Any) -> Any:
    return plan(release=RELEASE, **planned)


def test_every_command_passes_the_parser_of_its_own_program() -> None:
    servers: dict[str, tuple[str, ...]] = {"proxy": (*PROXY, "--api-keys=-k")}
    clusters: dict[str, tuple[str, ...]] = {"head": (*ray_head(made()), "--node-ip-address", "192.0.2.1")}
    for name, (planned, wanted) in CASES.items():
        started = launched(made(**planned), spec(**wanted))
        servers[f"{name}, leader"] = started.leader_command
        if started.worker_command:
            kind = clusters if started.worker_command[0] == "ray" else servers
            kind[f"{name}, worker"] = started.worker_command
    outcomes = [*lmdeploy.check(list(servers.values()), RELEASE.version), *ray.check(list(clusters.values()))]
    names = [*servers, *clusters]
    assert {name: each.error for name, each in zip(names, outcomes, strict=True) if each.error is not None} == {}
    assert len(clusters) > 1
    canonical = {flag.name for flag in release_flags("lmdeploy", RELEASE.version).by_spelling.values()}
    for name, command in servers.items():
        if name != "proxy":
            assert {word.partition("=")[0] for word in command[3:] if word.startswith("--")} <= canonical, name


def test_lmdeploy_reads_the_plan_out_of_the_command() -> None:
    started = launched(
        made(precision="bf16", mtp=True, memory={"max_running_requests": 100}), spec(trustRemoteCode=True)
    )
    values = lmdeploy.parse(started.leader_command, RELEASE.version).values
    expected = {
        "model_path": "/weights/v3",
        "model_name": "DeepSeek-V3",
        "backend": "pytorch",
        "server_name": "0.0.0.0",  # noqa: S104 - the pod's own address
        "server_port": 8000,
        "tp": 16,
        "dp": 1,
        "ep": 1,
        "distributed_executor_backend": "ray",
        "dtype": "bfloat16",
        "session_len": 65_536,
        "max_batch_size": 100,
        "speculative_algorithm": "deepseek_mtp",
        "speculative_num_draft_tokens": 1,
        "trust_remote_code": True,
        "disable_metrics": False,
        "api_keys": ["$API_KEY"],
        "quant_policy": 0,
        "proxy_url": None,
    }
    assert {name: values[name] for name in expected} == expected


def test_a_server_a_device_shares_the_limit_and_leaves_the_key_to_the_proxy() -> None:
    values = lmdeploy.parse(
        launched(made(split=SPREAD, memory={"max_running_requests": 100})).worker_command, RELEASE.version
    ).values
    expected = {
        "dp": 16,
        "ep": 16,
        "tp": 1,
        "nnodes": 2,
        "node_rank": 1,
        "server_port": 23333,
        "proxy_url": f"http://{LEADER}:8000",
        "max_batch_size": 7,
        # The proxy asks the servers for their models without any key (proxy.py add).
        "api_keys": None,
    }
    assert {name: values[name] for name in expected} == expected


def test_other_ranks_join_the_leaders_ray_cluster_on_fixed_ports() -> None:
    head, worker = ray.check([ray_head(made()), launched(made()).worker_command])
    shared = {"num_gpus": 8, "node_manager_port": 6380, "object_manager_port": 6381, "disable_usage_stats": True}
    for outcome in (head, worker):
        assert {name: outcome.values[name] for name in shared} == shared
        assert outcome.values["object_store_memory"] == 16 * 2**30
    assert (head.values["head"], head.values["port"], head.values["include_dashboard"]) == (True, 6379, False)
    assert (worker.values["address"], worker.values["block"]) == (f"{LEADER}:6379", True)
    ports = launched(made()).ports
    assert (ports["ray-gcs"], ports["ray-nodes"], ports["ray-objects"]) == (6379, 6380, 6381)


def test_a_group_of_one_node_needs_no_cluster() -> None:
    started = launched(made(nodes=1))
    assert started.worker_command == ()
    assert started.ports == {"http": 8000}
    assert "ray start" not in started.script
    alone = launched(made(nodes=1, split=Parallelism(tensor=1), accelerators_per_node=1)).leader_command
    assert alone[alone.index("--distributed-executor-backend") + 1] == "uni"


@pytest.mark.parametrize(
    ("command", "because"),
    [
        (("--dp", "sixteen"), "invalid int value"),
        (("--distributed-executor-backend", "mpi"), "invalid choice"),
        (("--no-such-flag",), "unrecognized arguments"),
        (("--dtype", "fp8"), "invalid choice"),
    ],
)
def test_a_broken_command_is_refused_by_lmdeploy(command: tuple[str, ...], because: str) -> None:
    outcome = lmdeploy.parse((*launched(made()).leader_command, *command), RELEASE.version)
    assert outcome.error is not None
    assert because in outcome.error


@pytest.mark.parametrize(
    ("split", "field"),
    [
        (Parallelism(tensor=16, attention_data=4, expert=16), "spec.parallelism.attentionData"),
        (Parallelism(tensor=16, attention_data=16, expert=1), "spec.parallelism.expert"),
        (Parallelism(tensor=16, expert=16), "spec.parallelism.attentionData"),
    ],
)
def test_data_and_expert_parallelism_are_one_thing(split: Parallelism, field: str) -> None:
    problems = check_args(spec(), made(split=split))
    assert [each.field for each in problems] == [field]
    assert "both 16" in problems[0].message
    assert check_args(spec(), made(split=SPREAD)) == ()


def test_torch_compile_is_no_choice() -> None:
    problems = check_args(spec(engine={"features": {"torchCompile": True}}), made())
    assert [each.field for each in problems] == ["spec.engine.features.torchCompile"]


@pytest.mark.parametrize(
    ("model", "reasoning", "tools"),
    [
        ("deepseek-v3-0324", None, None),
        ("deepseek-r1-0528", "default", None),
        ("deepseek-r1-distill-qwen-7b", "default", None),
        ("deepseek-v3.1", "deepseek-v3", None),
        ("deepseek-v3.2-exp", "deepseek-v32", None),
        ("deepseek-v3.2", "deepseek-v32", "deepseek-v32"),
    ],
)
def test_parsers_follow_the_model_by_names_that_lmdeploy_registers(
    model: str, reasoning: str | None, tools: str | None
) -> None:
    values = lmdeploy.parse(launched(made(model=model)).leader_command, RELEASE.version).values
    assert (values["reasoning_parser"], values["tool_call_parser"]) == (reasoning, tools)
    parsers = sources(LMDEPLOY, RELEASE.version) / "lmdeploy" / "serve" / "parsers"
    for name, kind in ((reasoning, "reasoning_parser"), (tools, "tool_parser")):
        text = "".join(each.read_text() for each in sorted((parsers / kind).glob("*.py")))
        assert name is None or re.search(rf"register_module\([^)]*'{name}'", text)


def test_every_route_of_the_proxy_is_for_clients_or_closed_to_them() -> None:
    text = (sources(LMDEPLOY, RELEASE.version) / "lmdeploy/serve/proxy/proxy.py").read_text()
    routes = [
        decorator.args[0].value
        for function in ast.walk(ast.parse(text))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for decorator in function.decorator_list
        if isinstance(decorator, ast.Call)
        and ast.unparse(decorator.func).startswith("app.")
        and isinstance(decorator.args[0], ast.Constant)
    ]
    assert len(routes) > 5
    open_to_clients = {route for route in routes if not str(route).startswith(lmdeploy_proxy.CLOSED)}
    assert open_to_clients == {"/v1/models", "/v1/chat/completions", "/v1/completions"}
    # What the guard reaches into.
    assert re.search(r"^app = FastAPI\(", text, re.MULTILINE)
    assert re.search(r"^node_manager = NodeManager\(", text, re.MULTILINE)
    assert "self.nodes = dict()" in text
    # The keys do not: were they to guard these routes, the guard could go.
    middleware = (sources(LMDEPLOY, RELEASE.version) / "lmdeploy/serve/utils/server_utils.py").read_text()
    assert "'/nodes'," in middleware


def test_its_metrics_have_no_number_of_tokens() -> None:
    assert read_metrics("lmdeploy", "lmdeploy:gpu_cache_usage_perc 0.5\n") is None


def test_a_quantised_cache_is_refused_with_the_reason() -> None:
    problems = check_args(spec(engine={"args": ["--quant-policy", "8"]}), made())
    assert "keeps the cache of latent attention in BF16" in problems[0].message
    assert dataclasses.replace(problems[0], message="").reason == "OwnedArgument"

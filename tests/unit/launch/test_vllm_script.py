"""vLLM's part of the launch script: what each rank executes, its environment, and how it ends."""

from __future__ import annotations

import dataclasses
import os
import signal
from pathlib import Path

import pytest

from deepseek_operator.catalog.load import load
from deepseek_operator.engines.types import Launch
from deepseek_operator.plan.types import Parallelism
from tests.unit.engines.plans import launched, plan, spec
from tests.unit.launch.ranks import FAKE_ENGINE, Group
from tests.unit.launch.test_script import HOSTILE

RELEASE = next(each for each in load().releases if (each.engine, each.vendor) == ("vllm", "nvidia"))
LEADER = "deepseek-g0-0.deepseek-g0.demo.svc.cluster.local"
ENDS_BY_ITSELF = "import sys; print('engine runs', file=sys.stderr, flush=True); sys.exit(0)"
DEAF_AT_FIRST = """
import os, signal, sys, time
print("engine runs", file=sys.stderr, flush=True)
time.sleep(60)
"""
"""As vLLM while it imports: it has no handler for SIGTERM yet."""


def alone(made: Launch, directory: Path) -> Group:
    return Group(made, directory, size=1, address="127.0.0.1")


def as_run(command: tuple[str, ...], group: Group) -> list[str]:
    """A command as it is shown, with what a running pod has in its place."""
    return [word.replace(LEADER, group.address) for word in command[1:]]


@pytest.mark.parametrize("attention_data", [1, 16])
def test_every_rank_executes_the_command_that_is_shown(attention_data: int, tmp_path: Path) -> None:
    split = Parallelism(tensor=16, attention_data=attention_data)
    args = ["--api-server-count", "2", "--seed", "7"]
    made = launched(
        plan(release=RELEASE, interface="lo", model="deepseek-r1", split=split), spec(engine={"args": args})
    )
    group = Group(made, tmp_path)
    with group.rank(0) as leader, group.rank(1) as worker:
        assert leader.engine()["argv"] == as_run(made.leader_command, group)
        assert worker.engine()["argv"] == as_run(made.worker_command, group)


def test_ranks_know_their_address_and_only_the_leader_has_the_key(tmp_path: Path) -> None:
    group = Group(launched(plan(release=RELEASE, interface="lo")), tmp_path)
    with group.rank(0) as leader, group.rank(1) as worker:
        first, second = leader.engine()["env"], worker.engine()["env"]
    assert first["VLLM_HOST_IP"] == second["VLLM_HOST_IP"] == group.address
    assert first["VLLM_API_KEY"] == "sk key"
    assert "VLLM_API_KEY" not in second
    # Kubernetes' own variable of a Service called vllm; vLLM takes it for a number.
    assert "VLLM_PORT" not in first


def test_the_leaders_address_is_looked_up_because_message_queues_bind_to_it(tmp_path: Path) -> None:
    group = Group(launched(plan(release=RELEASE, interface="lo")), tmp_path, address="127.0.0.1")
    with group.rank(0) as leader, group.rank(1, LEADER_ADDRESS="localhost") as worker:
        for rank in (leader, worker):
            argv = rank.engine()["argv"]
            assert argv[argv.index("--master-addr") + 1] == "127.0.0.1"


RAY = {"name": "vllm", "backend": "ray", "image": "registry.example/vllm-with-ray:1"}


def test_with_ray_every_rank_joins_one_cluster_and_the_head_starts_vllm(tmp_path: Path) -> None:
    args = ["--api-server-count", "2", "--seed", "7"]
    made = launched(plan(release=RELEASE, interface="lo", model="deepseek-r1"), spec(engine={**RAY, "args": args}))
    group = Group(made, tmp_path)
    group.program("ray", FAKE_ENGINE)
    with group.rank(0) as leader, group.rank(1) as worker:
        first, second = leader.engine(), worker.engine()
    assert first["argv"] == as_run(made.leader_command, group)
    assert second["argv"] == as_run(made.worker_command, group)
    # Before Ray starts: its processes hand their environment on.
    assert first["env"]["VLLM_HOST_IP"] == group.address
    assert first["env"]["NCCL_SOCKET_IFNAME"] == "=lo"


def test_an_image_without_ray_says_so(tmp_path: Path) -> None:
    made = launched(plan(release=RELEASE, nodes=1), spec(engine=RAY))
    with alone(made, tmp_path).rank(0, PATH="/usr/bin:/bin") as rank:
        assert rank.exit_code() == 1
        rank.says("the image has no ray")


@pytest.mark.parametrize("hostile", HOSTILE)
def test_no_value_is_read_as_shell(hostile: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = plan(release=RELEASE, nodes=1, served_name=f"name{hostile}", model="deepseek-r1")
    made = dataclasses.replace(made, weights=dataclasses.replace(made.weights, path=f"/weights/{hostile}"))
    started = launched(made, spec(engine={"args": [f"--x={hostile}", f"y{hostile}", f"--api-server-count={hostile}"]}))
    with alone(started, tmp_path).rank(0) as rank:
        argv = rank.engine()["argv"]
    assert argv[argv.index("--served-model-name") + 1] == f"name{hostile}"
    assert argv[:2] == ["serve", f"/weights/{hostile}"]
    assert argv[-3:] == [f"--x={hostile}", f"y{hostile}", f"--api-server-count={hostile}"]
    assert not (tmp_path / "injected").exists()


def test_vllm_ends_at_once_though_it_has_no_handler_yet(tmp_path: Path) -> None:
    group = alone(launched(plan(release=RELEASE, nodes=1)), tmp_path)
    group.program("vllm", DEAF_AT_FIRST)
    with group.rank(0) as rank:
        rank.says("engine runs")
        assert rank.stop() == 143
        # Nothing of it stays behind: its own processes were one session.
        with pytest.raises(ProcessLookupError):
            os.killpg(rank.process.pid, signal.SIGKILL)


def test_a_rank_whose_engine_ends_by_itself_has_failed_whatever_vllm_says(tmp_path: Path) -> None:
    group = alone(launched(plan(release=RELEASE, nodes=1)), tmp_path)
    group.program("vllm", ENDS_BY_ITSELF)
    with group.rank(0) as rank:
        assert rank.exit_code() == 1
        rank.says("vLLM ended by itself, with exit code 0")


def test_the_exit_code_of_a_failed_engine_is_kept(tmp_path: Path) -> None:
    group = alone(launched(plan(release=RELEASE, nodes=1)), tmp_path)
    group.program("vllm", "raise SystemExit(9)")
    with group.rank(0) as rank:
        assert rank.exit_code() == 9


def test_an_engine_that_should_have_a_key_does_not_start_without(tmp_path: Path) -> None:
    with alone(launched(plan(release=RELEASE, nodes=1)), tmp_path).rank(0, API_KEY="") as rank:
        assert rank.exit_code() != 0
        rank.says("the Secret with the keys has no api-key")
        assert not rank.started_engine()


def test_an_open_api_has_no_key(tmp_path: Path) -> None:
    made = launched(plan(release=RELEASE, nodes=1), spec(access={"keys": {"mode": "none"}}))
    with alone(made, tmp_path).rank(0) as rank:
        assert "VLLM_API_KEY" not in rank.engine()["env"]

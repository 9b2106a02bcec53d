"""LMDeploy's part of the launch script: the Ray cluster of a group, the proxy beside the servers, and how both end."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from deepseek_operator.catalog.load import load
from deepseek_operator.engines.launch.lmdeploy_proxy import Guard, members
from deepseek_operator.engines.lmdeploy import PROXY, ray_head
from deepseek_operator.engines.types import Launch
from deepseek_operator.plan.types import Parallelism
from tests.unit.engines.plans import launched, plan, spec
from tests.unit.launch.ranks import FAKE_ENGINE, Group
from tests.unit.launch.test_script import HOSTILE

RELEASE = next(each for each in load().releases if each.engine == "lmdeploy")
LEADER = "deepseek-g0-0.deepseek-g0.demo.svc.cluster.local"
SPREAD = Parallelism(tensor=16, attention_data=16, expert=16)
FAKE_RAY = """
import json, os, sys
cluster = os.environ["CLUSTER"]
if sys.argv[1] == "health-check":
    sys.exit(0 if os.path.exists(cluster) else 1)
if "--head" in sys.argv:
    with open(cluster, "w") as file:
        json.dump(sys.argv[1:], file)
    sys.exit(0)
"""
"""A head that returns at once, as Ray's does; whatever joins it stays, as with --block."""
FAKE_PROXY = """
import types
class Application:
    def add_middleware(self, kind, **options):
        self.added = (kind.__name__, options["ranks"], options["nodes"]())
app = Application()
node_manager = types.SimpleNamespace(nodes={})
"""
FAKE_ENTRYPOINT = """
import json, os, signal, sys
from lmdeploy.serve.proxy.proxy import app
def run():
    with open(os.environ["PROXY_RECORD"], "w") as file:
        json.dump({"argv": sys.argv, "added": app.added}, file)
    print("proxy runs", file=sys.stderr, flush=True)
    if os.environ.get("PROXY_FAILS"):
        sys.exit(5)
    signal.pause()
"""


def grouped(made: Launch, directory: Path, *, size: int = 2) -> Group:
    group = Group(made, directory, size=size, address="127.0.0.1" if size == 1 else None)
    group.program("ray", FAKE_RAY + FAKE_ENGINE)
    package = directory / "fake" / "lmdeploy"
    for inner in ("", "serve", "serve/proxy", "cli"):
        (package / inner).mkdir(parents=True, exist_ok=True)
        (package / inner / "__init__.py").touch()
    (package / "serve/proxy/proxy.py").write_text(FAKE_PROXY)
    (package / "cli/entrypoint.py").write_text(FAKE_ENTRYPOINT)
    return group


def as_run(command: tuple[str, ...], group: Group) -> list[str]:
    """A command as it is shown, with what a running pod has in its place."""
    shown = {LEADER: group.address, "$POD_IP": group.address, "$API_KEY": "sk key"}
    words = list(command[1:])
    for name, value in shown.items():
        words = [word.replace(name, value) for word in words]
    return words


def test_the_ranks_make_a_ray_cluster_and_the_leader_serves_on_it(tmp_path: Path) -> None:
    made = plan(release=RELEASE, interface="lo")
    started = launched(made, spec(engine={"args": ["--cache-max-entry-count", "0.7"]}))
    group, cluster = grouped(started, tmp_path), tmp_path / "cluster"
    with group.rank(0, CLUSTER=str(cluster)) as leader, group.rank(1, CLUSTER=str(cluster)) as worker:
        served, joined = leader.engine(), worker.engine()
    assert served["argv"] == as_run(started.leader_command, group)
    assert joined["argv"] == as_run(started.worker_command, group)
    assert json.loads(cluster.read_text()) == [*ray_head(made)[1:], "--node-ip-address", group.address]
    assert served["env"]["RAY_ADDRESS"] == f"{group.address}:6379"
    assert served["env"]["LMDEPLOY_DIST_MASTER_ADDR"] == group.address
    assert served["env"]["RAY_USAGE_STATS_ENABLED"] == "0"


def test_a_rank_waits_for_the_cluster_and_can_be_stopped_meanwhile(tmp_path: Path) -> None:
    group, cluster = grouped(launched(plan(release=RELEASE, interface="lo")), tmp_path), tmp_path / "cluster"
    with group.rank(0, CLUSTER=str(tmp_path / "elsewhere")) as leader, group.rank(1, CLUSTER=str(cluster)) as worker:
        leader.engine()
        assert not worker.started_engine()
        assert worker.stop() == 143
    with pytest.raises(ProcessLookupError):
        os.killpg(worker.process.pid, signal.SIGKILL)


def test_every_rank_has_its_servers_and_the_leader_the_proxy_with_the_key(tmp_path: Path) -> None:
    started = launched(plan(release=RELEASE, interface="lo", split=SPREAD))
    group, record = grouped(started, tmp_path), tmp_path / "proxy"
    with group.rank(0, PROXY_RECORD=str(record)) as leader, group.rank(1) as worker:
        servers = [leader.engine(), worker.engine()]
        leader.says("proxy runs")
        assert leader.stop() == 143
        assert worker.stop() == 143
    for command, server in zip((started.leader_command, started.worker_command), servers, strict=True):
        assert sorted(server["argv"]) == sorted(as_run(command, group))
        assert server["env"]["LMDEPLOY_DP_MASTER_ADDR"] == group.address
        assert server["env"]["LMDEPLOY_DP_MASTER_PORT"] == "29555"
    proxy = json.loads(record.read_text())
    assert proxy == {"argv": [*PROXY, "--api-keys=sk key"], "added": ["Guard", 16, 0]}
    for rank in (leader, worker):
        with pytest.raises(ProcessLookupError):
            os.killpg(rank.process.pid, signal.SIGKILL)


def test_a_leader_without_its_proxy_ends(tmp_path: Path) -> None:
    alone = Parallelism(tensor=8, attention_data=8, expert=8)
    group = grouped(launched(plan(release=RELEASE, nodes=1, split=alone, interface="lo")), tmp_path, size=1)
    with group.rank(0, PROXY_RECORD=str(tmp_path / "proxy"), PROXY_FAILS="yes") as leader:
        assert leader.exit_code() == 5


def test_a_server_that_ends_by_itself_has_failed(tmp_path: Path) -> None:
    group = grouped(launched(plan(release=RELEASE, nodes=1, interface="lo")), tmp_path, size=1)
    group.program("lmdeploy", "raise SystemExit(0)")
    with group.rank(0) as rank:
        assert rank.exit_code() == 1
        rank.says("LMDeploy ended by itself, with exit code 0")


@pytest.mark.parametrize("hostile", HOSTILE)
def test_no_value_is_read_as_shell(hostile: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = plan(release=RELEASE, nodes=1, served_name=f"name{hostile}", model="deepseek-r1")
    made = dataclasses.replace(made, weights=dataclasses.replace(made.weights, path=f"/weights/{hostile}"))
    started = launched(made, spec(engine={"args": [f"--x={hostile}", f"y{hostile}"]}))
    with grouped(started, tmp_path, size=1).rank(0, API_KEY=f"-key{hostile}") as rank:
        argv = rank.engine()["argv"]
    assert argv[argv.index("--model-name") + 1] == f"name{hostile}"
    assert argv[:3] == ["serve", "api_server", f"/weights/{hostile}"]
    assert argv[-3:] == [f"--api-keys=-key{hostile}", f"--x={hostile}", f"y{hostile}"]
    assert not (tmp_path / "injected").exists()


def test_an_engine_that_should_have_a_key_does_not_start_without(tmp_path: Path) -> None:
    with grouped(launched(plan(release=RELEASE, nodes=1)), tmp_path, size=1).rank(0, API_KEY="") as rank:
        assert rank.exit_code() != 0
        rank.says("the Secret with the keys has no api-key")
        assert not rank.started_engine()


def asked(path: str, client: str, *, registered: int = 16) -> int:
    """The guard's status for a request; 299 is the proxy's own."""
    statuses: list[int] = []

    async def proxied(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 299})

    async def nothing() -> dict[str, Any]:
        return {}

    async def noted(message: Any) -> None:
        statuses.extend([message["status"]] if "status" in message else [])

    guard = Guard(proxied, nodes=lambda: registered, ranks=16)
    asyncio.run(guard({"type": "http", "path": path, "client": (client, 40_000)}, nothing, noted))
    (status,) = statuses
    return status


def test_clients_reach_the_models_and_never_the_proxys_control_routes(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {"LEADER_ADDRESS": "192.0.2.7", "GROUP_SIZE": "2", "POD_IP": "192.0.2.7"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for control in ("/nodes/add", "/nodes/terminate_all", "/nodes/status", "/distserve/gc"):
        assert asked(control, "198.51.100.9") == 403
        assert asked(control, "not an address") == 403
        assert asked(control, "192.0.2.7") == 299
        assert asked(control, "127.0.0.1") == 299
    assert asked("/v1/chat/completions", "198.51.100.9") == 299


def test_the_leader_is_healthy_while_every_server_is_registered() -> None:
    assert asked("/health", "127.0.0.1") == 200
    assert asked("/health", "127.0.0.1", registered=15) == 503


def test_the_groups_pods_are_those_of_the_headless_service(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {f"deepseek-g0-{rank}.deepseek-g0.demo.svc.cluster.local": f"192.0.2.{rank}" for rank in range(2)}

    def resolved(name: str, *_: object, **__: object) -> list[Any]:
        if name not in names:
            raise OSError(name)
        return [(2, 1, 6, "", (names[name], 0))]

    monkeypatch.setattr("socket.getaddrinfo", resolved)
    environment = {"LEADER_ADDRESS": LEADER, "GROUP_SIZE": "3", "POD_IP": "192.0.2.0"}
    assert members(environment) == {"192.0.2.0", "192.0.2.1"}

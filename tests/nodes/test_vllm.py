"""The stand-in for vLLM judges commands and machines as vLLM would, and has its manners when a rank is lost."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from e2e.engine.image import parser_files
from e2e.sglang_parser import DEEPSEEK_V3
from tests.nodes.site import wait_for

pytestmark = pytest.mark.timeout(300)

ROOT = Path(__file__).parents[2]
VERSION = "0.33.0"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Start:
    """One node's start: what a test changes in it."""

    home: Path
    node: int
    store: int
    port: int = field(default_factory=free_port)
    nodes: int = 2
    tensor: int = 4
    address: str = "127.0.0.1"
    devices: str = "a,b"
    interface: str = "lo"
    model: str = "model"
    headless: bool = True
    extra: tuple[str, ...] = ()
    step_seconds: str = "5"

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[str]]:
        argv = ["serve", str(self.home / self.model), "--served-model-name", "m", "--host", "127.0.0.1"]
        argv += ["--port", str(self.port), "--tensor-parallel-size", str(self.tensor)]
        argv += ["--distributed-executor-backend", "mp", "--nnodes", str(self.nodes), "--node-rank", str(self.node)]
        argv += ["--master-addr", self.address, "--master-port", str(self.store), *self.extra]
        if self.node and self.headless:
            argv.append("--headless")
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{ROOT}/e2e/engine/entry:{ROOT}",
            "STAND_IN_HOME": str(self.home),
            "NVIDIA_VISIBLE_DEVICES": self.devices,
            "GLOO_SOCKET_IFNAME": self.interface,
            "NCCL_SOCKET_IFNAME": f"={self.interface}",
            "VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS": self.step_seconds,
        }
        command = [sys.executable, str(ROOT / "e2e/engine/entry/bin/vllm"), *argv]
        with (
            (self.home / f"node-{self.node}.log").open("w+") as log,
            subprocess.Popen(command, env=environment, stderr=log, text=True) as process,
        ):
            try:
                yield process
            finally:
                process.kill()

    @property
    def log(self) -> str:
        return (self.home / f"node-{self.node}.log").read_text()

    def status(self, path: str, *, key: str = "", body: object = None) -> int:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data=data)
        request.add_header("Authorization", f"Bearer {key}")
        try:
            with urllib.request.build_opener().open(request, timeout=30) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            error.close()
            return error.code
        except OSError:
            return 0


ASK = {"model": "m", "messages": [{"role": "user", "content": "good morning"}]}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """What the image has at STAND_IN_HOME, and a checkpoint."""
    for name, source in parser_files("vllm", VERSION, tmp_path / "copies").items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).symlink_to(source)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps(dict(DEEPSEEK_V3)))
    return tmp_path


@pytest.fixture
def pair(home: Path) -> tuple[Start, Start]:
    store = free_port()
    return Start(home=home, node=0, store=store, extra=("--api-key", "k")), Start(home=home, node=1, store=store)


def serving(leader: Start) -> None:
    wait_for(lambda: leader.status("/health") == 200, seconds=90, what="healthy")


def worker(process: subprocess.Popen[str], title: str) -> int:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    titles = {int(pid): Path(f"/proc/{pid}/cmdline").read_text().split("\0")[0] for pid in children}
    (found,) = [pid for pid, each in titles.items() if each == title]
    return found


def test_the_leader_stays_well_when_a_remote_rank_is_lost_until_it_waits_for_it(pair: tuple[Start, Start]) -> None:
    leader, follower = pair
    with leader.running() as first, follower.running() as second:
        serving(leader)
        assert (leader.status("/v1/models"), leader.status("/v1/models", key="k")) == (401, 200)
        assert leader.status("/v1/chat/completions", key="k", body=ASK) == 200
        assert follower.status("/health") == 0
        second.kill()
        second.wait()
        assert [leader.status("/health") for _ in range(3)] == [200, 200, 200]
        assert first.poll() is None
        assert leader.status("/v1/chat/completions", key="k", body=ASK) != 200
        assert first.wait(30) != 0


def test_a_headless_node_outlives_its_leader(pair: tuple[Start, Start]) -> None:
    leader, follower = pair
    with leader.running() as first, follower.running() as second:
        serving(leader)
        first.kill()
        first.wait()
        wait_for(lambda: "recvValue failed" in follower.log, seconds=20, what="the follower complains")
        assert second.poll() is None


def test_a_headless_node_ends_without_an_error_when_one_of_its_ranks_does(pair: tuple[Start, Start]) -> None:
    leader, follower = pair
    with leader.running() as first, follower.running() as second:
        serving(leader)
        os.kill(worker(second, "VLLM::Worker_TP3"), signal.SIGKILL)
        assert second.wait(20) == 0
        assert first.poll() is None
        assert leader.status("/health") == 200


def test_the_leader_ends_when_one_of_its_own_ranks_does(pair: tuple[Start, Start]) -> None:
    leader, follower = pair
    with leader.running() as first, follower.running():
        serving(leader)
        os.kill(worker(first, "VLLM::Worker_TP1"), signal.SIGKILL)
        assert first.wait(20) == 1


MUTANTS = {
    "a rank that is no node's": ({"node": 2}, "`--node-rank` must be between 0 and 1; got `--node-rank 2`"),
    "a world that does not divide": ({"tensor": 3}, "`--nnodes 2` must evenly divide the total world"),
    "a flag that the release does not know": ({"extra": ("--no-such-flag", "8")}, "unrecognized arguments"),
    "an interface that is not there": ({"interface": "eth9"}, "Unable to find address for: eth9"),
    "fewer devices than ranks": ({"devices": "a"}, "invalid device ordinal"),
    "no devices": ({"devices": ""}, "No accelerator"),
    "weights that are elsewhere": ({"model": "nothing"}, "Can't load the configuration"),
    "another executor": ({"extra": ("--distributed-executor-backend", "ray")}, "can only be set when"),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_what_is_wrong_keeps_a_node_from_starting(mutant: str, pair: tuple[Start, Start]) -> None:
    change, complaint = MUTANTS[mutant]
    wrong = replace(pair[1], **change)  # type: ignore[arg-type] # a table of single fields
    with wrong.running() as process:
        assert process.wait(60) in {1, 2}
    assert complaint in wrong.log


TOGETHER = {
    "other numbers of ranks": ({"tensor": 8, "devices": "a,b,c,d"}, "world size 8 there, 4 at rank 0"),
    "another number of nodes": ({"nodes": 4, "devices": "a"}, "nodes size 4 there, 2 at rank 0"),
    "a follower with a server of its own": ({"headless": False}, "should not be called on follower node"),
}


@pytest.mark.parametrize("mutant", TOGETHER)
def test_nodes_that_disagree_never_serve(mutant: str, pair: tuple[Start, Start]) -> None:
    change, complaint = TOGETHER[mutant]
    leader, wrong = pair[0], replace(pair[1], **change)  # type: ignore[arg-type] # a table of single fields
    with leader.running(), wrong.running() as second:
        assert second.wait(60) != 0
    assert complaint in wrong.log


def test_a_worker_that_looks_for_the_leader_elsewhere_never_serves(pair: tuple[Start, Start]) -> None:
    leader, wrong = pair[0], replace(pair[1], store=free_port(), extra=("--distributed-timeout-seconds", "5"))
    with leader.running() as first, wrong.running() as second:
        assert second.wait(60) != 0
        assert (leader.status("/health"), first.poll()) == (0, None)


def test_two_leaders_in_one_place_never_serve(pair: tuple[Start, Start]) -> None:
    leader, wrong = pair[0], replace(pair[1], node=0)
    with leader.running() as first, wrong.running() as second:
        wait_for(lambda: first.poll() or second.poll(), seconds=60, what="one of them ends")
        assert (leader.status("/health"), wrong.status("/health")) == (0, 0)

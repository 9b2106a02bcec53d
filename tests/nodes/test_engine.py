"""The stand-in engine judges commands and machines as SGLang would: each thing that is wrong keeps it from starting."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from e2e.sglang_parser import DEEPSEEK_V3, sources
from tests.nodes.site import wait_for

pytestmark = pytest.mark.timeout(300)

ROOT = Path(__file__).parents[2]
VERSION = "0.5.23"


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
    extra: tuple[str, ...] = ()
    faults: str = ""

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[str]]:
        argv = ["--model-path", str(self.home / self.model), "--served-model-name", "m", "--host", "127.0.0.1"]
        argv += ["--port", str(self.port), "--tp-size", str(self.tensor), "--device", "cuda", "--dist-timeout", "60"]
        argv += ["--mem-fraction-static", "0.8", "--nnodes", str(self.nodes), "--node-rank", str(self.node)]
        argv += ["--dist-init-addr", f"{self.address}:{self.store}", *self.extra]
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{ROOT}/e2e/engine/entry:{ROOT}",
            "STAND_IN_HOME": str(self.home),
            "STAND_IN_FAULTS": self.faults,
            "SGLANG_HEALTH_CHECK_TIMEOUT": "3",
            "NVIDIA_VISIBLE_DEVICES": self.devices,
            "GLOO_SOCKET_IFNAME": self.interface,
            "NCCL_SOCKET_IFNAME": f"={self.interface}",
        }
        command = [sys.executable, "-m", "sglang.launch_server", *argv]
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

    def status(self, path: str, *, key: str = "") -> int:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}")
        request.add_header("Authorization", f"Bearer {key}")
        try:
            with urllib.request.build_opener().open(request, timeout=30) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            error.close()
            return error.code
        except OSError:
            return 0


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """What the image has at STAND_IN_HOME, and a checkpoint."""
    (tmp_path / "sources").symlink_to(sources(VERSION))
    found = find_spec("msgspec")
    assert found is not None
    assert found.origin is not None
    shutil.copytree(Path(found.origin).parent, tmp_path / "packages" / "msgspec")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps(dict(DEEPSEEK_V3)))
    return tmp_path


@pytest.fixture
def pair(home: Path) -> tuple[Start, Start]:
    store = free_port()
    keys = ("--api-key=k", "--admin-api-key=a")
    return Start(home=home, node=0, store=store, extra=keys), Start(home=home, node=1, store=store)


def test_two_nodes_meet_serve_and_end_together_when_a_rank_is_killed(pair: tuple[Start, Start]) -> None:
    leader, follower = pair
    with leader.running() as first, follower.running() as second:
        wait_for(lambda: leader.status("/health") == 200, seconds=60, what="healthy")
        assert follower.status("/health") == 200
        assert (leader.status("/v1/models"), leader.status("/v1/models", key="k")) == (401, 200)
        second.kill()
        assert first.wait(30) != 0
    assert "Connection closed by peer" in leader.log


def test_a_follower_ends_when_its_leader_was_killed(pair: tuple[Start, Start]) -> None:
    leader, follower = pair
    with leader.running() as first, follower.running() as second:
        wait_for(lambda: leader.status("/health") == 200, seconds=60, what="healthy")
        first.kill()
        assert second.wait(30) != 0
    assert "Received sigquit from a child process" in follower.log


def test_a_rank_that_hangs_makes_the_leader_unhealthy_and_the_follower_says_nothing(pair: tuple[Start, Start]) -> None:
    leader, follower = pair
    with leader.running() as first, follower.running() as second:
        wait_for(lambda: leader.status("/health") == 200, seconds=60, what="healthy")
        children = Path(f"/proc/{second.pid}/task/{second.pid}/children").read_text().split()
        titles = {int(pid): Path(f"/proc/{pid}/cmdline").read_text() for pid in children}
        (hung,) = [pid for pid, title in titles.items() if title.startswith("sglang::scheduler_TP3")]
        os.kill(hung, signal.SIGSTOP)
        assert leader.status("/health") == 503
        assert follower.status("/health") == 200
        assert (first.poll(), second.poll()) == (None, None)


def test_a_rank_that_dies_while_it_loads_is_named(pair: tuple[Start, Start]) -> None:
    """As an abort in C++ code: no Python error, no word of its own."""
    leader, follower = (replace(each, faults="load:3:exit=134") for each in pair)
    with leader.running(), follower.running() as second:
        assert second.wait(60) == 1
    assert "Rank 3 scheduler died during initialization (exit code: 134)" in follower.log


MUTANTS = {
    "a rank that is no node's": ({"node": 2}, "not a node of nnodes"),
    "a world that does not divide": ({"tensor": 3}, "tp_size must be divisible by number of nodes"),
    "a flag that the release does not know": ({"extra": ("--cuda-graph-bs", "8")}, "ambiguous option"),
    "an interface that is not there": ({"interface": "eth9"}, "Unable to find address for: eth9"),
    "fewer devices than ranks": ({"devices": "a"}, "invalid device ordinal"),
    "no devices": ({"devices": ""}, "No accelerator"),
    "weights that are elsewhere": ({"model": "nothing"}, "Can't load the configuration"),
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
}


@pytest.mark.parametrize("mutant", TOGETHER)
def test_nodes_that_disagree_never_serve(mutant: str, pair: tuple[Start, Start]) -> None:
    change, complaint = TOGETHER[mutant]
    leader, wrong = pair[0], replace(pair[1], **change)  # type: ignore[arg-type] # a table of single fields
    with leader.running(), wrong.running() as second:
        assert second.wait(60) != 0
        assert leader.status("/health") == 0
    assert complaint in wrong.log


def test_two_nodes_in_the_same_place_never_serve(pair: tuple[Start, Start]) -> None:
    leader, wrong = pair[0], replace(pair[1], node=0)
    with leader.running() as first, wrong.running() as second:
        wait_for(lambda: first.poll() or second.poll(), seconds=60, what="one of them ends")
        assert (leader.status("/health"), wrong.status("/health")) == (0, 0)

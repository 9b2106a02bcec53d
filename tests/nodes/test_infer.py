"""The stand-in for the DeepSeek-Infer demo: torchrun's command lines, the sharded checkpoint, and how it ends."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from e2e.engine.image import parser_files
from tests.nodes.site import wait_for

pytestmark = pytest.mark.timeout(300)

ROOT = Path(__file__).parents[2]
TORCH = "2.4.1"
WORLD = 4


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Start:
    """One node's start: what a test changes in it."""

    home: Path
    node: int
    store: int = field(default_factory=free_port)
    nodes: int = 2
    local: int = 2
    interface: str = "lo"
    devices: str = "a,b"
    mode: tuple[str, ...] = ("--input-file", "prompts.txt")
    faults: str = ""

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[str]]:
        argv = ["--nnodes", str(self.nodes), "--nproc-per-node", str(self.local), "--node-rank", str(self.node)]
        argv += ["--master-addr", "127.0.0.1", "--master-port", str(self.store)]
        argv += [str(ROOT / "e2e/engine/entry/inference/generate.py"), "--ckpt-path", "weights"]
        argv += ["--config", "config.json", *self.mode]
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{ROOT}/e2e/engine/entry:{ROOT}",
            "STAND_IN_HOME": str(self.home),
            "STAND_IN_FAULTS": self.faults,
            "NVIDIA_VISIBLE_DEVICES": self.devices,
            "GLOO_SOCKET_IFNAME": self.interface,
        }
        command = [sys.executable, str(ROOT / "e2e/engine/entry/bin/torchrun"), *argv]
        out, err = (self.home / f"{self.node}.{name}" for name in ("out", "err"))
        with (
            out.open("w") as stdout,
            err.open("w") as stderr,
            subprocess.Popen(
                command,
                cwd=self.home,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                text=True,
            ) as process,
        ):
            try:
                yield process
            finally:
                process.terminate()

    def text(self, name: str) -> str:
        return (self.home / f"{self.node}.{name}").read_text()


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Start, Start]:
    for name, source in parser_files("deepseek-infer", TORCH, tmp_path / "copies").items():
        (tmp_path / name).symlink_to(source)
    (tmp_path / "weights").mkdir()
    for rank in range(WORLD):
        (tmp_path / "weights" / f"model{rank}-mp{WORLD}.safetensors").touch()
    (tmp_path / "config.json").write_text(json.dumps({"max_batch_size": 2}))
    (tmp_path / "prompts.txt").write_text("good morning\ngood night\n")
    leader = Start(home=tmp_path, node=0)
    return leader, replace(leader, node=1)


def test_a_batch_is_answered_on_rank_0_and_all_nodes_end_well(pair: tuple[Start, Start]) -> None:
    leader, follower = pair
    with leader.running() as first, follower.running() as second:
        assert (first.wait(60), second.wait(60)) == (0, 0)
    assert "Prompt: good night\nCompletion: 4 ranks heard: good night" in leader.text("out")
    assert follower.text("out") == ""


def test_a_closed_terminal_ends_an_interactive_start(pair: tuple[Start, Start]) -> None:
    leader, follower = (replace(each, mode=("--interactive",)) for each in pair)
    with leader.running() as first, follower.running():
        assert first.wait(60) == 1
    assert "EOFError" in leader.text("err")


def test_a_rank_that_fails_is_named_and_the_other_node_waits(pair: tuple[Start, Start]) -> None:
    leader, follower = (replace(each, faults="step:3:exit=7") for each in pair)
    with leader.running() as first, follower.running() as second:
        assert second.wait(60) == 1
        assert "ChildFailedError: rank 3" in follower.text("err")
        wait_for(lambda: "recvValue failed" in leader.text("err"), seconds=20, what="the leader's rank complains")
        assert first.poll() is None


def test_more_prompts_than_a_batch_holds_are_refused(pair: tuple[Start, Start]) -> None:
    leader, follower = pair
    (leader.home / "prompts.txt").write_text("a\nb\nc\n")
    with leader.running() as first, follower.running():
        assert first.wait(60) == 1
    assert "exceeds maximum batch size (2)" in leader.text("err")


MUTANTS = {
    "a rank that is no node's": ({"node": 2}, "The node rank must be in [0, 2)"),
    "more ranks than devices": ({"devices": "a"}, "invalid device ordinal"),
    "an interface that is not there": ({"interface": "eth9"}, "Unable to find address for: eth9"),
    "a world that the weights were not cut for": ({"nodes": 4}, "No such file or directory: 'weights/model2-mp8"),
    "no prompts": ({"mode": ()}, "Either input-file or interactive mode must be specified"),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_what_is_wrong_keeps_a_node_from_starting(mutant: str, pair: tuple[Start, Start]) -> None:
    change, complaint = MUTANTS[mutant]
    wrong = replace(pair[1], **change)  # type: ignore[arg-type] # a table of single fields
    with wrong.running() as process:
        assert process.wait(60) in {1, 2}
    assert complaint in wrong.text("err")


def test_a_worker_that_looks_elsewhere_joins_nobody(pair: tuple[Start, Start]) -> None:
    leader, wrong = pair[0], replace(pair[1], store=free_port())
    with leader.running() as first, wrong.running() as second:
        wait_for(lambda: "distributed begin" in wrong.text("err"), seconds=30, what="its ranks look for the leader")
        assert (first.poll(), second.poll()) == (None, None)
    assert leader.text("out") == ""

"""What is left on the machine when real nodes end, in whatever way: nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from e2e import cluster as e2e
from e2e.cluster.cgroups import ControlGroup, hierarchies
from e2e.cluster.network import cluster_id
from e2e.cluster.requirements import problems
from tests.nodes.site import wait_for

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    if found := problems():
        pytest.skip("real nodes cannot run here: " + "; ".join(found))
    return tmp_path / "state"


def start(command: str, state: Path, *options: str) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if name != "KUBECONFIG"}
    arguments = [sys.executable, "-m", "e2e.cluster", command, f"--state={state}", *options]
    return subprocess.Popen(arguments, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)


def tool(command: str, state: Path, *options: str) -> str:
    process = start(command, state, *options)
    _, said = process.communicate(timeout=500)
    assert process.returncode == 0, said
    return said


def ended(pid: int) -> bool:
    """Gone, or waiting for a parent to ask for its exit status."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in {"Z", "X"}
    except (FileNotFoundError, ProcessLookupError):
        return True


def remains(state: Path) -> list[str]:
    """Everything of a cluster's nodes that the machine still has."""
    name = cluster_id(state)
    links = [link.name for link in Path("/sys/class/net").iterdir() if link.name.startswith(name)]
    groups = [str(each / name) for each in hierarchies() if (each / name).exists()]
    mounts = [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(state) in line or name in line]
    folders = [str(state / "nodes")] if (state / "nodes").exists() else []
    return [*links, *groups, *mounts, *folders]


def test_nodes_whose_programs_were_killed_leave_nothing_behind(state: Path) -> None:
    tool("up", state, "--level=real-nodes", "--nodes=1")
    running = e2e.load(state)
    assert running is not None
    names = {process.name: process for process in running.processes}
    for name in ("h100-0-kubelet", "h100-0-containerd", "h100-0-namespaces"):
        os.kill(names[name].pid, signal.SIGKILL)
    wait_for(lambda: not running.healthy, seconds=10, what="the cluster is not whole any more")
    assert "stopped" in tool("down", state)
    assert remains(state) == []
    assert not any(process.alive for process in names.values())


def test_a_start_that_was_killed_is_cleaned_by_the_next_command(state: Path) -> None:
    starting = start("up", state, "--level=real-nodes", "--nodes=1")
    group = ControlGroup(path=f"{cluster_id(state)}/h100-0")
    wait_for(group.members, seconds=200, what="the first node's first process")
    starting.kill()
    starting.communicate()
    left = group.members()
    assert remains(state)
    tool("down", state)
    assert remains(state) == []
    assert all(ended(pid) for pid in left)


def test_without_root_everything_in_the_way_is_said_at_once(state: Path) -> None:
    program = "from e2e.cluster.requirements import problems; print('\\n'.join(problems()))"
    drop = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "/usr/bin/python3", "-c", program]
    said = subprocess.run(drop, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "need root" in said
    assert "CAP_SYS_ADMIN" in said

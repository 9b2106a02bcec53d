"""mpirun over ssh between network namespaces: the launch script of TensorRT-LLM with a small stand-in for its programs.

Open MPI, OpenSSH, the key pair and the script are real. Needs root, and Debian's openmpi-bin and openssh-server.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from deepseek_operator.catalog.load import load
from deepseek_operator.engines.launch.probe import processes
from deepseek_operator.plan.types import Parallelism
from deepseek_operator.render.secret import ssh_secret
from deepseek_operator.render.security import container_security
from tests.unit.engines.plans import launched, plan, spec
from tests.unit.render.samples import OWNER

RELEASE = next(each for each in load().releases if each.engine == "tensorrt-llm")
PATIENCE = 120.0
NAME = "deepseek-g0-{rank}.deepseek-g0.demo.svc.cluster.local"
HOSTILE = 'it\'s "$(touch injected)" * two  words'
LAUNCH = """
import json, os, signal, subprocess, sys
names = ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "POD_IP", "POD_NAME", "NCCL_SOCKET_IFNAME", "LEADER_ADDRESS")
rank = int(os.environ["OMPI_COMM_WORLD_RANK"])
record = {"net": os.readlink("/proc/self/ns/net"), **{name: os.environ.get(name) for name in names}}
path = f"{os.environ['RECORDS']}/{rank}"
open(path + ".part", "w").write(json.dumps(record))
os.rename(path + ".part", path)
if rank == 0:
    # As trtllm-llmapi-launch does: the words are split at blanks.
    sys.exit(subprocess.call(" ".join(sys.argv[1:]).split()))
os.execvp("bash", ["python3 -m tensorrt_llm.llmapi.mgmn_worker_node", "-c", "sleep 600 & wait"])
"""
SERVE = """
import json, os, signal, sys
path = os.environ["RECORDS"] + "/serve"
open(path + ".part", "w").write(json.dumps(sys.argv[1:]))
os.rename(path + ".part", path)
signal.pause()
"""

RIGHTS = ",".join(f"+{each.lower()}" for each in container_security(runs_sshd=True)["capabilities"]["add"])
PACKAGES = {"mpirun": "openmpi-bin", "ssh": "openssh-client", "sshd": "openssh-server", "ip": "iproute2"}
WHERE = f"{os.environ['PATH']}:/usr/sbin"
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces and sshd need root")


def missing() -> list[str]:
    return [package for program, package in PACKAGES.items() if shutil.which(program, path=WHERE) is None]


@pytest.fixture(scope="module", autouse=True)
def _programs() -> None:
    """Open MPI and OpenSSH, installed where Debian's apt-get can."""
    if not missing():
        return
    install = ["apt-get", "install", "--yes", "--no-install-recommends", *missing()]
    if shutil.which("apt-get"):
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(install, env=quiet, capture_output=True, timeout=600, check=False)
    if missing():
        pytest.skip(f"not installed, and could not be: {' '.join(install)}")


def run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True, timeout=60)


class Pods:
    """Two network namespaces on a cable, each with its own mounts, and what runs in them."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.directory, self.stack = directory, stack
        self.records = directory / "records"
        self.records.mkdir()
        token = uuid.uuid4().hex[:6]
        self.spaces = [f"dse-mpi-{token}-{rank}" for rank in range(2)]
        for space in self.spaces:
            run("ip", "netns", "add", space)
            stack.callback(run, "ip", "netns", "delete", space)
        run(
            "ip",
            "link",
            "add",
            "eth0",
            "netns",
            self.spaces[0],
            "type",
            "veth",
            "peer",
            "eth0",
            "netns",
            self.spaces[1],
        )
        for rank, space in enumerate(self.spaces):
            for words in (f"addr add {self.address(rank)}/24 dev eth0", "link set eth0 up", "link set lo up"):
                run("ip", "-n", space, *words.split())
        (directory / "hosts").write_text(
            "127.0.0.1 localhost\n" + "".join(f"{self.address(rank)} {NAME.format(rank=rank)}\n" for rank in range(2))
        )
        self.programs = directory / "programs"
        self.programs.mkdir()
        for name, text in (("trtllm-llmapi-launch", LAUNCH), ("trtllm-serve", SERVE)):
            (self.programs / name).write_text(f"#!{sys.executable}\n{text}")
            (self.programs / name).chmod(0o755)
        self.keys = directory / "keys"
        self.keys.mkdir()
        for name, value in ssh_secret(OWNER, seed=os.urandom(32))["data"].items():
            (self.keys / name).write_bytes(base64.b64decode(value))
            (self.keys / name).chmod(0o400)

    @staticmethod
    def address(rank: int) -> str:
        return f"10.202.7.{rank + 1}"

    def start(self, rank: int, script: str) -> subprocess.Popen[str]:
        """The container of a rank: its own network, host name, hosts file, key pair and run directory."""
        own = self.directory / f"run-{rank}"
        own.mkdir()
        name = NAME.format(rank=rank).partition(".")[0]
        prepare = (
            f"mount --bind {self.directory}/hosts /etc/hosts && hostname {name} && mkdir -p /run/sshd"
            " /run/deepseek-ssh /run/deepseek && mount --bind "
            f"{self.keys} /run/deepseek-ssh && mount --bind {own} /run/deepseek && "
            # The rights of the rendered container (render/security.py), and no more.
            f'exec setpriv --no-new-privs --inh-caps=-all --bounding-set=-all,{RIGHTS} bash -c "$SCRIPT"'
        )
        environment = {
            "SCRIPT": script,
            "PATH": f"{self.programs}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "RECORDS": str(self.records),
            "POD_IP": self.address(rank),
            "POD_NAME": name,
            "POD_NAMESPACE": "demo",
            "POD_UID": f"uid-{rank}",
            "NODE_NAME": f"node-{rank}",
            "NODE_RANK": str(rank),
            "GROUP": "0",
            "GROUP_SIZE": "2",
            "INCARNATION": "7",
            "LEADER_ADDRESS": NAME.format(rank=0),
            "IMAGE": "registry.example/trtllm:1",
            "ACCELERATORS": "2",
            "OMPI_MCA_orte_keep_fqdn_hostnames": "1",
            "HOME": str(self.directory),
        }
        # A process group of its own in a PID namespace: whatever a rank leaves behind ends with it.
        isolated = ("unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc")
        process = subprocess.Popen(
            ["ip", "netns", "exec", self.spaces[rank], *isolated, "bash", "-c", prepare],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

        def end() -> None:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()

        self.stack.callback(end)
        return process

    def record(self, name: str, group: list[subprocess.Popen[str]]) -> Any:
        """What a program wrote down, awaited."""
        path = self.records / name
        waiter = subprocess.run(
            ["bash", "-c", 'for ((i = 0; i < 600; i++)); do [[ -e "$0" ]] && exit; sleep 0.2; done; exit 1', str(path)],
            timeout=PATIENCE + 10,
            check=False,
        )
        if waiter.returncode:
            for each in group:
                os.killpg(each.pid, signal.SIGKILL)
            pytest.fail(f"no record {name}: " + "\n".join(each.communicate()[1] for each in group))
        return json.loads(path.read_text())


@pytest.fixture
def pods(tmp_path: Path) -> Iterator[Pods]:
    with ExitStack() as stack:
        yield Pods(tmp_path, stack)


def test_every_rank_runs_in_its_own_pod_with_that_pods_environment(pods: Pods, tmp_path: Path) -> None:
    made = launched(
        plan(release=RELEASE, split=Parallelism(tensor=4), accelerators_per_node=2),
        spec(engine={"args": [HOSTILE]}, access={"keys": {"mode": "none"}}),
    )
    group = [pods.start(rank, made.script) for rank in range(2)]
    ranks = [pods.record(str(rank), group) for rank in range(4)]
    served = pods.record("serve", group)
    assert [each["OMPI_COMM_WORLD_RANK"] for each in ranks] == ["0", "1", "2", "3"]
    assert {each["OMPI_COMM_WORLD_SIZE"] for each in ranks} == {"4"}
    assert [each["POD_IP"] for each in ranks] == ["10.202.7.1"] * 2 + ["10.202.7.2"] * 2
    assert [each["POD_NAME"] for each in ranks] == ["deepseek-g0-0"] * 2 + ["deepseek-g0-1"] * 2
    assert {each["NCCL_SOCKET_IFNAME"] for each in ranks} == {"=eth0"}
    assert {each["LEADER_ADDRESS"] for each in ranks} == {NAME.format(rank=0)}
    # Two networks, two ranks in each: nothing ran where the test runs.
    networks = [each["net"] for each in ranks]
    assert networks[0] == networks[1] != networks[2] == networks[3]
    assert str(Path("/proc/self/ns/net").readlink()) not in networks
    assert served[0] == "/weights/v3"
    assert served[-1] == HOSTILE
    assert not list(tmp_path.rglob("injected"))
    # What the worker's probe counts; the leader's ranks above 0 look the same.
    pattern, count = made.readiness_probe[-2:]
    found = [each for each in Path("/proc").iterdir() if each.name.isdigit() and networks[2] == _network(each)]
    only = tmp_path / "proc"
    only.mkdir()
    for each in found:
        (only / each.name).symlink_to(each)
    assert processes(only, pattern) == int(count) == 2


def _network(process: Path) -> str | None:
    try:
        return str((process / "ns/net").readlink())
    except OSError:
        return None


def test_a_host_without_the_deployments_key_is_not_spoken_to(pods: Pods) -> None:
    made = launched(
        plan(release=RELEASE, split=Parallelism(tensor=4), accelerators_per_node=2),
        spec(access={"keys": {"mode": "none"}}),
    )
    other = ssh_secret(OWNER, seed=os.urandom(32))["data"]["id"]
    impostor = made.script.replace("HostKey /run/deepseek-ssh/id", "HostKey /run/deepseek/other")
    impostor = f"(umask 077; base64 -d <<<{other} >/run/deepseek/other)\n{impostor}"
    leader, _ = pods.start(0, made.script), pods.start(1, impostor)
    assert leader.stderr is not None
    lines = iter(leader.stderr.readline, "")
    assert next((line for line in lines if "Host key verification failed" in line), None)
    assert next((line for line in lines if "rank 1 does not answer on port 2222 yet" in line), None)
    assert not list(pods.records.iterdir())


def test_a_rank_that_dies_ends_the_leader(pods: Pods) -> None:
    made = launched(
        plan(release=RELEASE, split=Parallelism(tensor=4), accelerators_per_node=2),
        spec(access={"keys": {"mode": "none"}}),
    )
    group = [pods.start(rank, made.script) for rank in range(2)]
    pods.record("serve", group)
    os.killpg(group[1].pid, signal.SIGKILL)
    assert group[0].wait(PATIENCE) != 0

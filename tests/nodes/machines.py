"""What faults need of a node's machine: its processes, their ends, and its cable.

Nodes of `e2e.cluster` are reached through their namespaces. Of a cluster that KUBECONFIG names, machines are reached by
a command: E2E_NODE_SHELL, such as ``docker exec -i {node}`` for kind, to which ``sh -c SCRIPT`` is appended. Without it
scenarios that hurt a machine cannot run there.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from dataclasses import dataclass
from typing import Protocol

from e2e.cluster import Cluster, RealNode

NODE_SHELL = "E2E_NODE_SHELL"
CRI = "--address=/run/containerd/containerd.sock --namespace=k8s.io"

LIST = r"""
for folder in /proc/[0-9]*; do
  line=$(tr '\0' ' ' 2>/dev/null <"$folder/cmdline") && [ -n "$line" ] && printf '%s %s\n' "${folder#/proc/}" "$line"
done
true
"""
# Routes through a cable are forgotten when it is pulled; the kernel brings back only the one of its own address.
PART = "ip route show dev eth0 | grep -v 'proto kernel' >/run/e2e-routes; ip link set eth0 down"
JOIN = "ip link set eth0 up && while read -r route; do ip route replace $route dev eth0; done </run/e2e-routes"


class Machine(Protocol):
    """A node from below."""

    @property
    def name(self) -> str:
        """The node's name."""

    def processes(self) -> dict[int, str]:
        """Processes and their command lines, those in containers included."""

    def shell(self, script: str) -> str:
        """What a shell on the node prints, as root, in its namespaces."""

    def signal(self, pid: int, number: int = signal.SIGKILL) -> None:
        """Send a signal to one of `processes`."""

    def sandbox(self, uid: str) -> str:
        """The sandbox of a pod, by the pod's UID."""

    def restart(self, program: str) -> None:
        """Start the kubelet or containerd again after it was killed."""

    def part(self) -> None:
        """Pull the cable."""

    def join(self) -> None:
        """Plug it in again."""


@dataclass(frozen=True)
class OwnMachine:
    """A node of `e2e.cluster`: a process of it is a process of this machine."""

    cluster: Cluster
    node: RealNode

    @property
    def name(self) -> str:
        return self.node.name

    def processes(self) -> dict[int, str]:
        return {pid: line for pid, line in self.node.processes().items() if line}

    def shell(self, script: str) -> str:
        return _output(self.node.command("sh", "-c", script))

    def signal(self, pid: int, number: int = signal.SIGKILL) -> None:
        os.kill(pid, number)

    def sandbox(self, uid: str) -> str:
        return _sandbox(self, uid, ctr=self.node.ctr)

    def restart(self, program: str) -> None:
        self.cluster.restart_program(f"{self.name}-{program}")

    def part(self) -> None:
        self.node.part()

    def join(self) -> None:
        self.node.join()


@dataclass(frozen=True)
class ForeignMachine:
    """A node of the user's cluster, by a command."""

    name: str
    command: str

    def processes(self) -> dict[int, str]:
        lines = [line.partition(" ") for line in self.shell(LIST).splitlines()]
        return {int(pid): line.strip() for pid, _, line in lines}

    def shell(self, script: str) -> str:
        return _output([*shlex.split(self.command.format(node=self.name)), "sh", "-c", script])

    def signal(self, pid: int, number: int = signal.SIGKILL) -> None:
        self.shell(f"kill -{int(number)} {pid}")

    def sandbox(self, uid: str) -> str:
        return _sandbox(self, uid, ctr="ctr")

    def restart(self, program: str) -> None:
        # systemd has done it, in kind's nodes, too.
        self.shell(f"systemctl start {program}")

    def part(self) -> None:
        self.shell(PART)

    def join(self) -> None:
        self.shell(JOIN)


def machines(cluster: Cluster) -> tuple[Machine, ...]:
    """The machines of a cluster's nodes; none when nobody said how a foreign cluster's are reached."""
    if not cluster.external:
        return tuple(OwnMachine(cluster, node) for node in cluster.real_nodes)
    command = os.environ.get(NODE_SHELL)
    names = cluster.kubectl("get", "nodes", "-l", "nvidia.com/gpu.present=true", "-o", "name").split()
    return tuple(ForeignMachine(name.removeprefix("node/"), command) for name in names) if command else ()


def _sandbox(machine: Machine, uid: str, *, ctr: str) -> str:
    wanted = f'labels."io.kubernetes.pod.uid"=={uid},labels."io.cri-containerd.kind"==sandbox'
    return machine.shell(f"{ctr} {CRI} containers list --quiet {shlex.quote(wanted)}").strip()


def _output(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout

"""A running real node: what a test does with it, and when it is ready."""

from __future__ import annotations

import json
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from e2e.cluster.cgroups import ControlGroup
from e2e.cluster.errors import ClusterError
from e2e.cluster.network import ip
from e2e.cluster.node_programs import CONTAINERD_SOCKET, Node, within

if TYPE_CHECKING:
    from collections.abc import Sequence

READY_SECONDS: Final = 180.0
POLL_SECONDS: Final = 0.2
FIELD_MANAGER: Final = "e2e-labeller"
REQUESTS_POLICY: Final = Path(__file__).parent / "shrink-requests.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class RealNode:
    """A node and where it is: ``pid`` holds its namespaces, ``cable`` is its uplink's end on this machine."""

    name: str
    address: str
    cable: str
    pid: int
    control_group: str
    ctr: str

    def command(self, *arguments: str) -> list[str]:
        """Return ``arguments`` as a command that runs in the node's network and mount namespaces."""
        return [str(word) for word in within(self.pid, list(arguments))]

    def processes(self) -> dict[int, str]:
        """Return the node's processes, those in containers included: id on this machine and command line."""
        found = {}
        for pid in ControlGroup(path=self.control_group).members():
            try:
                line = Path(f"/proc/{pid}/cmdline").read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                continue
            found[pid] = line.replace(b"\0", b" ").decode(errors="replace").strip()
        return found

    def part(self) -> None:
        """Pull the cable: the node and its pods reach nobody, and go on."""
        ip("link", "set", self.cable, "down")

    def join(self) -> None:
        """Plug the cable in again."""
        ip("link", "set", self.cable, "up")


def import_image(node: RealNode, archive: Path) -> None:
    """Make a docker-archive's images known to the node."""
    with archive.open("rb") as image:
        result = subprocess.run(
            node.command(node.ctr, f"--address={CONTAINERD_SOCKET}", "--namespace=k8s.io", "images", "import", "-"),
            stdin=image,
            capture_output=True,
            text=True,
            check=False,
        )
    if result.returncode != 0:
        raise ClusterError(f"{archive} on {node.name}: {result.stderr.strip()}")


def wait_for_nodes(nodes: Sequence[Node], *, kubectl: Path, kubeconfig: Path) -> None:
    """Label the nodes as their vendors' labellers do; return when they are Ready and offer their devices."""
    _run(kubectl, kubeconfig, "apply", "--server-side", f"--filename={REQUESTS_POLICY}")
    deadline = time.monotonic() + READY_SECONDS
    for node in nodes:
        while not _run(kubectl, kubeconfig, "get", "node", node.name, "--ignore-not-found", "--output=name"):
            _require_time(deadline, f"{node.name} is not registered")
        document = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": node.name, "labels": node.labels, "annotations": node.annotations},
        }
        ssa = ("apply", "--server-side", "--force-conflicts", f"--field-manager={FIELD_MANAGER}", "--filename=-")
        _run(kubectl, kubeconfig, *ssa, stdin=json.dumps(document))
    for node in nodes:
        while (missing := _missing(node, _status(kubectl, kubeconfig, node))) is not None:
            _require_time(deadline, missing)


def _status(kubectl: Path, kubeconfig: Path, node: Node) -> dict[str, object]:
    found: dict[str, object] = json.loads(_run(kubectl, kubeconfig, "get", "node", node.name, "--output=json"))[
        "status"
    ]
    return found


def _missing(node: Node, status: dict[str, object]) -> str | None:
    conditions = status.get("conditions")
    found = conditions if isinstance(conditions, list) else []
    ready: dict[str, str] = next((each for each in found if each["type"] == "Ready"), {})
    if ready.get("status") != "True":
        return f"{node.name} is not Ready: {ready.get('message', 'no condition yet')}"
    offered = status.get("allocatable")
    if not isinstance(offered, dict):
        return f"{node.name} offers nothing yet"
    absent = [name for name in node.devices if offered.get(name, "0") == "0"]
    return f"{node.name} does not offer {', '.join(absent)}" if absent else None


def _require_time(deadline: float, problem: str) -> None:
    if time.monotonic() > deadline:
        raise ClusterError(f"{problem} after {READY_SECONDS:.0f} s; its log is beside those of the control plane")
    time.sleep(POLL_SECONDS)


def _run(kubectl: Path, kubeconfig: Path, *arguments: str, stdin: str | None = None) -> str:
    command = [str(kubectl), f"--kubeconfig={kubeconfig}", *arguments]
    result = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise ClusterError(f"kubectl {' '.join(arguments)}: {result.stderr.strip()}")
    return result.stdout

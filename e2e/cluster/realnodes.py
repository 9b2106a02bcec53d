"""Real nodes: a kubelet, a containerd and a kube-proxy each, in namespaces of their own.

A node is a network and a mount namespace, held by one process, and a control group that holds all processes of the
node, containers included. Ending the processes of the group ends the namespaces, and with them every mount and
interface of the node: nothing has to be remembered to clean up, and a killed tool leaves nothing that the next call
does not find by the cluster's name.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from e2e.cluster import components, controlplane, network, node_programs, nodes, processes, requirements
from e2e.cluster.certificates import KeyPair, issue, write_kubeconfig
from e2e.cluster.cgroups import ControlGroup, hierarchies
from e2e.cluster.errors import ClusterError
from e2e.cluster.images import program
from e2e.cluster.images import write as write_image
from e2e.cluster.network import MAX_NODES, Network
from e2e.cluster.node_programs import Node
from e2e.cluster.processes import Process
from e2e.cluster.real_node import RealNode, import_image, wait_for_nodes

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e.cluster.layout import Layout
    from e2e.cluster.requirements import Machine

PROGRAMS: Final = (*(name for name in components.PROGRAMS if name != "kwok"), *node_programs.PROGRAMS)
HARDWARE: Final = Path(__file__).parent / "nodes" / "nvidia-h100.yaml"
START_SECONDS: Final = 120.0
POLL_SECONDS: Final = 0.05
FIRST_SERIAL: Final = 100
"""Of the nodes' certificates; the control plane's come before."""
NOT_A_DEVICE: Final = frozenset({"cpu", "memory", "pods", "ephemeral-storage"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the nodes shall look like: Node objects as ``kubectl get nodes -o yaml`` prints them."""

    nodes: tuple[dict[str, Any], ...]
    mounts: Mapping[str, Path] = field(default_factory=dict)
    """Where every container sees a folder of this machine, read-only, beside its tools."""


def wanted(hardware: Path = HARDWARE, *, count: int = 2, mounts: Mapping[str, Path] | None = None) -> Wanted:
    """Return the first ``count`` nodes of a file; raises ``ClusterError`` when it has fewer."""
    found = nodes.read(hardware)
    most = min(MAX_NODES, len(found))
    if not 1 <= count <= most:
        raise ClusterError(f"--nodes {count}: {hardware} and this machine allow 1 to {most} real nodes")
    return Wanted(nodes=tuple(found[:count]), mounts=mounts or {})


def prepare(real: Wanted, *, report: Callable[[str], None]) -> Machine:
    """Check the machine, install what is missing; raises ``ClusterError`` with everything that is in the way."""
    report(f"real nodes: {', '.join(node['metadata']['name'] for node in real.nodes)}")
    return requirements.prepare(report=report)


def start(
    layout: Layout,
    programs: dict[str, Path],
    real: Wanted,
    *,
    machine: Machine,
    report: Callable[[str], None],
) -> int:
    """Start control plane and nodes; return the API server's port when all nodes are Ready.

    Raises ``ClusterError``, and then nothing is left running.
    """
    stop(layout)
    try:
        chosen = network.create(network.cluster_id(layout.state))
        ControlGroup(path=chosen.name).create()
        port = controlplane.start(layout, programs, address=chosen.bridge_address)
        starting = _Start(
            layout=layout, programs=programs, network=chosen, port=port, machine=machine, mounts=real.mounts
        )
        starting.dns()
        for index, described in enumerate(real.nodes):
            begun = time.monotonic()
            name = described["metadata"]["name"]
            starting.node(_node(layout, chosen, index=index, described=described), nodes=len(real.nodes))
            report(f"node {name} started in {time.monotonic() - begun:.1f} s")
        wait_for_nodes(starting.started, kubectl=programs["kubectl"], kubeconfig=layout.kubeconfig)
    except BaseException:
        # Ctrl-C included, as in the control plane's start.
        stop(layout)
        controlplane.stop(layout)
        layout.clear(keep_logs=True)
        raise
    return port


def stop(layout: Layout) -> None:
    """End every process of the cluster's nodes and remove their network, groups and files; safe to repeat."""
    if not remains(layout):
        return
    if os.geteuid() != 0:
        raise ClusterError(f"{layout.state}: real nodes were started there by root, and only root can stop them")
    name = network.cluster_id(layout.state)
    group = ControlGroup(path=name)
    group.kill()
    network.remove(name)
    group.remove()
    _require_unmounted(layout.nodes)
    shutil.rmtree(layout.nodes, ignore_errors=True)
    layout.nodes_record.unlink(missing_ok=True)


def remains(layout: Layout) -> bool:
    """Whether anything of real nodes is left on this machine, whatever was killed."""
    name = network.cluster_id(layout.state)
    traces = [each / name for each in hierarchies()]
    return any(path.exists() for path in (layout.nodes, layout.nodes_record, Path("/sys/class/net", name), *traces))


def read_processes(layout: Layout) -> tuple[Process, ...]:
    """Return the programs of the nodes and the cluster's DNS."""
    return tuple(Process(**fields) for fields in _read(layout).get("processes", ()))


def read_nodes(layout: Layout) -> tuple[RealNode, ...]:
    """Return the handles of the nodes."""
    return tuple(RealNode(**fields) for fields in _read(layout).get("nodes", ()))


def restart(layout: Layout, name: str) -> None:
    """Start a program of a node that has ended again, as the machine's init system would.

    Raises ``ClusterError`` when there is no such program or it still runs.
    """
    document = _read(layout)
    if name not in document.get("commands", {}):
        raise ClusterError(f"no program {name}; there are {', '.join(document.get('commands', {}))}")
    ended = next(each for each in read_processes(layout) if each.name == name)
    if ended.alive:
        raise ClusterError(f"{name} still runs as {ended.pid}")
    begun = processes.start(name, document["commands"][name], folder=layout.state, log=layout.log(name))
    kept = [each for each in document["processes"] if each["name"] != name]
    _write(layout, {**document, "processes": [*kept, asdict(begun)]})


def _write(layout: Layout, document: dict[str, Any]) -> None:
    unfinished = layout.nodes_record.with_suffix(".tmp")
    unfinished.write_text(json.dumps(document, indent=2), encoding="utf-8")
    unfinished.replace(layout.nodes_record)


def _read(layout: Layout) -> dict[str, Any]:
    if not layout.nodes_record.exists():
        return {}
    found: dict[str, Any] = json.loads(layout.nodes_record.read_text(encoding="utf-8"))
    return found


def _require_unmounted(folder: Path) -> None:
    """Deleting through a mount would delete what a volume shows; there should be none outside the namespaces."""
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()]
    if left := [mount for mount in mounts if Path(mount).is_relative_to(folder)]:
        raise ClusterError(f"{', '.join(left)}: still mounted; umount it and repeat")


def labels_of(described: dict[str, Any]) -> dict[str, str]:
    """The labels of a described node that its vendor's labeller writes; the kubelet and the cloud write their own."""
    own = ("kubernetes.io/", "beta.kubernetes.io/", "node.kubernetes.io/")
    return {key: value for key, value in (described["metadata"].get("labels") or {}).items() if not key.startswith(own)}


def devices_of(described: dict[str, Any]) -> dict[str, int]:
    """The extended resources of a described node."""
    capacity = described.get("status", {}).get("capacity") or {}
    return {
        name: _count(amount)
        for name, amount in capacity.items()
        if name not in NOT_A_DEVICE and not name.startswith("hugepages-") and _count(amount)
    }


def _node(layout: Layout, chosen: Network, *, index: int, described: dict[str, Any]) -> Node:
    metadata = described["metadata"]
    return Node(
        index=index,
        name=metadata["name"],
        folder=layout.nodes / metadata["name"],
        control_group=f"{chosen.name}/{metadata['name']}",
        labels=labels_of(described),
        annotations=metadata.get("annotations") or {},
        taints=tuple(described.get("spec", {}).get("taints") or ()),
        devices=devices_of(described),
    )


def _count(quantity: object) -> int:
    text = str(quantity)
    return int(text.removesuffix("k")) * (1000 if text.endswith("k") else 1)


class _Start:
    """One start of the nodes: what runs is written down after each program, so that an interrupted one is known."""

    def __init__(
        self,
        *,
        layout: Layout,
        programs: dict[str, Path],
        network: Network,
        port: int,
        machine: Machine,
        mounts: Mapping[str, Path],
    ) -> None:
        self.layout = layout
        self.programs = programs
        self.network = network
        self.machine = machine
        self.mounts = mounts
        self.server = f"https://{network.bridge_address}:{port}"
        self.authority = KeyPair(certificate=layout.keys / "ca.crt", key=layout.keys / "ca.key")
        self.serial = FIRST_SERIAL
        self.running: list[Process] = []
        self.commands: dict[str, list[str]] = {}
        self.nodes: list[RealNode] = []
        self.started: list[Node] = []

    def dns(self) -> None:
        """Start the cluster's DNS on the bridge."""
        self._kubeconfig(self.layout.state / "coredns.kubeconfig", "/O=system:masters/CN=coredns")
        command = node_programs.coredns(self.programs["coredns"], folder=self.layout.state, network=self.network)
        group = ControlGroup(path=f"{self.network.name}/dns")
        group.create()
        self._start("coredns", command, group)

    def node(self, node: Node, *, nodes: int) -> None:
        """Start one node: namespaces, cable, container runtime, then what talks to the API server."""
        node.folder.mkdir(parents=True)
        ControlGroup(path=node.control_group).create()
        group = ControlGroup(path=f"{node.control_group}/system")
        group.create()
        self._settings(node)
        holder = self._start(f"{node.name}-namespaces", node_programs.holder(node), group)
        self._wait((node.folder / "entered").exists, what=f"the namespaces of {node.name}")
        network.connect(self.network, node.index, pid=holder.pid, nodes=nodes)
        self.nodes.append(
            RealNode(
                name=node.name,
                address=self.network.address(node.index),
                cable=self.network.cable(node.index),
                pid=holder.pid,
                control_group=node.control_group,
                ctr=str(self.programs["ctr"]),
            )
        )
        containerd = node_programs.containerd(self.programs["containerd"])
        self._start(f"{node.name}-containerd", self._within(holder, containerd), group)
        socket = Path(f"/proc/{holder.pid}/root{node_programs.CONTAINERD_SOCKET}")
        self._wait(socket.exists, what=f"containerd of {node.name}")
        import_image(self.nodes[-1], self._pause_image())
        talking = {
            "kubelet": node_programs.kubelet(self.programs["kubelet"], node, self.network),
            "kube-proxy": node_programs.kube_proxy(self.programs["kube-proxy"], node),
        }
        if node.devices:
            talking["device-plugin"] = node_programs.device_plugin(node)
        for name, command in talking.items():
            self._start(f"{node.name}-{name}", self._within(holder, command), group)
        self.started.append(node)

    def _within(self, holder: Process, command: list[str | Path]) -> list[str | Path]:
        return node_programs.within(holder.pid, command, path=self.programs["containerd-shim-runc-v2"].parent)

    def _settings(self, node: Node) -> None:
        node_programs.write_settings(node, self.network, lower_oom_score=self.machine.may_lower_oom_score)
        printed = processes.output([self.programs["ctr"], "oci", "spec"])
        spec = node_programs.base_runtime_spec(printed, mounts=self.mounts)
        (node.folder / "base-runtime-spec.json").write_text(spec, encoding="utf-8")
        shutil.copy(self.authority.certificate, node.folder / "ca.crt")
        self._kubeconfig(node.folder / "kubelet.kubeconfig", f"/O=system:nodes/CN=system:node:{node.name}")
        self._kubeconfig(node.folder / "kube-proxy.kubeconfig", "/CN=system:kube-proxy")

    def _pause_image(self) -> Path:
        archive = self.layout.nodes / "pause.tar"
        if not archive.exists():
            command = ["/bin/sleep", "infinity"]
            write_image(archive, tags=[node_programs.PAUSE_IMAGE], command=command, trees=program(command[0]))
        return archive

    def _kubeconfig(self, path: Path, subject: str) -> None:
        self.serial += 1
        client = issue(self.authority, name=f"node-{self.serial}", subject=subject, serial=self.serial)
        write_kubeconfig(path, server=self.server, authority=self.authority.certificate, client=client)

    def _start(self, name: str, command: list[str | Path], group: ControlGroup) -> Process:
        join: list[str | Path] = ["sh", "-c", 'echo $$ >"$1" && shift && exec "$@"', name, group.entry]
        log = self.layout.log(name)
        whole = [str(word) for word in (*join, *command)]
        process = processes.start(name, whole, folder=self.layout.state, log=log)
        self.running.append(process)
        self.commands[name] = whole
        _write(
            self.layout,
            {
                "processes": [asdict(each) for each in self.running],
                "commands": self.commands,
                "nodes": [asdict(each) for each in self.nodes],
            },
        )
        return process

    def _wait(self, condition: Callable[[], bool], *, what: str) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not condition():
            for process in self.running:
                if not process.alive:
                    text = self.layout.log(process.name).read_text(encoding="utf-8", errors="replace")
                    raise ClusterError(f"{process.name} ended while the nodes started:\n{text[-2000:]}")
            if time.monotonic() > deadline:
                raise ClusterError(f"waited {START_SECONDS:.0f} s for {what}; see {self.layout.logs}")
            time.sleep(POLL_SECONDS)

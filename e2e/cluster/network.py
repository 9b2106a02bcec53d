"""The network of real nodes: one bridge on this machine, and each node a network namespace behind a cable to it.

The names carry a digest of the state folder and the address ranges are looked for, so that clusters do not meet.
Nodes reach each other and the machine; nothing is forwarded to the outside, and no setting of the machine changes.
"""

from __future__ import annotations

import fcntl
import hashlib
import ipaddress
import json
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from e2e.cluster.errors import ClusterError

MAX_NODES: Final = 4
NODE_NETWORKS: Final = ipaddress.IPv4Network("10.200.0.0/16")
POD_NETWORKS: Final = ipaddress.IPv4Network("10.201.0.0/16")
# Of the same index in both: 254 addresses on the bridge, and one of four /26 for the pods of each node.
CLUSTER_PREFIX: Final = 24
PODS_PREFIX: Final = 26
BRIDGE_HOST: Final = 254
CHOICE_LOCK: Final = Path("/run/deepseek-operator-e2e.lock")
FORWARD_SCRIPT: Final = """\
echo 1 >/proc/sys/net/ipv4/ip_forward
bridged=/proc/sys/net/bridge/bridge-nf-call-iptables
test ! -e "$bridged" || echo 1 >"$bridged"
"""


def cluster_id(state: Path) -> str:
    """Return the name of everything on this machine that belongs to the cluster of a state folder."""
    return f"dse-{hashlib.sha256(str(state.absolute()).encode()).hexdigest()[:6]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Names and addresses of one cluster; ``index`` is the third byte of its ranges."""

    name: str
    index: int

    @property
    def bridge(self) -> str:
        """The interface on this machine."""
        return self.name

    @property
    def bridge_address(self) -> str:
        """The machine's address for the nodes and pods: API server and DNS."""
        return str(self._nodes[BRIDGE_HOST])

    @property
    def pods(self) -> str:
        """The range of all pods."""
        return str(_nth(POD_NETWORKS, self.index))

    def address(self, node: int) -> str:
        """Return the address of a node, counted from 0."""
        return str(self._nodes[node + 1])

    def pods_of(self, node: int) -> str:
        """Return the range of a node's pods."""
        return str(list(_nth(POD_NETWORKS, self.index).subnets(new_prefix=PODS_PREFIX))[node])

    def cable(self, node: int) -> str:
        """Return the machine's end of a node's cable; taking it down parts the node from all others."""
        return f"{self.name}-{node}"

    @property
    def _nodes(self) -> ipaddress.IPv4Network:
        return _nth(NODE_NETWORKS, self.index)


def create(name: str) -> Network:
    """Make a bridge in ranges that no route of this machine touches; the same ranges each time if it can be."""
    # Another cluster that starts at the same time must see this one's address before it chooses.
    with CHOICE_LOCK.open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = _choose(name)
        _create_bridge(found)
    return found


def _choose(name: str) -> Network:
    taken = [ipaddress.ip_network(route["dst"]) for route in _routes()]
    first = int(hashlib.sha256(name.encode()).hexdigest()[:2], 16)
    for offset in range(256):
        found = Network(name=name, index=(first + offset) % 256)
        ranges = (_nth(NODE_NETWORKS, found.index), _nth(POD_NETWORKS, found.index))
        if not any(each.overlaps(other) for each in ranges for other in taken):
            return found
    raise ClusterError(f"no free range: this machine has routes into all of {NODE_NETWORKS} or {POD_NETWORKS}")


def _create_bridge(network: Network) -> None:
    ip("link", "add", network.bridge, "type", "bridge")
    ip("address", "add", f"{network.bridge_address}/{CLUSTER_PREFIX}", "dev", network.bridge)
    ip("link", "set", network.bridge, "up")


def connect(network: Network, node: int, *, pid: int, nodes: int) -> None:
    """Lay a node's cable into the namespace of process ``pid`` and set its routes."""
    cable = network.cable(node)
    peer = ("peer", "name", "eth0", "netns", str(pid))
    ip("link", "add", cable, "type", "veth", *peer)
    ip("link", "set", cable, "master", network.bridge, "up")
    lines = [
        "link set lo up",
        f"address add {network.address(node)}/{CLUSTER_PREFIX} dev eth0",
        "link set eth0 up",
        f"route add default via {network.bridge_address}",
        *(
            f"route add {network.pods_of(other)} via {network.address(other)}"
            for other in range(nodes)
            if other != node
        ),
    ]
    within = ["nsenter", f"--target={pid}", "--net", "--"]
    _run([*within, "ip", "-batch", "-"], stdin="\n".join(lines) + "\n")
    # Traffic between two pods of a node crosses its bridge only; Services must see it, too.
    _run([*within, "sh", "-c", FORWARD_SCRIPT])
    ip("route", "add", network.pods_of(node), "via", network.address(node), "dev", network.bridge)


def remove(name: str) -> None:
    """Remove the bridge and every cable of a cluster; namespaces end with their last process."""
    for link in json.loads(_run(["ip", "-json", "link", "show"])):
        if link["ifname"] == name or link["ifname"].startswith(f"{name}-"):
            # A cable goes by itself when its other end does, maybe right now.
            with suppress(ClusterError):
                ip("link", "delete", link["ifname"])
    left = [link["ifname"] for link in json.loads(_run(["ip", "-json", "link", "show"]))]
    if name in left:
        raise ClusterError(f"the bridge {name} cannot be removed")


def ip(*arguments: str) -> None:
    """Run ``ip``; raises ``ClusterError`` with what it says."""
    _run(["ip", *arguments])


def _routes() -> list[dict[str, Any]]:
    found = json.loads(_run(["ip", "-json", "-4", "route", "show", "table", "all"]) or "[]")
    return [route for route in found if route["dst"] != "default"]


def _nth(networks: ipaddress.IPv4Network, index: int) -> ipaddress.IPv4Network:
    first = int(networks.network_address) + (index << (32 - CLUSTER_PREFIX))
    return ipaddress.IPv4Network((first, CLUSTER_PREFIX))


def _run(command: list[str], *, stdin: str | None = None) -> str:
    result = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise ClusterError(f"{' '.join(command)}: {result.stderr.strip()}")
    return result.stdout

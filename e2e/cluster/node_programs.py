"""Settings and command lines of the programs of a real node, and of the cluster's DNS.

Within a node's mount namespace its own folder is /run/node, so that paths are short (a socket's may have 107 bytes)
and the same on every node.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from e2e.cluster.network import Network
from e2e.cluster.requirements import CNI_FOLDER, SYSTEM_PATH

PROGRAMS: Final = ("containerd", "containerd-shim-runc-v2", "ctr", "kubelet", "kube-proxy", "coredns")
HOME: Final = Path("/run/node")
CONTAINERD_SOCKET: Final = Path("/run/containerd/containerd.sock")
CLUSTER_DOMAIN: Final = "cluster.local"
PAUSE_IMAGE: Final = "deepseek-operator.invalid/pause:1"
MAX_PODS: Final = 60
"""The range of a node's pods has 62 addresses, one of them the node's own."""
HOST_TOOLS: Final = ("/usr", "/lib", "/lib64", "/bin", "/sbin")
EVICTION_SIGNALS: Final = ("memory.available", "nodefs.available", "nodefs.inodesFree", "imagefs.available")
REPOSITORY: Final = Path(__file__).resolve().parents[2]

ENTER_SCRIPT: Final = """\
set -eu
# /run is empty and the node's own: sockets, locks and the pods' namespaces of this machine stay out of sight.
home=$1
cd "$home"
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/node /run/own/log /run/own/log.work /run/own/lib /run/own/lib.work
mount --bind . /run/node
# Readable as ever, but what programs write there (a device plugin's socket, CNI's cache) is the node's own.
mount -t overlay overlay -o lowerdir=/var/lib,upperdir=/run/own/lib,workdir=/run/own/lib.work /var/lib
mount -t overlay overlay -o lowerdir=/var/log,upperdir=/run/own/log,workdir=/run/own/log.work /var/log
touch /run/node/entered
exec sleep infinity
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One node: its place in the network, its folder on the machine and its control group."""

    index: int
    name: str
    folder: Path
    control_group: str
    labels: dict[str, str]
    annotations: dict[str, str]
    taints: tuple[dict[str, str], ...]
    devices: dict[str, int]
    """Extended resources and how many of each."""


def holder(node: Node) -> list[str | Path]:
    """Return the command that makes a node's namespaces and keeps them."""
    return ["unshare", "--net", "--mount", "--propagation=private", "sh", "-c", ENTER_SCRIPT, "node", node.folder]


def within(pid: int, command: list[str | Path], *, path: Path | None = None) -> list[str | Path]:
    """Return ``command`` as run in the namespaces of a node's holder; ``path`` is searched for programs first."""
    search = f"PATH={path}:{SYSTEM_PATH}" if path else f"PATH={SYSTEM_PATH}"
    return ["nsenter", f"--target={pid}", "--net", "--mount", "--", "env", search, *command]


def containerd(program: Path) -> list[str | Path]:
    """Return containerd's command line."""
    return [program, f"--config={HOME}/containerd.toml"]


def kubelet(program: Path, node: Node, network: Network) -> list[str | Path]:
    """Return the kubelet's command line."""
    return [
        program,
        f"--config={HOME}/kubelet.yaml",
        f"--kubeconfig={HOME}/kubelet.kubeconfig",
        f"--hostname-override={node.name}",
        f"--node-ip={network.address(node.index)}",
        f"--root-dir={HOME}/kubelet",
        f"--cert-dir={HOME}/kubelet-pki",
    ]


def kube_proxy(program: Path, node: Node) -> list[str | Path]:
    """Return kube-proxy's command line."""
    return [program, f"--config={HOME}/kube-proxy.yaml", f"--hostname-override={node.name}"]


def device_plugin(node: Node) -> list[str | Path]:
    """Return the command line of the program that advertises the node's devices."""
    offered = [f"--resource={name}={count}" for name, count in node.devices.items()]
    return ["env", f"PYTHONPATH={REPOSITORY}", sys.executable, "-m", "e2e.cluster.device_plugin", *offered]


def coredns(program: Path, *, folder: Path, network: Network) -> list[str | Path]:
    """Write the cluster's DNS settings and return its command line; it listens on the bridge only."""
    file = folder / "Corefile"
    file.write_text(
        f""".:53 {{
    bind {network.bridge_address}
    errors
    kubernetes {CLUSTER_DOMAIN} in-addr.arpa ip6.arpa {{
        kubeconfig {folder / "coredns.kubeconfig"}
        endpoint_pod_names
    }}
}}
""",
        encoding="utf-8",
    )
    return [program, f"-conf={file}"]


def write_settings(node: Node, network: Network, *, lower_oom_score: bool) -> None:
    """Write everything the node's programs read, certificates and the base runtime spec excepted."""
    files: dict[str, str] = {
        "containerd.toml": _containerd(lower_oom_score=lower_oom_score),
        "kubelet.yaml": yaml.safe_dump(_kubelet(node, network)),
        "kube-proxy.yaml": yaml.safe_dump(_kube_proxy(network)),
        "resolv.conf": f"nameserver {network.bridge_address}\n",
        "cni/net.d/10-pods.conflist": json.dumps(_cni(node, network), indent=2),
    }
    for name, text in files.items():
        path = node.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def base_runtime_spec(printed: str, *, mounts: Mapping[str, Path] | None = None) -> str:
    """Return containerd's default spec with the machine's tools in it, read-only: images need none of their own."""
    spec = json.loads(printed)
    options = ["rbind", "ro", "nosuid"]
    spec["mounts"] += [
        {"destination": path, "type": "bind", "source": str(source), "options": options}
        for path, source in {**{tool: Path(tool) for tool in HOST_TOOLS}, **(mounts or {})}.items()
        if source.exists()
    ]
    return json.dumps(spec)


def _containerd(*, lower_oom_score: bool) -> str:
    return f"""\
version = 3
root = "{HOME}/containerd"
state = "/run/containerd"

[grpc]
address = "{CONTAINERD_SOCKET}"

[plugins.'io.containerd.cri.v1.images']
snapshotter = "overlayfs"

[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = "{PAUSE_IMAGE}"

[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = {str(not lower_oom_score).lower()}

[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ["{CNI_FOLDER}"]
conf_dir = "{HOME}/cni/net.d"

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
base_runtime_spec = "{HOME}/base-runtime-spec.json"
"""


def _kubelet(node: Node, network: Network) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": network.address(node.index),
        "authentication": {"anonymous": {"enabled": False}, "x509": {"clientCAFile": f"{HOME}/ca.crt"}},
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{node.control_group}",
        "failCgroupV1": False,
        "clusterDNS": [network.bridge_address],
        "clusterDomain": CLUSTER_DOMAIN,
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "podLogsDir": f"{HOME}/pod-logs",
        "resolvConf": f"{HOME}/resolv.conf",
        "volumePluginDir": f"{HOME}/volume-plugins",
        "maxPods": MAX_PODS,
        # A full disk or little memory of the machine is no business of a test's pods.
        "enforceNodeAllocatable": [],
        "evictionHard": dict.fromkeys(EVICTION_SIGNALS, "0%"),
        "imageGCHighThresholdPercent": 100,
        "failSwapOn": False,
        "oomScoreAdj": 0,
        "registerWithTaints": list(node.taints),
    }


def _kube_proxy(network: Network) -> dict[str, Any]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": f"{HOME}/kube-proxy.kubeconfig"},
        "mode": "nftables",
        "clusterCIDR": network.pods,
        # These settings are the machine's, and not a node's to change.
        "conntrack": {"maxPerCore": 0, "min": 0},
        "oomScoreAdj": 0,
    }


def _cni(node: Node, network: Network) -> dict[str, Any]:
    return {
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "isGateway": True,
                "hairpinMode": True,
                "ipam": {
                    "type": "host-local",
                    "dataDir": f"{HOME}/cni/networks",
                    "ranges": [[{"subnet": network.pods_of(node.index)}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            }
        ],
    }

"""Makes nodes of the user's own cluster look like accelerator nodes: labels, devices, and small requests.

For clusters without accelerators, such as kind's: the stand-in engines need none. Devices are advertised as extended
resources of the node (https://kubernetes.io/docs/tasks/administer-cluster/extended-resource-node/), so containers are
not told their names; the image must bring them.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from e2e.cluster.errors import ClusterError
from e2e.cluster.nodes import read
from e2e.cluster.real_node import FIELD_MANAGER, REQUESTS_POLICY
from e2e.cluster.realnodes import devices_of, labels_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CONTROL_PLANE: Final = "node-role.kubernetes.io/control-plane"


def dress(file: Path, *, kubectl: Callable[..., str]) -> tuple[str, ...]:
    """Give the workers of a cluster the looks of the file's nodes, in their order; return their names.

    Raises ``ClusterError`` when the cluster has no worker.
    """
    kubectl("apply", "--server-side", f"--filename={REQUESTS_POLICY}")
    workers = kubectl("get", "nodes", f"--selector=!{CONTROL_PLANE}", "--output=name").split()
    if not workers:
        raise ClusterError("the cluster has no node without the label of a control plane")
    described = read(file)
    dressed = tuple(zip([name.removeprefix("node/") for name in workers], described, strict=False))
    for name, node in dressed:
        _dress(name, node, kubectl=kubectl)
    return tuple(name for name, _ in dressed)


def _dress(name: str, node: dict[str, Any], *, kubectl: Callable[..., str]) -> None:
    metadata = {"name": name, "labels": labels_of(node), "annotations": node["metadata"].get("annotations") or {}}
    document = {"apiVersion": "v1", "kind": "Node", "metadata": metadata}
    owned = ("--server-side", "--force-conflicts", f"--field-manager={FIELD_MANAGER}")
    kubectl("apply", *owned, "--filename=-", stdin=json.dumps(document))
    capacity = {device: str(count) for device, count in devices_of(node).items()}
    patch = json.dumps({"status": {"capacity": capacity, "allocatable": capacity}})
    kubectl("patch", "node", name, "--subresource=status", "--type=merge", f"--patch={patch}")

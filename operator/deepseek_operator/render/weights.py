"""Where the weights lie in a pod: volumes, mounts, the claim of each rank, and the directory of each node.

The engine mounts the weights read-only and is told to stay offline. Weights of ``weights.cache: node`` lie in a
directory of each node behind a PersistentVolume and a claim of the same content on every node, so that pods name a
claim and pass Pod Security ``baseline``. Both outlive the deployment on purpose: they carry no owner reference, and
nothing in them depends on one deployment, since several may share them. ``kubectl deepseek cache`` lists and prunes
them.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Final

from deepseek_operator.api.names import (
    MANAGED_BY,
    MANAGED_BY_LABEL,
    SOURCE_DIRECTORY,
    WEIGHTS_ANNOTATION,
    WEIGHTS_DIRECTORY,
    WEIGHTS_LABEL,
)

if TYPE_CHECKING:
    from deepseek_operator.plan.types import WeightsPlan
    from deepseek_operator.render.owner import Owner

VOLUME: Final = "deepseek-weights"
SOURCE_VOLUME: Final = "deepseek-source"

_NODE_CAPACITY: Final = "1Ti"
"""Nominal: a hostPath has no limit, and a size that depended on the model could never be changed."""
_OVERHEAD: Final = 1.1
"""Volume over weights: the 5 % that ext4 keeps for root (mke2fs(8), -m), its tables, partial files."""


def volumes(weights: WeightsPlan) -> list[dict[str, Any]]:
    """The pod's volumes of weights; none where a claim template or podTemplate makes them."""
    found: list[dict[str, Any]] = []
    if weights.volume == "ephemeral":
        found.append({"name": VOLUME, "emptyDir": {"sizeLimit": f"{claimed_gib(weights)}Gi"}})
    elif weights.volume in {"node", "shared"} and weights.claim:
        found.append({"name": VOLUME, "persistentVolumeClaim": {"claimName": weights.claim}})
    elif weights.volume == "claim" and weights.claim:
        found.append(_attached_read_only(VOLUME, weights.claim))
    if weights.source_claim:
        found.append(_attached_read_only(SOURCE_VOLUME, weights.source_claim))
    return found


def mounts(weights: WeightsPlan, *, read_only: bool) -> list[dict[str, Any]]:
    """Where the volume of weights appears in a container."""
    if weights.volume == "mounted":
        return []
    path, sub_path = _mount_point(weights)
    mount: dict[str, Any] = {"name": VOLUME, "mountPath": path}
    if sub_path:
        mount["subPath"] = sub_path
    if read_only:
        mount["readOnly"] = True
    return [mount]


def source_mounts(weights: WeightsPlan) -> list[dict[str, Any]]:
    """Where the user's own claim appears in the container that converts it."""
    if weights.source_claim is None:
        return []
    return [{"name": SOURCE_VOLUME, "mountPath": SOURCE_DIRECTORY, "readOnly": True}]


def claim_templates(weights: WeightsPlan) -> list[dict[str, Any]]:
    """The claim of each rank, with ``weights.cache: perRank``: room for what is fetched and what is made of it."""
    if weights.volume != "perRank":
        return []
    spec: dict[str, Any] = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": f"{claimed_gib(weights)}Gi"}},
    }
    if weights.storage_class:
        spec["storageClassName"] = weights.storage_class
    return [{"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": VOLUME}, "spec": spec}]


def claimed_gib(weights: WeightsPlan) -> int:
    """GiB of a volume that the operator fills."""
    return math.ceil((weights.disk_gib or weights.size_gib) * _OVERHEAD)


def node_volume(owner: Owner, weights: WeightsPlan) -> list[dict[str, Any]]:
    """The PersistentVolume and the claim of a directory of each node; empty for other volumes."""
    if weights.volume != "node" or weights.claim is None or weights.node_path is None:
        return []
    about = {
        "source": weights.source,
        "revision": weights.revision,
        "sourceGiB": weights.conversion.source_gib if weights.conversion else weights.size_gib,
    }
    return directory_of_nodes(
        owner.namespace,
        weights.claim,
        weights.node_path,
        labels={WEIGHTS_LABEL: weights.claim},
        annotations={WEIGHTS_ANNOTATION: json.dumps(about, sort_keys=True)},
    )


def directory_of_nodes(
    namespace: str, claim: str, path: str, *, labels: dict[str, str], annotations: dict[str, str]
) -> list[dict[str, Any]]:
    """A directory of each node as a volume that is bound to its claim in advance.

    A namespace has no dot in its name, so ``<namespace>.<claim>`` names one claim only.
    """
    name = f"{namespace}.{claim}"
    about = {"labels": {MANAGED_BY_LABEL: MANAGED_BY, **labels}, "annotations": annotations}
    reference = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "name": claim, "namespace": namespace}
    return [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": name, **about},
            "spec": {
                "accessModes": ["ReadWriteMany"],
                "capacity": {"storage": _NODE_CAPACITY},
                "claimRef": reference,
                "hostPath": {"path": path, "type": "DirectoryOrCreate"},
                "persistentVolumeReclaimPolicy": "Retain",
            },
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": claim, "namespace": namespace, **about},
            "spec": {
                "accessModes": ["ReadWriteMany"],
                "resources": {"requests": {"storage": _NODE_CAPACITY}},
                "storageClassName": "",
                "volumeName": name,
            },
        },
    ]


def _attached_read_only(name: str, claim: str) -> dict[str, Any]:
    # A ReadOnlyMany claim attaches to several nodes only when the pod says so itself.
    return {"name": name, "persistentVolumeClaim": {"claimName": claim, "readOnly": True}}


def _mount_point(weights: WeightsPlan) -> tuple[str, str | None]:
    """Mount path and sub-path, so that the weights lie at ``weights.path``.

    Volumes are mounted as a whole wherever the path allows it: a sub-path that does not exist fails in the
    kubelet, with a message that names no field of ours.
    """
    if weights.volume != "claim":
        return WEIGHTS_DIRECTORY, None
    path = weights.path.rstrip("/")
    inside = weights.source.removeprefix("pvc://").partition("/")[2].strip("/")
    if not inside:
        return path, None
    whole = path.removesuffix(f"/{inside}")
    return (whole, None) if whole not in {path, ""} else (path, inside)

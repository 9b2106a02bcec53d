"""The volume of compiled kernels: what makes a second start on a node quick.

Engines and compilers write to their caches at any time, several processes at once; all of them rename complete files
into place on a local disk, so ranks of two groups on one node may share a directory. It is never shared over a network.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from deepseek_operator.api.names import KERNELS_LABEL, WEIGHTS_ANNOTATION
from deepseek_operator.catalog.operations.kernel_caches import kernel_cache_variables
from deepseek_operator.render.weights import directory_of_nodes

if TYPE_CHECKING:
    from deepseek_operator.plan.types import KernelCache, Plan
    from deepseek_operator.render.owner import Owner

VOLUME: Final = "deepseek-kernels"


def volume(kernels: KernelCache) -> dict[str, Any]:
    """The pod's volume."""
    return {"name": VOLUME, "persistentVolumeClaim": {"claimName": kernels.claim}}


def mount(path: str) -> dict[str, Any]:
    """One cache directory of the container; the kubelet makes the sub-path."""
    return {"name": VOLUME, "mountPath": path, "subPath": path.strip("/").replace("/", "-").lstrip(".")}


def environment(plan: Plan, directory: str) -> dict[str, str]:
    """What sends compilers' caches below one directory of the container; nothing without a volume."""
    if plan.kernels is None:
        return {}
    return {
        each.variable: f"{directory}/{each.directory}".rstrip("/")
        for each in kernel_cache_variables(plan.hardware.vendor)
    }


def kernels_volume(owner: Owner, plan: Plan) -> list[dict[str, Any]]:
    """The PersistentVolume and the claim; empty where kernels are compiled anew for every pod."""
    kernels = plan.kernels
    if kernels is None:
        return []
    about = {"image": plan.engine.image, "architecture": plan.hardware.architecture, "model": plan.model}
    return directory_of_nodes(
        owner.namespace,
        kernels.claim,
        kernels.node_path,
        labels={KERNELS_LABEL: kernels.claim},
        annotations={WEIGHTS_ANNOTATION: json.dumps(about, sort_keys=True)},
    )

"""Where the weights lie in a pod, and the init container that brings or checks them.

The hub's token reaches only ``fetch-weights``; the engine mounts the weights read-only and is told to stay
offline. Weights of ``weights.cache: node`` lie in a directory of each node behind a PersistentVolume and a
claim of the same content on every node, so that pods name a claim and pass Pod Security ``baseline``. Both
outlive the deployment on purpose: they carry no owner reference, and nothing in them depends on one
deployment, since several may share them.
"""

from __future__ import annotations

import math
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

from deepseek_operator.api.names import FETCH_CONTAINER, MANAGED_BY, MANAGED_BY_LABEL
from deepseek_operator.render.quantity import literal
from deepseek_operator.render.security import container_security

if TYPE_CHECKING:
    from deepseek_operator.api.resource import Spec
    from deepseek_operator.plan.types import Plan, WeightsPlan
    from deepseek_operator.render.owner import Owner

VOLUME: Final = "deepseek-weights"
CHECK_CONTAINER: Final = "check-weights"

_DEFAULT_REVISION: Final = "main"
_NODE_CAPACITY: Final = "1Ti"
"""Nominal: a hostPath has no limit, and a size that depended on the model could never be changed."""
_RANK_OVERHEAD: Final = 1.1
"""Claim over weights: the 5 % that ext4 keeps for root (mke2fs(8), -m), its tables, partial files."""
_PASSED_TO_FETCH: Final = frozenset(
    {
        "HF_ENDPOINT",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "NO_PROXY",
        "http_proxy",
        "https_proxy",
        "no_proxy",
        "REQUESTS_CA_BUNDLE",
        "SSL_CERT_FILE",
    }
)
"""Variables of spec.engine.env that say how to reach the hub; the fetch runs with them, too."""

_CHECK: Final = (
    'for each in "$1/config.json" "$1"/model0-mp*.safetensors; do test -f "$each" && exit 0; done\n'
    'echo "spec.weights.source: $2 has neither config.json nor model0-mp<N>.safetensors at $1 in this '
    'container; name the directory that holds the safetensors files" >&2\n'
    "exit 1\n"
)


def fetched(weights: WeightsPlan) -> bool:
    """Whether the operator brings the weights; otherwise the user's volume holds them."""
    return weights.volume in {"node", "perRank"}


def volumes(weights: WeightsPlan) -> list[dict[str, Any]]:
    """The pod's volume of weights; none where a claim template or podTemplate makes it."""
    if weights.claim is None or weights.volume in {"perRank", "mounted"}:
        return []
    source: dict[str, Any] = {"claimName": weights.claim}
    if weights.volume == "claim":
        # A ReadOnlyMany claim attaches to several nodes only when the pod says so itself.
        source["readOnly"] = True
    return [{"name": VOLUME, "persistentVolumeClaim": source}]


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


def claim_templates(weights: WeightsPlan) -> list[dict[str, Any]]:
    """The claim of each rank, with ``weights.cache: perRank``."""
    if weights.volume != "perRank":
        return []
    size = math.ceil(weights.size_gib * _RANK_OVERHEAD)
    return [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": VOLUME},
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": f"{size}Gi"}},
            },
        }
    ]


def node_volume(owner: Owner, weights: WeightsPlan) -> list[dict[str, Any]]:
    """The PersistentVolume and the claim of a directory of each node; empty for other volumes.

    A namespace has no dot in its name, so ``<namespace>.<claim>`` names one claim only.
    """
    if weights.volume != "node" or weights.claim is None or weights.node_path is None:
        return []
    name = f"{owner.namespace}.{weights.claim}"
    labels = {MANAGED_BY_LABEL: MANAGED_BY}
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "name": weights.claim}
    return [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": name, "labels": labels},
            "spec": {
                "accessModes": ["ReadWriteMany"],
                "capacity": {"storage": _NODE_CAPACITY},
                "claimRef": {**claim, "namespace": owner.namespace},
                "hostPath": {"path": weights.node_path, "type": "DirectoryOrCreate"},
                "persistentVolumeReclaimPolicy": "Retain",
            },
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": weights.claim, "namespace": owner.namespace, "labels": labels},
            "spec": {
                "accessModes": ["ReadWriteMany"],
                "resources": {"requests": {"storage": _NODE_CAPACITY}},
                "storageClassName": "",
                "volumeName": name,
            },
        },
    ]


def init_container(spec: Spec, plan: Plan, *, user_mounts: list[dict[str, Any]]) -> dict[str, Any]:
    """``fetch-weights`` where the operator brings them, else ``check-weights``; both in the engine's image.

    ``user_mounts`` are those of podTemplate: a ``path:///`` source lies in one of them.
    """
    if fetched(plan.weights):
        return _fetch_container(spec, plan)
    container: dict[str, Any] = {
        "name": CHECK_CONTAINER,
        "image": plan.engine.image,
        "command": [
            "/bin/sh",
            "-c",
            literal(_CHECK),
            CHECK_CONTAINER,
            literal(plan.weights.path),
            literal(plan.weights.source),
        ],
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
        "securityContext": container_security(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    if checked := mounts(plan.weights, read_only=True) + user_mounts:
        container["volumeMounts"] = checked
    return container


def _fetch_container(spec: Spec, plan: Plan) -> dict[str, Any]:
    weights = plan.weights
    arguments = {
        "--repository": weights.repository or weights.source.removeprefix("hf://"),
        "--revision": weights.revision or _DEFAULT_REVISION,
        "--directory": weights.path,
    }
    return {
        "name": FETCH_CONTAINER,
        "image": plan.engine.image,
        "command": ["python3", "-c", literal(_fetch_script())],
        "args": [literal(word) for pair in arguments.items() for word in pair],
        "env": _fetch_env(spec, weights),
        # Less than the engine requests: the pod as a whole asks for no more because of it.
        "resources": {"requests": {"cpu": "1", "memory": "2Gi"}},
        "securityContext": container_security(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": mounts(weights, read_only=False),
    }


def _fetch_env(spec: Spec, weights: WeightsPlan) -> list[dict[str, Any]]:
    env: list[dict[str, Any]] = [
        # Progress is written as lines by the script; the bars of the library fill a log.
        {"name": "HF_HUB_DISABLE_PROGRESS_BARS", "value": "1"},
        # The library's own caches belong on the volume, too, and not into the container's layer.
        {"name": "HF_HOME", "value": literal(f"{weights.path}/.cache/home")},
    ]
    if token := spec.weights.token_secret:
        reference = {"name": token.name, "key": token.key}
        env.append({"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": reference}})
    passed = {variable.name: variable.value for variable in spec.engine.env if variable.name in _PASSED_TO_FETCH}
    env += [{"name": name, "value": literal(value)} for name, value in passed.items() if value]
    return env


def _mount_point(weights: WeightsPlan) -> tuple[str, str | None]:
    """Mount path and sub-path, so that the weights lie at ``weights.path``.

    Volumes are mounted as a whole wherever the path allows it: a sub-path that does not exist fails in the
    kubelet, with a message that names no field of ours.
    """
    path = weights.path.rstrip("/")
    if weights.volume != "claim":
        return path, None
    inside = weights.source.removeprefix("pvc://").partition("/")[2].strip("/")
    if not inside:
        return path, None
    whole = path.removesuffix(f"/{inside}")
    return (whole, None) if whole not in {path, ""} else (path, inside)


@cache
def _fetch_script() -> str:
    return resources.files("deepseek_operator.render.scripts").joinpath("fetch_weights.py").read_text("utf-8")

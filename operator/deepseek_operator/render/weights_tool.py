"""The containers that prepare weights: fetch, convert, verify. All run this operator's own image.

They are the same in the pods of a group and in the Job that fills a shared claim: whoever comes first does the work
under the directory's lease, the others find the marker and go on in seconds. So a restarted group fetches nothing, and
one whose cache was lost fetches again by itself. The hub's token and S3's credentials reach only the container that
fetches; only the one that verifies reads the result, and reads it ahead into the page cache.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from deepseek_operator.api.names import API_PORT, CONVERT_CONTAINER, FETCH_CONTAINER, VERIFY_CONTAINER
from deepseek_operator.render.quantity import literal
from deepseek_operator.render.security import container_security
from deepseek_operator.render.weights import claimed_gib, mounts, source_mounts

if TYPE_CHECKING:
    from deepseek_operator.api.resource import Spec
    from deepseek_operator.plan.types import ConversionStep, WeightsPlan

_TOOL: Final = ("deepseek-operator", "weights")
_WORKERS: Final = "16"
"""Files that are converted at once: 16 need about 1 GiB (docs/measurements/cast.md)."""
_PROGRESS: Final = f"$(POD_IP):{API_PORT}"
"""The engine's port is free until the engine starts, is declared on the host's network, and whoever may read the
engine's metrics may read this."""
TERMINATION_LOG: Final = "/dev/termination-log"
"""Kubernetes' default terminationMessagePath."""
_PASSED_TO_FETCH: Final = frozenset(
    {
        "HF_ENDPOINT",
        "MODELSCOPE_ENDPOINT",
        "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT_URL_S3",
        "AWS_REGION",
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
"""Variables of spec.engine.env that say how to reach the source; the fetch runs with them, too."""
_TOKEN_VARIABLES: Final = {"hf://": "HF_TOKEN", "modelscope://": "MODELSCOPE_API_TOKEN"}


def containers(
    spec: Spec, weights: WeightsPlan, *, user_mounts: list[dict[str, Any]], read_ahead: bool = True
) -> list[dict[str, Any]]:
    """In the order in which they run; the last one verifies.

    ``user_mounts`` are those of podTemplate: a ``path:///`` source lies in one of them.
    """
    found = [_fetch(spec, weights)] if weights.fetched else []
    steps = weights.conversion.steps if weights.conversion else ()
    reads = weights.source_path
    for number, step in enumerate(steps):
        found.append(_convert(weights, step, reads=reads, number=number, user_mounts=user_mounts))
        reads = step.path
    return [*found, _verify(weights, user_mounts=user_mounts, read_ahead=read_ahead)]


def _fetch(spec: Spec, weights: WeightsPlan) -> dict[str, Any]:
    arguments = ["--source", weights.source, "--output", weights.source_path]
    if weights.revision:
        arguments += ["--revision", weights.revision]
    container = _container(weights, FETCH_CONTAINER, "fetch", arguments, writes=True)
    container["env"] += _way_to_the_source(spec, weights)
    if secret := spec.weights.credentials_secret:
        container["envFrom"] = [{"secretRef": {"name": secret}}]
    # Less than the engine requests: the pod as a whole asks for no more because of it.
    container["resources"] = {"requests": {"cpu": "1", "memory": "2Gi"} | _scratch(weights)}
    return container


def _convert(
    weights: WeightsPlan, step: ConversionStep, *, reads: str, number: int, user_mounts: list[dict[str, Any]]
) -> dict[str, Any]:
    arguments = ["--input", reads, "--output", step.path, "--workers", _WORKERS]
    if step.tool == "shard":
        arguments += ["--model-parallel", str(step.model_parallel)]
        arguments += ["--experts", str(step.experts)] if step.experts else []
    name = CONVERT_CONTAINER if number == 0 else f"{CONVERT_CONTAINER}-{number + 1}"
    container = _container(weights, name, step.tool, arguments, writes=True)
    container["resources"] = {"requests": {"cpu": "4", "memory": "4Gi"} | _scratch(weights)}
    container["volumeMounts"] += source_mounts(weights) + user_mounts
    return container


def _verify(weights: WeightsPlan, *, user_mounts: list[dict[str, Any]], read_ahead: bool) -> dict[str, Any]:
    arguments = [weights.path]
    if not weights.prepared:
        # Weights of the user's own carry no marker.
        arguments += ["--unmarked", "--named", weights.source]
    if read_ahead:
        arguments += ["--read-ahead"]
    arguments += ["--summary", TERMINATION_LOG]
    container = _container(weights, VERIFY_CONTAINER, "verify", arguments, writes=False)
    container["resources"] = {"requests": {"cpu": "1", "memory": "512Mi"}}
    container["volumeMounts"] += user_mounts
    if not container["volumeMounts"]:
        del container["volumeMounts"]
    return container


def _container(weights: WeightsPlan, name: str, command: str, arguments: list[str], *, writes: bool) -> dict[str, Any]:
    words = [*_TOOL, command, *arguments]
    address = {"fieldRef": {"apiVersion": "v1", "fieldPath": "status.podIP"}}
    return {
        "name": name,
        "image": weights.tool_image,
        "command": [literal(word) for word in words] + ["--progress-address", _PROGRESS],
        "env": [{"name": "POD_IP", "valueFrom": address}],
        # Directories of nodes belong to root, and engines read as root.
        "securityContext": {**container_security(), "runAsUser": 0, "runAsGroup": 0},
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": mounts(weights, read_only=not writes),
    }


def _way_to_the_source(spec: Spec, weights: WeightsPlan) -> list[dict[str, Any]]:
    env: list[dict[str, Any]] = []
    variable = next((name for scheme, name in _TOKEN_VARIABLES.items() if weights.source.startswith(scheme)), None)
    if variable and (token := spec.weights.token_secret):
        reference = {"name": token.name, "key": token.key}
        env.append({"name": variable, "valueFrom": {"secretKeyRef": reference}})
    passed = {each.name: each.value for each in spec.engine.env if each.name in _PASSED_TO_FETCH}
    return env + [{"name": name, "value": literal(value)} for name, value in passed.items() if value]


def _scratch(weights: WeightsPlan) -> dict[str, str]:
    """What the scheduler must find free on the node's own disk."""
    return {"ephemeral-storage": f"{claimed_gib(weights)}Gi"} if weights.volume == "ephemeral" else {}

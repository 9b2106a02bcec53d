"""A pod that brings a revision's image to one node: it pulls, does nothing, and ends.

It may run where the revision's ranks may (tolerations, pull secrets, labels and annotations are theirs), asks for no
accelerator, and names its node by affinity, so that scheduler, quotas and admission see it like any other pod. No
Service sends it a request: a readiness gate that nobody sets keeps it from ever being ready.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from deepseek_operator.api.names import (
    ENGINE_CONTAINER,
    PULL_CONTAINER,
    PULL_GATE,
    PULL_LABEL,
    REVISION_LABEL,
    pull_name,
)
from deepseek_operator.render.digest import short_hash
from deepseek_operator.render.owner import Owner, child, labels
from deepseek_operator.render.security import container_security, pod_security

if TYPE_CHECKING:
    from deepseek_operator.render.revision import RevisionContent

_DIGITS: Final = 10


def engine_image(revision: RevisionContent) -> str:
    """The image that a stored revision's engines run."""
    containers: list[dict[str, Any]] = revision.template["spec"]["containers"]
    return str(next(container["image"] for container in containers if container["name"] == ENGINE_CONTAINER))


def pull_pod(owner: Owner, node: str, revision: RevisionContent) -> dict[str, Any]:
    """The pod that brings a revision's image to a node; its name follows from both."""
    image, template = engine_image(revision), revision.template
    pod = child(
        owner,
        api_version="v1",
        kind="Pod",
        name=pull_name(owner.name, short_hash([node, image], length=_DIGITS)),
        labels={**template["metadata"]["labels"], **labels(owner), PULL_LABEL: owner.name},
    )
    del pod["metadata"]["labels"][REVISION_LABEL]
    pod["metadata"]["annotations"] = {**template["metadata"].get("annotations", {}), PULL_LABEL: node}
    pod["spec"] = {
        **{key: template["spec"][key] for key in ("imagePullSecrets", "tolerations") if key in template["spec"]},
        **_scheduler(revision),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "restartPolicy": "Never",
        "securityContext": pod_security(),
        "terminationGracePeriodSeconds": 1,
        "readinessGates": [{"conditionType": PULL_GATE}],
        "affinity": {"nodeAffinity": _only(node)},
        "containers": [
            {
                "name": PULL_CONTAINER,
                "image": image,
                # What the engine starts with is there; nothing else of the image is known.
                "command": ["/bin/bash", "-c", ":"],
                "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
                "securityContext": container_security(),
            }
        ],
    }
    return pod


def _scheduler(revision: RevisionContent) -> dict[str, str]:
    """The user's scheduler, but none that places groups as one: it would make a group of this pod."""
    name = revision.template["spec"].get("schedulerName")
    gang = revision.spec.get("scheduling", {}).get("gang", "none")
    return {"schedulerName": name} if name and gang == "none" else {}


def _only(node: str) -> dict[str, Any]:
    field = {"key": "metadata.name", "operator": "In", "values": [node]}
    return {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchFields": [field]}]}}

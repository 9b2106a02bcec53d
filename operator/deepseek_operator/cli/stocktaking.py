"""What keeps weights in a cluster, and the Jobs that empty it: pure functions of API objects."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from deepseek_operator.api import names
from deepseek_operator.render.security import container_security, pod_security
from deepseek_operator.render.weights import VOLUME

_EMPTY: Final = ("/bin/sh", "-c", "rm -rf /models/* && echo removed")
_DEADLINE_SECONDS: Final = 1800
_KEPT_SECONDS: Final = 3600
"""A finished Job stays so long, for its log."""
Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stock:
    """One place where weights or kernels are kept."""

    kind: Literal["node", "shared", "perRank", "kernels"]
    namespace: str
    claim: str
    uid: str
    """Of the claim; empty for a claim of the user's, which is never deleted."""
    volume: str
    """PersistentVolume of a directory of nodes."""
    source: str
    revision: str
    path: str
    """Directory in the claim, with kind shared."""
    tool: str
    """Image of the operator that filled it."""
    used_by: tuple[str, ...]
    """Deployments that would miss it."""

    @property
    def name(self) -> str:
        """What `cache prune` takes."""
        return f"{self.claim}:{self.path}" if self.path else self.claim

    def document(self) -> dict[str, Any]:
        """As `cache list -o json` tells it."""
        return {
            "name": self.name,
            "kind": self.kind,
            "namespace": self.namespace,
            "claim": self.claim,
            "source": self.source or None,
            "revision": self.revision or None,
            "usedBy": list(self.used_by),
        }


def take_stock(claims: Iterable[Body], jobs: Iterable[Body], deployments: Sequence[Body]) -> list[Stock]:
    """Everything that is kept, by namespace and name."""
    found = [each for claim in claims if (each := _of_claim(claim, deployments))]
    shared = {(each.namespace, each.name): each for job in jobs if (each := _of_job(job, deployments))}
    return sorted((*found, *shared.values()), key=lambda each: (each.namespace, each.kind, each.name))


def _of_claim(claim: Body, deployments: Sequence[Body]) -> Stock | None:
    metadata = claim["metadata"]
    labels = metadata.get("labels", {})
    about = _about(metadata)
    kind: Literal["node", "perRank", "kernels"]
    if names.WEIGHTS_LABEL in labels:
        kind, users = "node", _users(deployments, metadata, lambda weights: weights.get("claim") == metadata["name"])
    elif names.KERNELS_LABEL in labels:
        kind, users = "kernels", ()
    elif metadata["name"].startswith(f"{VOLUME}-") and names.DEPLOYMENT_LABEL in labels:
        kind = "perRank"
        users = tuple(
            each["metadata"]["name"] for each in deployments if each["metadata"]["uid"] == labels.get(names.UID_LABEL)
        )
    else:
        return None
    return Stock(
        kind=kind,
        namespace=metadata["namespace"],
        claim=metadata["name"],
        uid=metadata["uid"],
        volume=claim.get("spec", {}).get("volumeName", ""),
        source=about.get("source") or about.get("image") or "",
        revision=about.get("revision") or "",
        path="",
        tool=about.get("tool") or "",
        used_by=users,
    )


def _of_job(job: Body, deployments: Sequence[Body]) -> Stock | None:
    metadata = job["metadata"]
    about = _about(metadata)
    if not about.get("claim"):
        return None
    path = about.get("path", "").removeprefix(names.WEIGHTS_DIRECTORY).strip("/").partition("/converted/")[0]
    return Stock(
        kind="shared",
        namespace=metadata["namespace"],
        claim=about["claim"],
        uid="",
        volume="",
        source=about.get("source") or "",
        revision=about.get("revision") or "",
        path=path,
        tool=about.get("tool") or "",
        used_by=_users(
            deployments,
            metadata,
            lambda weights: (weights.get("claim"), weights.get("revision")) == (about["claim"], about.get("revision")),
        ),
    )


def _users(deployments: Sequence[Body], metadata: Body, uses: Any) -> tuple[str, ...]:
    return tuple(
        each["metadata"]["name"]
        for each in deployments
        if each["metadata"]["namespace"] == metadata["namespace"]
        and uses(each.get("status", {}).get("plan", {}).get("weights", {}))
    )


def _about(metadata: Body) -> dict[str, Any]:
    try:
        found = json.loads(metadata.get("annotations", {}).get(names.WEIGHTS_ANNOTATION, "{}"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def emptying_job(stock: Stock, *, image: str, node: str | None) -> dict[str, Any]:
    """A Job that removes what is kept, on one node where it lies on nodes."""
    key = hashlib.sha256(f"{stock.name}\0{node}".encode()).hexdigest()[:10]
    directory = f"{names.WEIGHTS_DIRECTORY}/{stock.path}".rstrip("/")
    command = list(_EMPTY) if stock.kind == "kernels" else ["deepseek-operator", "weights", "remove", directory]
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": pod_security(),
        "tolerations": [{"operator": "Exists"}],
        "containers": [
            {
                "name": "prune",
                "image": image,
                "command": command,
                "securityContext": {**container_security(), "runAsUser": 0, "runAsGroup": 0},
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "volumeMounts": [{"name": VOLUME, "mountPath": names.WEIGHTS_DIRECTORY}],
            }
        ],
        "volumes": [{"name": VOLUME, "persistentVolumeClaim": {"claimName": stock.claim}}],
    }
    if node is not None:
        fields = [{"key": "metadata.name", "operator": "In", "values": [node]}]
        pod["affinity"] = {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchFields": fields}]}
            }
        }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": f"prune-{key}", "namespace": stock.namespace},
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": _DEADLINE_SECONDS,
            "ttlSecondsAfterFinished": _KEPT_SECONDS,
            "template": {"spec": pod},
        },
    }


def nothing_there(message: str) -> bool:
    """Whether a Job failed because its node keeps nothing."""
    return "holds no weights" in message

"""API objects to records: what the cache keeps of each body. Pure, tolerant of absent fields."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from typing import Any, Final, Literal

from deepseek_operator.api import names
from deepseek_operator.lifecycle.records import (
    ChildRecord,
    ContainerRecord,
    DeploymentRecord,
    PodRecord,
    RevisionRecord,
    StatefulSetRecord,
)
from deepseek_operator.render.digest import owned_fields

MESSAGE_LIMIT = 400
_STATES: Final[tuple[Literal["waiting", "running", "terminated"], ...]] = ("waiting", "running", "terminated")
Body = Mapping[str, Any]


def project_deployment(body: Body) -> DeploymentRecord:
    """A DeepSeekDeployment."""
    metadata = body["metadata"]
    return DeploymentRecord(
        name=metadata["name"],
        namespace=metadata["namespace"],
        uid=metadata["uid"],
        generation=metadata.get("generation", 0),
        resource_version=int(metadata["resourceVersion"]),
        deleting="deletionTimestamp" in metadata,
        spec=_plain(body.get("spec", {})),
        status=_plain(body.get("status", {})),
    )


def project_child(body: Body) -> ChildRecord:
    """A Service, NetworkPolicy or PodDisruptionBudget."""
    return ChildRecord(**_child_fields(body))


def project_stateful_set(body: Body) -> StatefulSetRecord:
    """A group's StatefulSet."""
    metadata, spec, status = body["metadata"], body["spec"], body.get("status", {})
    annotations = metadata.get("annotations", {})
    template_labels = spec["template"]["metadata"].get("labels", {})
    return StatefulSetRecord(
        **_child_fields(body),
        # Of the selector, which nobody can change, rather than of the labels.
        group=int(spec["selector"].get("matchLabels", {}).get(names.GROUP_LABEL, -1)),
        replicas=spec.get("replicas", 1),
        current_replicas=status.get("replicas", 0),
        observed=status.get("observedGeneration", 0) >= metadata.get("generation", 0),
        incarnation=int(template_labels.get(names.INCARNATION_LABEL, 0)),
        revision=template_labels.get(names.REVISION_LABEL, ""),
        template_hash=annotations.get(names.TEMPLATE_HASH_ANNOTATION, ""),
        immutable_hash=annotations.get(names.IMMUTABLE_HASH_ANNOTATION, ""),
    )


def project_revision(body: Body) -> RevisionRecord:
    """One of our ControllerRevisions."""
    return RevisionRecord(
        **_child_fields(body),
        revision=body["metadata"].get("labels", {}).get(names.REVISION_LABEL, ""),
        number=body.get("revision", 0),
        content=_pack(body.get("data", {})),
    )


def project_pod(body: Body) -> PodRecord:
    """One rank's pod."""
    metadata, spec, status = body["metadata"], body["spec"], body.get("status", {})
    labels = metadata.get("labels", {})
    conditions = {c["type"]: c for c in status.get("conditions", ())}
    scheduled = conditions.get("PodScheduled", {})
    inits = [_container(c) for c in status.get("initContainerStatuses", ())]
    unfinished = [c for c in inits if not (c.state == "terminated" and c.exit_code == 0)]
    engine = next((c for c in status.get("containerStatuses", ()) if c["name"] == names.ENGINE_CONTAINER), None)
    has_inits = bool(spec.get("initContainers"))
    return PodRecord(
        name=metadata["name"],
        uid=metadata["uid"],
        group=int(labels.get(names.GROUP_LABEL, -1)),
        rank=int(labels.get(names.POD_INDEX_LABEL, metadata["name"].rpartition("-")[2])),
        incarnation=int(labels.get(names.INCARNATION_LABEL, 0)),
        node=spec.get("nodeName", ""),
        phase=status.get("phase", "Pending"),
        phase_reason=status.get("reason", ""),
        deleting="deletionTimestamp" in metadata,
        ready=conditions.get("Ready", {}).get("status") == "True",
        scheduled=bool(spec.get("nodeName")),
        waiting_message=scheduled.get("message", "")[:MESSAGE_LIMIT],
        fetching=has_inits and (not inits or bool(unfinished)) and status.get("phase") == "Pending",
        init_reason=unfinished[0].reason if unfinished and unfinished[0].state == "waiting" else "",
        engine=_container(engine) if engine else ContainerRecord(),
    )


def _child_fields(body: Body) -> dict[str, Any]:
    metadata = body["metadata"]
    owners = metadata.get("ownerReferences", ())
    return {
        "kind": body["kind"],
        "name": metadata["name"],
        "uid": metadata["uid"],
        "owner": next((owner["uid"] for owner in owners if owner.get("controller")), ""),
        "resource_version": int(metadata["resourceVersion"]),
        "desired_hash": metadata.get("annotations", {}).get(names.DESIRED_HASH_ANNOTATION, ""),
        "owned_fields": _pack(owned_fields(_plain(metadata.get("managedFields", ())))),
    }


def _container(status: Body) -> ContainerRecord:
    state = status.get("state", {})
    name: Literal["waiting", "running", "terminated", "unknown"] = next(
        (known for known in _STATES if known in state), "unknown"
    )
    detail = state.get(name, {})
    ended = detail if name == "terminated" else status.get("lastState", {}).get("terminated", {})
    return ContainerRecord(
        state=name,
        reason=detail.get("reason") or ended.get("reason", ""),
        started=bool(status.get("started")),
        restarts=status.get("restartCount", 0),
        exit_code=ended.get("exitCode"),
        message=(detail.get("message") or ended.get("message", ""))[-MESSAGE_LIMIT:],
    )


def _pack(value: Any) -> bytes:
    return zlib.compress(json.dumps(value, sort_keys=True, separators=(",", ":"), default=_plain).encode(), 1)


def _plain(value: Any) -> Any:
    """Framework views (kopf's bodies) as plain dicts and lists."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value

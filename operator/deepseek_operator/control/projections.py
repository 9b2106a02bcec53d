"""API objects to records: what the cache keeps of each body. Pure, tolerant of absent fields."""

from __future__ import annotations

import json
import re
import sys
import zlib
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, Literal

from deepseek_operator.api import names
from deepseek_operator.catalog.operations.load import load_operations
from deepseek_operator.lifecycle.clock import moment, stamp
from deepseek_operator.lifecycle.masking import masked
from deepseek_operator.lifecycle.records import (
    BatchRecord,
    ChildRecord,
    ContainerRecord,
    DeploymentRecord,
    JobRecord,
    NodeRecord,
    PodRecord,
    PullRecord,
    RevisionRecord,
    StatefulSetRecord,
)
from deepseek_operator.lifecycle.stages import CONFIG_REASONS, IMAGE_REASONS
from deepseek_operator.render.digest import owned_fields

MESSAGE_LIMIT = 400
_POD_NAME: Final = re.compile(r"((.+)-g([0-9]{1,4}))-([0-9]{1,4})(-[a-z0-9]{5})?")
"""A StatefulSet's pods have their index at the end, an Indexed Job's a random word after it."""
OUT_OF_SERVICE: Final = "node.kubernetes.io/out-of-service"
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
        paused=metadata.get("annotations", {}).get(names.PAUSED_ANNOTATION) == "true",
    )


def project_node(body: Body) -> NodeRecord:
    """A node, as far as the groups on it are concerned."""
    conditions = body.get("status", {}).get("conditions", ())
    ready = next((c for c in conditions if c["type"] == "Ready"), {"status": "True"})
    taints = tuple(sorted(taint["key"] for taint in body.get("spec", {}).get("taints", ())))
    agents = load_operations().node_conditions
    return NodeRecord(
        name=body["metadata"]["name"],
        out_of_service=OUT_OF_SERVICE in taints,
        not_ready_since=ready.get("lastTransitionTime", "") if ready["status"] != "True" else "",
        taints=taints,
        ill=tuple(sorted(_told(c) for c in conditions if c["status"] == agents.get(c["type"]))),
        offered=_devices(body.get("status", {}).get("allocatable", {})),
    )


def _told(condition: Body) -> str:
    """A condition of a node without its message, which some agents renew at each heartbeat."""
    reason = condition.get("reason", "")
    return f"{condition['type']}={condition['status']}" + (f" ({reason})" if reason else "")


def _devices(amounts: Body) -> tuple[tuple[str, int], ...]:
    """Extended resources, which are whole numbers; what the kubelet itself offers has no domain."""
    return tuple(
        (sys.intern(name), int(amount))
        for name, amount in sorted(amounts.items())
        if "/" in name and str(amount).isdecimal()
    )


def _unhealthy(status: Body) -> str:
    """Devices that KEP-4680 reports unhealthy, by resource: ``nvidia.com/gpu GPU-1 is unhealthy (message)``."""
    told = [
        f"{resource['name']} {each.get('resourceID', '')} is unhealthy"
        + (f" ({each['message']})" if each.get("message") else "")
        for resource in status.get("allocatedResourcesStatus", ())
        for each in resource.get("resources", ())
        if each.get("health") == "Unhealthy"
    ]
    return masked("; ".join(told))[:MESSAGE_LIMIT]


def project_child(body: Body) -> ChildRecord:
    """A Service, NetworkPolicy or PodDisruptionBudget."""
    return ChildRecord(**_child_fields(body))


def project_stateful_set(body: Body) -> StatefulSetRecord:
    """A group's StatefulSet."""
    metadata, spec, status = body["metadata"], body["spec"], body.get("status", {})
    return StatefulSetRecord(
        **_workload_fields(body),
        replicas=spec.get("replicas", 1),
        current_replicas=status.get("replicas", 0),
        observed=status.get("observedGeneration", 0) >= metadata.get("generation", 0),
    )


def project_job(body: Body) -> BatchRecord | JobRecord:
    """A group's Job, or the one that fills a shared claim."""
    return _batch(body) if _group(body) >= 0 else _filling(body)


def _filling(body: Body) -> JobRecord:
    """The Job that fills a shared claim."""
    conditions = {c["type"]: c for c in body.get("status", {}).get("conditions", ()) if c.get("status") == "True"}
    trouble = conditions.get("Failed") or conditions.get("Suspended") or {}
    return JobRecord(
        **_child_fields(body),
        complete="Complete" in conditions,
        trouble=str(trouble.get("message", ""))[:MESSAGE_LIMIT],
    )


def _batch(body: Body) -> BatchRecord:
    conditions = {c["type"]: c for c in body.get("status", {}).get("conditions", ()) if c["status"] == "True"}
    failed = conditions.get("Failed", {})
    return BatchRecord(
        **_workload_fields(body),
        replicas=body["spec"].get("parallelism", 1),
        completed="Complete" in conditions,
        failed=(failed.get("reason") or "JobFailed") if failed else "",
        failed_message=failed.get("message", "")[:MESSAGE_LIMIT],
    )


def _group(body: Body) -> int:
    """From the name, which nobody can change: a spoilt label must show as drift, not as a lost group."""
    return _number(body["metadata"]["name"].rpartition("-g")[2], default=-1)


def _workload_fields(body: Body) -> dict[str, Any]:
    metadata = body["metadata"]
    annotations = metadata.get("annotations", {})
    template_labels = body["spec"]["template"]["metadata"].get("labels", {})
    return {
        **_child_fields(body),
        "group": _group(body),
        "incarnation": _number(template_labels.get(names.INCARNATION_LABEL), default=0),
        "revision": template_labels.get(names.REVISION_LABEL, ""),
        "template_hash": annotations.get(names.TEMPLATE_HASH_ANNOTATION, ""),
        "immutable_hash": annotations.get(names.IMMUTABLE_HASH_ANNOTATION, ""),
    }


def project_revision(body: Body) -> RevisionRecord:
    """One of our ControllerRevisions."""
    return RevisionRecord(
        **_child_fields(body),
        revision=body["metadata"].get("labels", {}).get(names.REVISION_LABEL, ""),
        number=body.get("revision", 0),
        content=pack(body.get("data", {})),
    )


def project_pod(body: Body) -> PodRecord:
    """One rank's pod."""
    metadata, spec, status = body["metadata"], body["spec"], body.get("status", {})
    labels = metadata.get("labels", {})
    conditions = {c["type"]: c for c in status.get("conditions", ())}
    scheduled = conditions.get("PodScheduled", {})
    deployment, group, rank = _place(metadata)
    # A group's own Job has ranks, whose steps are all init containers; another Job's last step is its container.
    job = _job(metadata) if rank < 0 else ""
    steps = [*status.get("initContainerStatuses", ()), *(status.get("containerStatuses", ()) if job else ())]
    inits = [(c["name"], _container(c)) for c in steps]
    unfinished = [(name, c) for name, c in inits if not (c.state == "terminated" and c.exit_code == 0)]
    step, first = unfinished[0] if unfinished else ("", ContainerRecord())
    engine = next((c for c in status.get("containerStatuses", ()) if c["name"] == names.ENGINE_CONTAINER), None)
    has_inits = bool(spec.get("initContainers"))
    return PodRecord(
        name=metadata["name"],
        namespace=metadata["namespace"],
        deployment=deployment,
        uid=metadata["uid"],
        group=group,
        rank=rank,
        incarnation=_number(labels.get(names.INCARNATION_LABEL), default=0),
        node=spec.get("nodeName", ""),
        phase=status.get("phase", "Pending"),
        phase_reason=status.get("reason", ""),
        deleting="deletionTimestamp" in metadata,
        ready=conditions.get("Ready", {}).get("status") == "True",
        scheduled=bool(spec.get("nodeName")),
        waiting_message=scheduled.get("message", "")[:MESSAGE_LIMIT],
        fetching=has_inits
        and (not inits or bool(unfinished))
        and status.get("phase") == "Pending"
        and step != names.PREFLIGHT_CONTAINER,
        init_reason=first.reason if first.state == "waiting" else "",
        init_message=first.message if step != names.PREFLIGHT_CONTAINER else "",
        preflight=dict(inits).get(names.PREFLIGHT_CONTAINER, ContainerRecord()),
        engine=_container(engine) if engine else ContainerRecord(),
        created=metadata.get("creationTimestamp", ""),
        ready_changed=conditions.get("Ready", {}).get("lastTransitionTime") or "",
        terminating_until=metadata.get("deletionTimestamp", ""),
        deletion_asked=_deletion_asked(metadata),
        disruption=_true(conditions.get("DisruptionTarget", {})).get("reason", ""),
        ip=status.get("podIP", ""),
        devices=_engine_devices(spec),
        unhealthy=_unhealthy(engine or {}),
        job=job,
        step=step,
        read_rate=_read_rate(inits),
    )


def project_pull(body: Body) -> PullRecord:
    """A pod that only brings an image to a node."""
    metadata, spec, status = body["metadata"], body["spec"], body.get("status", {})
    owners = metadata.get("ownerReferences", ())
    (container,) = status.get("containerStatuses") or ({},)
    state, message = _pull_state(status, container)
    return PullRecord(
        name=metadata["name"],
        namespace=metadata["namespace"],
        uid=metadata["uid"],
        owner=next((owner["uid"] for owner in owners if owner.get("controller")), ""),
        node=metadata.get("annotations", {}).get(names.PULL_LABEL, ""),
        image=spec["containers"][0]["image"],
        state=state,
        message=masked(message)[:MESSAGE_LIMIT],
        created=metadata.get("creationTimestamp", ""),
        deleting="deletionTimestamp" in metadata,
    )


def _pull_state(status: Body, container: Body) -> tuple[Literal["waiting", "pulled", "failing", "ended"], str]:
    """A kubelet pulls first: whatever becomes of the container, once it is made the image is there."""
    state = container.get("state", {})
    waiting = state.get("waiting", {})
    if "running" in state or "terminated" in state or waiting.get("reason") in CONFIG_REASONS:
        return "pulled", ""
    if waiting.get("reason") in IMAGE_REASONS:
        return "failing", f"{waiting['reason']}: {waiting.get('message', '')}".rstrip(": ")
    if status.get("phase") == "Failed":
        return "ended", f"{status.get('reason', 'Failed')}: {status.get('message', '')}".rstrip(": ")
    scheduled: Body = next((c for c in status.get("conditions", ()) if c["type"] == "PodScheduled"), {})
    return "waiting", scheduled.get("message", "") if scheduled.get("status") != "True" else ""


def _engine_devices(spec: Body) -> tuple[tuple[str, int], ...]:
    for container in spec.get("containers", ()):
        if container["name"] == names.ENGINE_CONTAINER:
            return _devices(container.get("resources", {}).get("limits", {}))
    return ()


def _deletion_asked(metadata: Body) -> str:
    """The API server keeps the end of the grace, not its beginning."""
    if until := metadata.get("deletionTimestamp"):
        grace = timedelta(seconds=metadata.get("deletionGracePeriodSeconds") or 0)
        return stamp(moment(until) - grace)
    return ""


def _job(metadata: Body) -> str:
    """The Job that a pod belongs to."""
    owner = next((each for each in metadata.get("ownerReferences", ()) if each.get("controller")), None)
    return str(owner["name"]) if owner and owner["kind"] == "Job" else ""


def _read_rate(steps: Sequence[tuple[str, ContainerRecord]]) -> int:
    """What the verifying container told of the volume when it ended well (weights verify --summary)."""
    words = next((c.message for name, c in steps if name == names.VERIFY_CONTAINER and c.exit_code == 0), "")
    try:
        rate = json.loads(words)["bytesPerSecond"]
    except (ValueError, TypeError, KeyError):
        return 0
    return rate if isinstance(rate, int) and rate > 0 else 0


def _place(metadata: Body) -> tuple[str, int, int]:
    """Deployment, group and rank of a pod ``x-g0-1`` or ``x-g0-1-abcde``.

    Its controller is the StatefulSet or the Job ``x-g0``. A StatefulSet's may have none: one that was orphaned is still
    a rank of the group. A copy that somebody made with our labels has another name, or no controller.
    """
    found = _POD_NAME.fullmatch(metadata["name"])
    owner = next((each for each in metadata.get("ownerReferences", ()) if each.get("controller")), None)
    if found is None:
        return "", -1, -1
    kind = "Job" if found[5] else "StatefulSet"
    if (owner or found[5]) and (owner is None or (owner["kind"], owner["name"]) != (kind, found[1])):
        return "", -1, -1
    return found[2], int(found[3]), int(found[4])


def _child_fields(body: Body) -> dict[str, Any]:
    metadata = body["metadata"]
    owners = metadata.get("ownerReferences", ())
    return {
        "kind": body["kind"],
        "name": metadata["name"],
        "namespace": metadata["namespace"],
        "uid": metadata["uid"],
        "owner": next((owner["uid"] for owner in owners if owner.get("controller")), ""),
        "resource_version": int(metadata["resourceVersion"]),
        "desired_hash": metadata.get("annotations", {}).get(names.DESIRED_HASH_ANNOTATION, ""),
        "owned_fields": pack(owned_fields(_plain(metadata.get("managedFields", ())))),
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
        # Masked before it is cut: half a key is still a key.
        # While it waits for its next try, the kubelet's own words would hide the last ones.
        message=masked(_spoken(detail, ended))[-MESSAGE_LIMIT:],
        since=ended.get("finishedAt") or detail.get("startedAt") or "",
    )


def _spoken(detail: Body, ended: Body) -> str:
    own = "" if detail.get("reason") == "CrashLoopBackOff" else detail.get("message")
    return str(own or ended.get("message") or detail.get("message") or "")


def _true(condition: Body) -> Body:
    return condition if condition.get("status") == "True" else {}


def _number(text: str | None, *, default: int) -> int:
    """A number that others may have written; it must not stop the operator when it is none."""
    return int(text) if text and text.isdecimal() else default


def pack(value: Any) -> bytes:
    """Compressed JSON, as the cache keeps large parts of objects."""
    return zlib.compress(json.dumps(value, sort_keys=True, separators=(",", ":"), default=_plain).encode(), 1)


def _plain(value: Any) -> Any:
    """Framework views (kopf's bodies) as plain dicts and lists."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value

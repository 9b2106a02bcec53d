"""API objects as the server sends them, small but with every field that projections read."""

from __future__ import annotations

from typing import Any

from deepseek_operator.api import names

Body = dict[str, Any]


def deployment(*, version: int = 1, uid: str = "cr", **fields: Any) -> Body:
    metadata = {"name": "x", "namespace": "default", "uid": uid, "resourceVersion": str(version), "generation": 1}
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": metadata,
        "spec": {"model": "deepseek-ai/DeepSeek-V3-0324"},
        **fields,
    }


def _owned(kind: str, name: str, *, version: int, labels: dict[str, str], uid: str, owner: str) -> Body:
    return {
        "apiVersion": "v1",
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": "default",
            "uid": uid,
            "resourceVersion": str(version),
            "labels": {names.MANAGED_BY_LABEL: names.MANAGED_BY, **labels},
            "ownerReferences": [{"uid": owner, "controller": True, "kind": names.KIND, "name": "x"}],
        },
    }


def service(*, version: int = 1, name: str = "x", uid: str = "svc", label: str = "cr", owner: str = "cr") -> Body:
    body = _owned("Service", name, version=version, labels={names.UID_LABEL: label}, uid=uid, owner=owner)
    body["metadata"]["annotations"] = {names.DESIRED_HASH_ANNOTATION: "hash"}
    body["metadata"]["managedFields"] = [
        {"manager": names.FIELD_MANAGER, "operation": "Apply", "fieldsV1": {"f:spec": {"f:ports": {}}}}
    ]
    return body


def stateful_set(*, version: int = 1, group: int = 0, **changes: Any) -> Body:
    labels = {names.UID_LABEL: "cr", names.GROUP_LABEL: str(group)}
    body = _owned("StatefulSet", f"x-g{group}", version=version, labels=labels, uid=f"sts-{group}", owner="cr")
    body["metadata"] |= {
        "generation": 3,
        "annotations": {names.TEMPLATE_HASH_ANNOTATION: "t1", names.IMMUTABLE_HASH_ANNOTATION: "i1"},
    }
    template_labels = {names.INCARNATION_LABEL: "2", names.REVISION_LABEL: "r1"}
    body["spec"] = {"replicas": 2, "template": {"metadata": {"labels": template_labels}}}
    body["status"] = {"replicas": 2, "observedGeneration": 3}
    return body | changes


def job(*, version: int = 1, name: str = "x-weights-1") -> Body:
    body = _owned("Job", name, version=version, labels={names.UID_LABEL: "cr"}, uid=f"job-{name}", owner="cr")
    return body | {"spec": {}, "status": {}}


def revision(*, version: int = 1, number: int = 1) -> Body:
    labels = {names.REVISION_OF_LABEL: "cr", names.REVISION_LABEL: f"r{number}"}
    body = _owned("ControllerRevision", f"x-r{number}", version=version, labels=labels, uid=f"rev-{number}", owner="cr")
    return body | {"revision": number, "data": {"hash": f"r{number}"}}


def pod(rank: int = 0, *, version: int = 1, group: int = 0, node: str = "node-0", label: str = "cr") -> Body:
    labels = {
        names.UID_LABEL: label,
        names.GROUP_LABEL: str(group),
        names.INCARNATION_LABEL: "2",
        names.POD_INDEX_LABEL: str(rank),
    }
    body = _owned("Pod", f"x-g{group}-{rank}", version=version, labels=labels, uid=f"pod-{group}-{rank}", owner="sts-0")
    body["metadata"]["ownerReferences"][0] |= {"kind": "StatefulSet", "name": f"x-g{group}"}
    body["spec"] = {"nodeName": node} if node else {}
    body["status"] = {
        "phase": "Running",
        "conditions": [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "True"}],
        "containerStatuses": [
            {"name": "engine", "state": {"running": {}}, "started": True, "restartCount": 0},
        ],
    }
    return body


def node(name: str = "node-0", *, version: int = 1, uid: str = "", **changes: Any) -> Body:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "uid": uid or f"uid-of-{name}",
            "resourceVersion": str(version),
            "labels": {"kubernetes.io/arch": "amd64"},
        },
        "spec": {},
        "status": {"allocatable": {"nvidia.com/gpu": "8"}, "conditions": [{"type": "Ready", "status": "True"}]},
    } | changes

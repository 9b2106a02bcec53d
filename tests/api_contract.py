"""What the operator's writes rest on, asked of a server by the operator's own client.

The real API server and the unit tests' stand-in must give the same answers: else the stand-in proves nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from deepseek_operator.api.names import FIELD_MANAGER, GROUP
from deepseek_operator.control import kinds
from deepseek_operator.control.client import JSON_PATCH, MERGE_PATCH, ApiError, KubeClient

KIND = kinds.BUDGET
OTHER = "00000000-0000-4000-8000-000000000000"

EXPECTED = {
    "POST of a new name": "done",
    "POST of a taken name": "ConflictError 409 AlreadyExists",
    "POST is recorded as Update": "Update",
    "apply with its UID": "done",
    "apply without renaming keeps what was dropped": "kept",
    "a second entry is made": "Apply, Update",
    "apply with another UID": "ConflictError 422 Invalid",
    "apply with the UID of a missing object": "ConflictError 409 Conflict",
    "JSON patch whose test fails": "ApiError 422 Invalid",
    "JSON patch whose tests of UID and label hold": "done",
    "JSON patch with another UID": "ApiError 422 Invalid",
    "JSON patch with another label": "ApiError 422 Invalid",
    "JSON patch with a label that is missing": "ApiError 422 Invalid",
    "JSON patch whose test fails is told by": "the server rejected our request due to an error in our request",
    "JSON patch of a missing object": "NotFoundError 404 NotFound",
    "renaming Update to Apply": "Apply",
    "apply with its version": "done",
    "apply with a stale version": "ConflictError 409 Conflict",
    "apply after renaming drops what was dropped": "gone",
    "apply of the same again changes no version": "same",
    "merge patch with its UID": "done",
    "merge patch with another UID": "ConflictError 422 Invalid",
    "merge patch of a missing object": "NotFoundError 404 NotFound",
    "PUT with its version": "done",
    "PUT drops what it leaves out": "gone",
    "PUT with a stale version": "ConflictError 409 Conflict",
    "PUT with another UID": "ConflictError 409 Conflict",
    "DELETE with another UID": "ConflictError 409 Conflict",
    "DELETE with its UID": "done",
    "DELETE of a missing object": "done",
    "GET of a missing object": "NotFoundError 404 NotFound",
    "metadata-only list of nothing": "0 items",
}


async def answers(client: KubeClient, namespace: str) -> dict[str, str]:  # noqa: PLR0915 - one story, in order
    """Each question with the answer of the server behind the client."""
    found: dict[str, str] = {}

    def wanted(*, labels: dict[str, str], uid: str | None = None, name: str = "x", **extra: Any) -> dict[str, Any]:
        metadata = {"name": name, "namespace": namespace, "labels": labels, **({"uid": uid} if uid else {}), **extra}
        spec = {"maxUnavailable": 0, "selector": {"matchLabels": {"app": "x"}}}
        return {"apiVersion": KIND.api_version, "kind": KIND.kind, "metadata": metadata, "spec": spec}

    async def live() -> dict[str, Any]:
        return await client.get(KIND, namespace, "x")

    async def entries() -> list[str]:
        managed = (await live())["metadata"]["managedFields"]
        return sorted(e["operation"] for e in managed if e["manager"] == FIELD_MANAGER)

    found["POST of a new name"] = await _told(client.create(KIND, wanted(labels={"a": "1", "b": "1"})))
    found["POST of a taken name"] = await _told(client.create(KIND, wanted(labels={})))
    found["POST is recorded as Update"] = ", ".join(await entries())
    uid = (await live())["metadata"]["uid"]
    found["apply with its UID"] = await _told(client.apply(KIND, wanted(labels={"a": "1"}, uid=uid)))
    labels = (await live())["metadata"]["labels"]
    found["apply without renaming keeps what was dropped"] = "kept" if "b" in labels else "gone"
    found["a second entry is made"] = ", ".join(await entries())
    found["apply with another UID"] = await _told(client.apply(KIND, wanted(labels={}, uid=OTHER)))
    missing = wanted(labels={}, uid=OTHER, name="missing")
    found["apply with the UID of a missing object"] = await _told(client.apply(KIND, missing))
    await client.delete(KIND, namespace, "x", uid=uid)
    await client.create(KIND, wanted(labels={"a": "1", "b": "1", f"{GROUP}/c": "1"}))
    uid = (await live())["metadata"]["uid"]
    for title, name, tests in (
        ("JSON patch whose tests of UID and label hold", "x", (uid, "c", "1")),
        ("JSON patch with another UID", "x", (OTHER, "c", "1")),
        ("JSON patch with another label", "x", (uid, "c", "2")),
        ("JSON patch with a label that is missing", "x", (uid, "d", "1")),
        ("JSON patch of a missing object", "missing", (uid, "c", "1")),
    ):
        found[title] = await _told(_guarded(client, namespace, name, *tests))
    try:
        await _rename(client, namespace, version="0")
    except ApiError as error:
        found["JSON patch whose test fails is told by"] = str(error).partition(": ")[2]
    found["JSON patch whose test fails"] = await _told(_rename(client, namespace, version="0"))
    version = (await live())["metadata"]["resourceVersion"]
    await _rename(client, namespace, version=version)
    found["renaming Update to Apply"] = ", ".join(await entries())
    await client.apply(KIND, wanted(labels={"a": "1"}, uid=uid))
    labels = (await live())["metadata"]["labels"]
    found["apply after renaming drops what was dropped"] = "kept" if "b" in labels else "gone"
    version = (await live())["metadata"]["resourceVersion"]
    found["apply with its version"] = await _told(
        client.apply(KIND, wanted(labels={"a": "1"}, uid=uid, resourceVersion=version))
    )
    found["apply with a stale version"] = await _told(
        client.apply(KIND, wanted(labels={"a": "2"}, uid=uid, resourceVersion="1"))
    )
    await client.apply(KIND, wanted(labels={"a": "1"}, uid=uid))
    same = version == (await live())["metadata"]["resourceVersion"]
    found["apply of the same again changes no version"] = "same" if same else "another"
    found["merge patch with its UID"] = await _told(_merge(client, namespace, "x", uid))
    found["merge patch with another UID"] = await _told(_merge(client, namespace, "x", OTHER))
    found["merge patch of a missing object"] = await _told(_merge(client, namespace, "missing", OTHER))
    current = (await live())["metadata"]["resourceVersion"]
    found["PUT with its version"] = await _told(
        client.replace(KIND, wanted(labels={"z": "1"}, uid=uid, resourceVersion=current))
    )
    labels = (await live())["metadata"]["labels"]
    found["PUT drops what it leaves out"] = "kept" if "a" in labels else "gone"
    stale = wanted(labels={}, uid=uid, resourceVersion=version)
    found["PUT with a stale version"] = await _told(client.replace(KIND, stale))
    fresh = (await live())["metadata"]["resourceVersion"]
    other = wanted(labels={}, uid=OTHER, resourceVersion=fresh)
    found["PUT with another UID"] = await _told(client.replace(KIND, other))
    found["DELETE with another UID"] = await _told(client.delete(KIND, namespace, "x", uid=OTHER))
    found["DELETE with its UID"] = await _told(client.delete(KIND, namespace, "x", uid=uid))
    found["DELETE of a missing object"] = await _told(client.delete(KIND, namespace, "x", uid=uid))
    found["GET of a missing object"] = await _told(live())
    pages = [page async for page in client.pages(KIND, namespace=namespace, metadata_only=True)]
    found["metadata-only list of nothing"] = f"{sum(len(page['items']) for page in pages)} items"
    return found


async def _told(call: Awaitable[object]) -> str:
    try:
        await call
    except ApiError as error:
        return f"{type(error).__name__} {error.status} {error.reason}"
    return "done"


async def _rename(client: KubeClient, namespace: str, *, version: str) -> None:
    patch = [
        {"op": "test", "path": "/metadata/resourceVersion", "value": version},
        {"op": "replace", "path": "/metadata/managedFields/0/operation", "value": "Apply"},
    ]
    await client.patch(KIND, namespace, "x", patch, content_type=JSON_PATCH)


async def _guarded(client: KubeClient, namespace: str, name: str, uid: str, label: str, value: str) -> None:
    patch = [
        {"op": "test", "path": "/metadata/uid", "value": uid},
        {"op": "test", "path": f"/metadata/labels/{GROUP.replace('/', '~1')}~1{label}", "value": value},
        {"op": "replace", "path": "/spec/maxUnavailable", "value": 0},
    ]
    await client.patch(KIND, namespace, name, patch, content_type=JSON_PATCH)


async def _merge(client: KubeClient, namespace: str, name: str, uid: str) -> None:
    patch = {"metadata": {"uid": uid}, "spec": {"maxUnavailable": 1}}
    await client.patch(KIND, namespace, name, patch, content_type=MERGE_PATCH)

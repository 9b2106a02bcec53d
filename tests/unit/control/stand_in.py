"""A stand-in for the API server: a real HTTP server on loopback that keeps objects and records what it was asked.

It is *not* Kubernetes. It answers the operator's own requests as the API server does, in the points that the writes
rest on: names taken, UIDs and resourceVersions as preconditions, server-side apply with managedFields, pages,
metadata-only lists. ``tests/api_contract.py`` asks it and the real API server the same questions and expects the same
answers (``test_stand_in.py`` here, ``tests/api/test_api_contract.py`` there).
"""

from __future__ import annotations

import asyncio
import copy
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from kubernetes.aio import client as kubernetes_client

from deepseek_operator.control.client import APPLY_PATCH, JSON_PATCH, MERGE_PATCH, KubeClient
from deepseek_operator.control.kinds import Kind
from tests.unit.lifecycle.pure_cluster import owned

Body = dict[str, Any]
_PATH = re.compile(
    r"^(?P<base>/api/v1|/apis/[^/]+/[^/]+)(/namespaces/(?P<namespace>[^/]+))?"
    r"/(?P<plural>[a-z]+)(/(?P<name>[^/]+))?(/(?P<sub>status|log))?$"
)
_OWNED_METADATA = ("labels", "annotations", "ownerReferences")
_GENERATIONLESS = frozenset({"services", "secrets", "pods", "nodes", "leases", "events", "controllerrevisions"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the server was asked."""

    method: str
    path: str
    query: Mapping[str, str]
    content_type: str
    accept: str
    body: Any

    @property
    def what(self) -> str:
        """Method and the end of the path: ``POST services``, ``PATCH services/x``."""
        match = _PATH.match(self.path)
        assert match, self.path
        parts = [match["plural"], *(part for part in (match["name"], match["sub"]) if part)]
        return f"{self.method} {'/'.join(parts)}"


@dataclass(slots=True)
class StandIn:
    """Objects by collection and name."""

    url: str = ""
    objects: dict[tuple[str, str, str], Body] = field(default_factory=dict)
    """By plural, namespace and name."""
    requests: list[Request] = field(default_factory=list)
    version: int = 0
    failures: list[tuple[str, int, str, Mapping[str, str]]] = field(default_factory=list)
    """Method, status, reason and headers of answers given instead, once each."""
    refused: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Status and reason of the answer to every such request (``POST services``), as an admission policy gives it."""
    logs: dict[tuple[str, bool], bytes] = field(default_factory=dict)
    """Of pods, by name and whether the run before the present one is meant."""
    held: dict[str, asyncio.Event] = field(default_factory=dict)
    """Requests that are not answered before the event."""

    @property
    def writes(self) -> list[str]:
        """Everything that was to change something, in order."""
        return [request.what for request in self.requests if request.method != "GET"]

    def asked(self, what: str) -> list[Request]:
        return [request for request in self.requests if request.what == what]

    def fail_next(self, method: str, status: int, reason: str, **headers: str) -> None:
        """Answer the next request of a method with an error."""
        self.failures.append((method, status, reason, headers))

    def add(self, kind: Kind, body: Body) -> Body:
        """An object that is there, whoever made it."""
        namespace = body["metadata"].get("namespace", "") if kind.namespaced else ""
        stored = copy.deepcopy(body) | {"apiVersion": kind.api_version, "kind": kind.kind}
        self.version += 1
        stored["metadata"].setdefault("uid", f"uid-{self.version}")
        stored["metadata"]["resourceVersion"] = str(self.version)
        self.objects[kind.plural, namespace, body["metadata"]["name"]] = stored
        return copy.deepcopy(stored)

    def drop(self, kind: Kind, name: str, namespace: str = "default") -> None:
        self.version += 1
        del self.objects[kind.plural, namespace if kind.namespaced else "", name]

    def find(self, kind: Kind, name: str, namespace: str = "default") -> Body:
        return self.objects[kind.plural, namespace if kind.namespaced else "", name]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        body: Any = json.loads(raw) if raw else None
        self.requests.append(
            Request(
                method=request.method,
                path=request.path,
                query=dict(request.query),
                content_type=request.content_type,
                accept=request.headers.get("Accept", ""),
                body=body,
            )
        )
        asked = self.requests[-1].what if _PATH.match(request.path) else ""
        if asked in self.held:
            await self.held[asked].wait()
        if asked in self.refused:
            return _refusal(*self.refused[asked], "a policy forbids it")
        for failure in self.failures:
            if failure[0] == request.method:
                self.failures.remove(failure)
                return _refusal(failure[1], failure[2], "as the test wants it", failure[3])
        match = _PATH.match(request.path)
        if match is None:
            return web.Response(status=404, text="404 page not found\n")
        place = (match["plural"], match["namespace"] or "", match["name"] or "")
        if not match["name"]:
            return self._create(place, request, body) if request.method == "POST" else self._list(place, request)
        if request.method == "PATCH":
            return self._patch(place, request, body)
        stored = self.objects.get(place)
        if stored is None:
            return _refusal(404, "NotFound", f'{place[0]} "{place[2]}" not found')
        if match["sub"] == "log":
            return self._log(place[2], request)
        if request.method == "PUT":
            return self._replace(place, body, status_only=match["sub"] == "status")
        if request.method == "DELETE":
            return self._delete(place, body)
        return web.json_response(stored)

    def _log(self, pod: str, request: web.Request) -> web.Response:
        previous = request.query["previous"] == "true"
        if (pod, previous) not in self.logs:
            return _refusal(400, "BadRequest", f"container in pod {pod} is not known")
        lines = self.logs[pod, previous].splitlines(keepends=True)
        return web.Response(body=b"".join(lines[-int(request.query["tailLines"]) :]))

    def _list(self, place: tuple[str, str, str], request: web.Request) -> web.Response:
        plural, namespace, _ = place
        selector = request.query.get("labelSelector", "")
        found = [
            stored
            for key, stored in sorted(self.objects.items())
            if key[0] == plural and (not namespace or key[1] == namespace) and _selected(stored, selector)
        ]
        start = int(request.query.get("continue", "0"))
        end = start + int(request.query.get("limit", "500"))
        metadata_only = "PartialObjectMetadataList" in request.headers["Accept"]
        items: list[Body] | None = [
            {"metadata": stored["metadata"]}
            if metadata_only
            else {k: v for k, v in stored.items() if k not in ("apiVersion", "kind")}
            for stored in found[start:end]
        ]
        if metadata_only and not items:
            items = None
        metadata = {"resourceVersion": str(self.version)} | ({"continue": str(end)} if end < len(found) else {})
        return web.json_response({"kind": "List", "metadata": metadata, "items": items})

    def _create(self, place: tuple[str, str, str], request: web.Request, body: Body) -> web.Response:
        place = (*place[:2], body["metadata"]["name"])
        if place in self.objects:
            return _refusal(409, "AlreadyExists", f'{place[0]} "{place[2]}" already exists')
        stored = copy.deepcopy(body)
        self._enter(stored, request.query["fieldManager"], "Update", fields_of(body))
        return web.json_response(self._store(place, stored, None), status=201)

    def _replace(self, place: tuple[str, str, str], body: Body, *, status_only: bool) -> web.Response:
        stored = self.objects[place]
        if moved := _moved(stored, body["metadata"]):
            return moved
        fresh = copy.deepcopy(stored) | {"status": body["status"]} if status_only else copy.deepcopy(body)
        given = {key: value for key, value in stored["metadata"].items() if status_only or key not in _OWNED_METADATA}
        fresh["metadata"] = {**given, **({} if status_only else body["metadata"])}
        return web.json_response(self._store(place, fresh, stored))

    def _patch(self, place: tuple[str, str, str], request: web.Request, body: Any) -> web.Response:
        stored = self.objects.get(place)
        if request.content_type == APPLY_PATCH:
            return self._apply(place, request.query["fieldManager"], body)
        if stored is None:
            return _refusal(404, "NotFound", f'{place[0]} "{place[2]}" not found')
        if request.content_type == MERGE_PATCH:
            uid = body.get("metadata", {}).get("uid", stored["metadata"]["uid"])
            if uid != stored["metadata"]["uid"]:
                return _other_uid()
            return web.json_response(self._store(place, _merged(stored, body), stored))
        assert request.content_type == JSON_PATCH
        fresh = copy.deepcopy(stored)
        for step in body:
            *path, last = [part.replace("~1", "/").replace("~0", "~") for part in step["path"].split("/")[1:]]
            node: Any = fresh
            for part in path:
                node = node[int(part)] if isinstance(node, list) else node.get(part, {})
            if step["op"] == "test" and node.get(last) != step["value"]:
                return _refusal(422, "Invalid", "the server rejected our request due to an error in our request")
            if step["op"] == "replace":
                node[last] = step["value"]
        return web.json_response(self._store(place, fresh, stored))

    def _apply(self, place: tuple[str, str, str], manager: str, body: Body) -> web.Response:
        stored = self.objects.get(place)
        uid = body["metadata"].get("uid")
        if uid and stored is None:
            return _refusal(409, "Conflict", f"uid mismatch: the provided object specified uid {uid}")
        if uid and stored and stored["metadata"]["uid"] != uid:
            return _other_uid()
        version = body["metadata"].get("resourceVersion")
        if version and stored and version != stored["metadata"]["resourceVersion"]:
            return _refusal(409, "Conflict", "the object has been modified")
        fresh = copy.deepcopy(stored) if stored else {"metadata": {}}
        wanted = {key: value for key, value in body.items() if key != "metadata"}
        entries = fresh["metadata"].get("managedFields", [])
        earlier = next((e for e in entries if (e["manager"], e["operation"]) == (manager, "Apply")), None)
        if earlier:
            others = [e["fieldsV1"] for e in entries if e is not earlier]
            _prune(fresh, earlier["fieldsV1"], fields_of(body), others)
            entries.remove(earlier)
        fresh = _merged(fresh, wanted | {"metadata": body["metadata"]})
        self._enter(fresh, manager, "Apply", fields_of(body))
        return web.json_response(self._store(place, fresh, stored), status=200 if stored else 201)

    def _delete(self, place: tuple[str, str, str], body: Body | None) -> web.Response:
        stored = self.objects[place]
        wanted = (body or {}).get("preconditions", {})
        if moved := _moved(stored, wanted):
            return moved
        self.version += 1
        del self.objects[place]
        return web.json_response({"kind": "Status", "status": "Success"})

    def _store(self, place: tuple[str, str, str], fresh: Body, before: Body | None) -> Body:
        metadata = fresh["metadata"]
        if before is not None and {**fresh, "metadata": {**metadata, "resourceVersion": ""}} == {
            **before,
            "metadata": {**before["metadata"], "resourceVersion": ""},
        }:
            return before
        self.version += 1
        metadata["uid"] = before["metadata"]["uid"] if before else f"uid-{self.version}"
        metadata["resourceVersion"] = str(self.version)
        if place[0] not in _GENERATIONLESS:
            changed = before is None or before.get("spec") != fresh.get("spec")
            metadata["generation"] = (before or {"metadata": {}})["metadata"].get("generation", 0) + changed
        self.objects[place] = fresh
        return fresh

    @staticmethod
    def _enter(body: Body, manager: str, operation: str, fields: Body) -> None:
        entry = {"manager": manager, "operation": operation, "apiVersion": body.get("apiVersion"), "fieldsV1": fields}
        body["metadata"].setdefault("managedFields", []).append(entry)


def fields_of(value: Any) -> Body:
    """The fieldsV1 of whoever wrote all of this; identity is nobody's."""
    metadata = {key: value["metadata"][key] for key in _OWNED_METADATA if key in value["metadata"]}
    return owned({**value, "metadata": metadata})


def _prune(body: Any, earlier: Mapping[str, Any], wanted: Mapping[str, Any], others: list[Mapping[str, Any]]) -> None:
    """Take out what the manager applied before, does not apply now, and nobody else owns."""
    for name, below in earlier.items():
        key = name.removeprefix("f:")
        if not isinstance(body, dict) or key not in body:
            continue
        shared = [other[name] for other in others if name in other]
        if name in wanted:
            _prune(body[key], below, wanted[name], shared)
        elif not shared:
            del body[key]


def _merged(body: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, Mapping):
        return copy.deepcopy(patch)
    result = copy.deepcopy(body) if isinstance(body, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merged(result.get(key), value)
    return result


def _moved(stored: Body, wanted: Mapping[str, Any]) -> web.Response | None:
    for key in ("uid", "resourceVersion"):
        if wanted.get(key) and wanted[key] != stored["metadata"][key]:
            return _refusal(409, "Conflict", f"Precondition failed: {key}")
    return None


def _selected(stored: Body, selector: str) -> bool:
    labels = stored["metadata"].get("labels", {})
    for term in selector.split(",") if selector else ():
        key, equals, value = term.partition("=")
        if key not in labels or (equals and labels[key] != value):
            return False
    return True


def _refusal(status: int, reason: str, message: str, headers: Mapping[str, str] | None = None) -> web.Response:
    body = {"kind": "Status", "status": "Failure", "reason": reason, "message": message, "code": status}
    return web.json_response(body, status=status, headers={k.replace("_", "-"): v for k, v in (headers or {}).items()})


def _other_uid() -> web.Response:
    cause = {"reason": "FieldValueInvalid", "field": "metadata.uid", "message": "field is immutable"}
    body = {"kind": "Status", "reason": "Invalid", "code": 422, "details": {"causes": [cause]}}
    return web.json_response(body, status=422)


@asynccontextmanager
async def serving() -> AsyncIterator[StandIn]:
    """The server on a free port of loopback."""
    server = StandIn()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[KubeClient]:
    """A client of that server."""
    client = KubeClient(kubernetes_client.ApiClient(kubernetes_client.Configuration(host=url)))
    try:
        yield client
    finally:
        await client.close()

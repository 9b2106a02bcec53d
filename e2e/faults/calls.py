"""One request to the API server, named as audit logs and RBAC name it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs, urlsplit

MUTATING: Final = frozenset({"create", "update", "patch", "delete", "deletecollection"})
LEASES: Final = "leases"
_WRITE_VERBS: Final = {"POST": "create", "PUT": "update", "PATCH": "patch"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request as it arrived."""

    method: str
    target: str
    """Path and query, as sent."""
    headers: Mapping[str, str]
    body: bytes
    verb: str
    """get, list, watch, create, update, patch, delete, deletecollection; "" for anything but a resource."""
    resource: str
    """Plural, with its subresource: ``pods/status``."""
    namespace: str
    name: str
    write: int = 0
    """Its number among the mutating requests, from 1; 0 for reads and for Leases, which tick on their own."""

    @property
    def mutating(self) -> bool:
        """Whether it asks for a change, Leases included."""
        return self.verb in MUTATING

    @property
    def label(self) -> str:
        """For people: ``patch statefulsets x-g0``."""
        # Names of Events are times.
        name = "" if self.resource == "events" else self.name
        return " ".join(part for part in (self.verb, self.resource, name) if part)


def read_call(method: str, target: str, *, headers: Mapping[str, str], body: bytes, write: int = 0) -> Call:
    """Name a request by its method, path and query (kubernetes.io, "API concepts: resource URIs")."""
    url = urlsplit(target)
    parts = [part for part in url.path.split("/") if part]
    namespace = name = resource = ""
    below = parts[2:] if parts[:1] == ["api"] else parts[3:] if parts[:1] == ["apis"] else []
    if below[:1] == ["namespaces"] and len(below) > 2:
        namespace, below = below[1], below[2:]
    if below:
        resource, name = below[0], below[1] if len(below) > 1 else ""
        resource = "/".join([resource, *below[2:]])
    verb = _verb(method, query=url.query, named=bool(name)) if resource else ""
    if verb == "create":
        name = _posted_name(body)
    return Call(
        method=method,
        target=target,
        headers=headers,
        body=body,
        verb=verb,
        resource=resource,
        namespace=namespace,
        name=name,
        write=write,
    )


def counts_as_write(call: Call) -> bool:
    """Whether the request gets a number among the writes."""
    return call.mutating and call.resource != LEASES


def _posted_name(body: bytes) -> str:
    try:
        name = json.loads(body)["metadata"]["name"]
    except (ValueError, KeyError, TypeError):
        return ""
    return str(name)


def _verb(method: str, *, query: str, named: bool) -> str:
    if method == "GET":
        if parse_qs(query).get("watch", ["false"])[0] in ("true", "1"):
            return "watch"
        return "get" if named else "list"
    if method == "DELETE":
        return "delete" if named else "deletecollection"
    return _WRITE_VERBS.get(method, "")

"""Read the API server's audit log: who wrote what, counted where it cannot be missed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MUTATING = frozenset({"create", "update", "patch", "delete", "deletecollection"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One answered request; ``resource`` is the plural with its subresource, such as ``pods/status``."""

    verb: str
    user: str
    user_agent: str
    resource: str
    namespace: str
    name: str
    code: int
    received: datetime
    """By the API server's clock."""

    @property
    def mutating(self) -> bool:
        """Whether the request asked for a change, granted or not."""
        return self.verb in MUTATING


def requests(log: Path, *, after: int = 0) -> Iterator[Request]:
    """Yield the requests in ``log`` after its first ``after`` bytes (take the file's size as a mark).

    A last line that is still being written is left out.
    """
    with log.open("rb") as lines:
        lines.seek(after)
        for line in lines:
            if line.endswith(b"\n"):
                yield _request(json.loads(line))


def writes(log: Path, *, user_agent: str, after: int = 0) -> list[Request]:
    """Return the mutating requests of clients whose user agent contains ``user_agent``, Leases excepted."""
    return [
        request
        for request in requests(log, after=after)
        if request.mutating and user_agent in request.user_agent and request.resource != "leases"
    ]


def _request(event: dict[str, Any]) -> Request:
    target = event.get("objectRef") or {}
    resource = target.get("resource", "")
    if "subresource" in target:
        resource = f"{resource}/{target['subresource']}"
    return Request(
        verb=event["verb"],
        user=event.get("user", {}).get("username", ""),
        user_agent=event.get("userAgent", ""),
        resource=resource,
        namespace=target.get("namespace", ""),
        name=target.get("name", ""),
        code=event.get("responseStatus", {}).get("code", 0),
        received=datetime.fromisoformat(event["requestReceivedTimestamp"]),
    )

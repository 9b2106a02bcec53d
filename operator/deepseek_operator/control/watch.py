"""kopf's streams into the cache: handlers that do no I/O, only note what changed and whom it concerns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import kopf

from deepseek_operator.control import kinds
from deepseek_operator.control.cache import Cache, Key

Enqueue = Callable[[kinds.Kind, set[Key]], None]
Relisted = Callable[[kinds.Kind], None]

QUIET_SECONDS = 70
"""A stream without events or bookmarks for so long is reconnected (kopf's default since 1.44)."""


class NoDiffBase(kopf.DiffBaseStorage):
    """kopf keeps no last-handled state: we compare with the cluster, not with what we saw."""

    def fetch(self, *, body: kopf.Body) -> None:
        """There is nothing to fetch."""

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: object) -> None:
        """Nothing is stored."""


class NoProgress(kopf.ProgressStorage):
    """kopf keeps no progress of handlers: ours never fail half-way."""

    def fetch(self, *, key: str, body: kopf.Body) -> None:
        """There is nothing to fetch."""

    def store(self, *, key: str, record: object, body: kopf.Body, patch: kopf.Patch) -> None:
        """Nothing is stored."""

    def purge(self, *, key: str, body: kopf.Body, patch: kopf.Patch) -> None:
        """Nothing is stored."""

    def touch(self, *, body: kopf.Body, patch: kopf.Patch, value: str | None) -> None:
        """Nothing is touched."""

    def clear(self, *, essence: Any) -> Any:
        """The essence is left as it is, without the deep copy of the default."""
        return essence


def configure(settings: kopf.OperatorSettings) -> None:
    """The settings under which kopf only logs in, watches and dispatches, and writes nothing."""
    settings.persistence.diffbase_storage = NoDiffBase()
    settings.persistence.progress_storage = NoProgress()
    settings.queueing.idle_timeout = 0.3
    settings.watching.chunk_size = 500
    settings.watching.connect_timeout = 10
    settings.watching.inactivity_timeout = QUIET_SECONDS
    settings.networking.request_timeout = 30
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.scanning.disabled = True
    settings.process.ultimate_exiting_timeout = 20
    for kind in kinds.WATCHED:
        if kind.selector:
            settings.watching.label_selectors[kind.group, kind.version, kind.plural] = kind.selector


def register(registry: kopf.OperatorRegistry, cache: Cache, enqueue: Enqueue, relisted: Relisted) -> None:
    """One handler for each watched kind."""
    for kind in kinds.WATCHED:
        kopf.on.event(kind.group, kind.version, kind.plural, id=f"see-{kind.plural}", registry=registry)(
            _handler(kind, cache, enqueue, relisted)
        )


def _handler(kind: kinds.Kind, cache: Cache, enqueue: Enqueue, relisted: Relisted) -> Callable[..., Any]:
    async def see(event: Mapping[str, Any], **_: Any) -> None:
        body = event["object"]
        if event["type"] == "DELETED":
            enqueue(kind, cache.remove(kind, body))
            return
        if event["type"] is None:
            relisted(kind)
        enqueue(kind, cache.put(kind, body))

    return see

"""kopf's streams: handlers only note what changed, and kopf itself writes nothing."""

from __future__ import annotations

from typing import Any

import kopf
import pytest

from deepseek_operator.control import kinds, watch
from deepseek_operator.control.cache import Cache, Key
from deepseek_operator.control.watch import _handler
from tests.unit.control import bodies

KEY = ("default", "x")


class Notes:
    def __init__(self) -> None:
        self.woken: list[set[Key]] = []
        self.relisted: list[str] = []


async def feed(cache: Cache, kind: kinds.Kind, event: str | None, body: dict[str, Any]) -> Notes:
    """Give an event to the handler of a kind, with what kopf passes beside it."""
    notes = Notes()
    handler = _handler(
        kind, cache, lambda _, keys: notes.woken.append(keys), lambda kind: notes.relisted.append(kind.kind)
    )
    await handler(event={"type": event, "object": body}, name="x", memo=None)
    return notes


async def test_there_is_one_handler_for_each_watched_kind() -> None:
    registry = kopf.OperatorRegistry()
    watch.register(registry, Cache(), lambda _kind, _keys: None, lambda _: None)
    handlers = registry._watching.get_all_handlers()  # noqa: SLF001 - as above
    assert sorted(handler.id for handler in handlers) == sorted(f"see-{kind.plural}" for kind in kinds.WATCHED)


@pytest.mark.parametrize("event", ["ADDED", "MODIFIED"])
async def test_what_comes_is_kept_and_its_owner_woken(event: str) -> None:
    cache = Cache()
    notes = await feed(cache, kinds.DEPLOYMENT, event, bodies.deployment())
    assert (notes.woken, notes.relisted) == ([{KEY}], [])
    assert list(cache.keys) == [KEY]


async def test_what_is_deleted_is_forgotten_and_its_owner_woken() -> None:
    cache = Cache()
    await feed(cache, kinds.DEPLOYMENT, "ADDED", bodies.deployment())
    await feed(cache, kinds.POD, "ADDED", bodies.pod())
    notes = await feed(cache, kinds.POD, "DELETED", bodies.pod(version=2))
    assert notes.woken == [{KEY}]
    deployment = cache.deployment(KEY)
    assert deployment is not None
    assert cache.snapshot(deployment).pods == {}


async def test_a_re_list_asks_for_a_comparison_of_the_kind() -> None:
    notes = await feed(Cache(), kinds.POD, None, bodies.pod())
    assert notes.relisted == ["Pod"]


def test_kopf_writes_nothing_and_streams_only_our_own() -> None:
    settings = kopf.OperatorSettings()
    watch.configure(settings)
    assert isinstance(settings.persistence.diffbase_storage, watch.NoDiffBase)
    assert isinstance(settings.persistence.progress_storage, watch.NoProgress)
    assert not settings.posting.enabled
    assert settings.peering.standalone
    selectors = {str(key): value for key, value in settings.watching.label_selectors.items()}
    for kind in kinds.WATCHED:
        found = [value for key, value in selectors.items() if f"'{kind.plural}'" in key]
        assert found == ([kind.selector] if kind.selector else [])


def test_the_null_storages_leave_patch_and_body_alone() -> None:
    patch, body = kopf.Patch({}), kopf.Body({})
    progress, base = watch.NoProgress(), watch.NoDiffBase()
    base.store(body=body, patch=patch, essence=kopf.BodyEssence({}))
    progress.store(key="k", record=None, body=body, patch=patch)
    progress.purge(key="k", body=body, patch=patch)
    progress.touch(body=body, patch=patch, value="v")
    assert dict(patch) == {}
    assert progress.clear(essence=body) is body
    assert (base.fetch(body=body), progress.fetch(key="k", body=body)) == (None, None)  # type: ignore[func-returns-value]

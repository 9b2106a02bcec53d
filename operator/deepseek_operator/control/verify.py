"""Compare the cache with the API server: kopf loses deletions across a 410, and any watch may go quiet.

A full list at the start; afterwards metadata only, every few minutes and after each re-list, which drops what is gone
and, when something is missing or older, lists the kind in full once.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

from deepseek_operator.catalog.types import Catalog
from deepseek_operator.control import kinds
from deepseek_operator.control.cache import Cache, Key
from deepseek_operator.control.client import KubeClient, NotFoundError
from deepseek_operator.control.metrics import GHOSTS, VERIFIED
from deepseek_operator.plan.slices import Slice, devices_of, read_slices
from deepseek_operator.plan.storage import read_storage_classes
from deepseek_operator.plan.types import StorageClass

SLICES_SECONDS: Final = 15.0
"""Between two lists of ResourceSlices that changing nodes cause."""


class Verifier:
    """Keeps a cache honest."""

    def __init__(self, client: KubeClient, cache: Cache, catalog: Catalog, *, namespaces: tuple[str, ...]) -> None:
        self._client = client
        self._cache = cache
        self._catalog = catalog
        self._slices_listed = float("-inf")
        self._slices_version = -1
        self._namespaces = namespaces or (None,)
        self.default_storage_class = False
        """A claim without a class gets one."""
        self.storage_classes: Mapping[str, StorageClass] = {}

    async def fill(self) -> set[Key]:
        """List everything in full. Returns the deployments to look at."""
        changed: set[Key] = set()
        for kind in kinds.WATCHED:
            changed |= await self._list(kind)
        await self._storage_classes()
        changed |= await self._devices()
        VERIFIED.set(time.time())
        return changed

    async def compare(self) -> set[Key]:
        """Compare everything by metadata. Returns the deployments to look at."""
        changed: set[Key] = set()
        for kind in kinds.WATCHED:
            changed |= await self.compare_kind(kind)
        had = self.storage_classes
        await self._storage_classes()
        changed |= await self._devices()
        VERIFIED.set(time.time())
        # Who waits for a class has no event to wake it.
        return changed if had == self.storage_classes else changed | set(self._cache.keys)

    async def renew_devices(self) -> float | None:
        """List ResourceSlices again if nodes have changed since. Seconds to wait, where that was done moments ago."""
        if self._slices_version == self._cache.nodes_version:
            return None
        wait = self._slices_listed + SLICES_SECONDS - time.monotonic()
        if wait > 0:
            return wait
        await self._devices()
        return None

    async def compare_kind(self, kind: kinds.Kind) -> set[Key]:
        """Drop what is gone; list the kind in full when something is missing or older than it should be."""
        changed, complete = await self._scan(kind)
        return changed if complete else changed | await self._list(kind)

    async def _scan(self, kind: kinds.Kind) -> tuple[set[Key], bool]:
        listed: set[str] = set()
        before = dict(self._cache.uids(kind))
        complete = True
        version = 0
        for namespace in self._scopes(kind):
            async for page in self._client.pages(kind, namespace=namespace, metadata_only=True):
                version = max(version, int(page["metadata"]["resourceVersion"]))
                for item in page["items"]:
                    metadata = item["metadata"]
                    listed.add(metadata["uid"])
                    complete &= self._cache.knows(kind, metadata["uid"], int(metadata["resourceVersion"]))
        return self._drop(kind, before, listed, version), complete

    async def _list(self, kind: kinds.Kind) -> set[Key]:
        listed: set[str] = set()
        changed: set[Key] = set()
        before = dict(self._cache.uids(kind))
        version = 0
        for namespace in self._scopes(kind):
            async for page in self._client.pages(kind, namespace=namespace):
                version = max(version, int(page["metadata"]["resourceVersion"]))
                for item in page["items"]:
                    body = {"apiVersion": kind.api_version, "kind": kind.kind, **item}
                    listed.add(item["metadata"]["uid"])
                    changed |= self._cache.put(kind, body)
        return changed | self._drop(kind, before, listed, version)

    def _drop(self, kind: kinds.Kind, before: dict[str, int], listed: set[str], version: int) -> set[Key]:
        changed: set[Key] = set()
        for uid, known in before.items():
            # Something newer than the list may have been created after it was taken.
            if uid not in listed and known <= version:
                GHOSTS.labels(kind=kind.kind).inc()
                changed |= self._cache.forget(kind, uid, version=version)
        return changed

    def _scopes(self, kind: kinds.Kind) -> tuple[str | None, ...]:
        return self._namespaces if kind.namespaced else (None,)

    async def _devices(self) -> set[Key]:
        """What DRA drivers publish; a cluster without that API has none."""
        slices: list[Slice] = []
        classes: list[dict[str, Any]] = []
        try:
            async for page in self._client.pages(kinds.RESOURCE_SLICE):
                slices += read_slices(page["items"], self._catalog)
            if slices:
                async for page in self._client.pages(kinds.DEVICE_CLASS):
                    classes += page["items"]
        except NotFoundError:
            slices = []
        changed = self._cache.put_published(devices_of(slices, classes, self._catalog))
        self._slices_listed = time.monotonic()
        self._slices_version = self._cache.nodes_version
        return changed

    async def _storage_classes(self) -> None:
        found = []
        async for page in self._client.pages(kinds.STORAGE_CLASS):
            found += page["items"]
        self.storage_classes = read_storage_classes(found)
        self.default_storage_class = any(each.default for each in self.storage_classes.values())

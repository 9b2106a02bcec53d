"""The catalogue in use: the package's, extended by labelled ConfigMaps in the operator's own namespace.

A change is read anew as a whole and swapped in at once; groups that run keep the plan that is stored with their
revision. A wrong entry is left out, logged, counted, and told as an Event of its ConfigMap.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from deepseek_operator.api import names
from deepseek_operator.catalog.extend import Document, Extended, extend
from deepseek_operator.catalog.load import load
from deepseek_operator.catalog.types import Catalog
from deepseek_operator.control import kinds
from deepseek_operator.control.client import ApiError, ConflictError, KubeClient, UnreachableError
from deepseek_operator.control.metrics import CATALOG_ENTRIES

logger = logging.getLogger(__name__)

WATCH_SECONDS: Final = 300
RETRY_SECONDS: Final = 5.0
FORBIDDEN: Final = 403
NOTE_LIMIT: Final = 1024
"""Of an Event's note, by the API."""

ConfigMaps = Mapping[str, Mapping[str, Any]]
"""By name."""


class Catalogue:
    """Follows the ConfigMaps for one process."""

    def __init__(
        self, client: KubeClient, *, namespace: str, changed: Callable[[], None], may_write: Callable[[], bool]
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._changed = changed
        self._may_write = may_write
        self._maps: ConfigMaps = {}
        self._found = Extended(catalog=load())
        self._told: set[str] = set()
        self.read = asyncio.Event()
        """The ConfigMaps were read once, or may not be read."""

    @property
    def current(self) -> Catalog:
        """What to plan with now; another object after each change."""
        return self._found.catalog

    async def follow(self) -> None:
        """List, watch, and list again at each change, for ever."""
        while True:
            try:
                version = await self._list()
                async for event in self._client.watch(
                    kinds.CONFIG_MAP, namespace=self._namespace, resource_version=version, seconds=WATCH_SECONDS
                ):
                    if event["type"] != "BOOKMARK":
                        break
            except ApiError as error:
                if error.status == FORBIDDEN:
                    logger.warning("the catalogue cannot be extended: %s", error)
                    self.read.set()
                await asyncio.sleep(RETRY_SECONDS)
            except UnreachableError as error:
                logger.info("ConfigMaps of the catalogue cannot be read, again soon: %s", error)
                await asyncio.sleep(RETRY_SECONDS)

    async def tell(self) -> None:
        """Record an Event for each problem that has none yet; only the leader does."""
        for problem in self._found.problems:
            if not self._may_write():
                return
            place, _, rest = problem.field.removeprefix(_PREFIX).partition(": ")
            found = self._maps.get(place.partition(",")[0])
            digest = hashlib.sha256(f"{problem.field} {problem.message}".encode()).hexdigest()[:10]
            if found is not None and digest not in self._told:
                self._told.add(digest)
                await self._record(found, digest, f"{place} {rest}: {problem.message}; the entry is ignored")

    async def _list(self) -> str:
        maps: dict[str, Mapping[str, Any]] = {}
        version = ""
        async for page in self._client.pages(kinds.CONFIG_MAP, namespace=self._namespace):
            version = page["metadata"]["resourceVersion"]
            maps |= {item["metadata"]["name"]: item for item in page["items"]}
        before, self._maps = self._maps, maps
        if _documents(maps) != _documents(before):
            self._found = extend(load(), _documents(maps))
            self._report()
            self._changed()
        self.read.set()
        await self.tell()
        return version

    def _report(self) -> None:
        found = self._found
        CATALOG_ENTRIES.labels(verdict="taken").set(found.added)
        CATALOG_ENTRIES.labels(verdict="refused").set(len(found.problems))
        for problem in found.problems:
            logger.warning("catalogue: %s: %s; the entry is ignored", problem.field, problem.message)
        logger.info("catalogue: %d entries of %d ConfigMaps", found.added, len(self._maps))

    async def _record(self, found: Mapping[str, Any], digest: str, note: str) -> None:
        metadata = found["metadata"]
        manifest = {
            "apiVersion": kinds.EVENT.api_version,
            "kind": kinds.EVENT.kind,
            # The same problem after a restart is the same Event.
            "metadata": {"name": f"{metadata['name']}.{digest}", "namespace": self._namespace},
            "eventTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "type": "Warning",
            "reason": "CatalogEntryInvalid",
            "note": note[:NOTE_LIMIT],
            "action": "ReadCatalog",
            "reportingController": f"{names.GROUP}/{names.MANAGED_BY}",
            "reportingInstance": names.MANAGED_BY,
            "regarding": {
                "apiVersion": "v1",
                "kind": kinds.CONFIG_MAP.kind,
                "name": metadata["name"],
                "namespace": self._namespace,
                "uid": metadata["uid"],
            },
        }
        try:
            await self._client.create(kinds.EVENT, manifest)
        except ConflictError:
            return
        except (ApiError, UnreachableError) as error:
            logger.warning("an event of ConfigMap %s was lost: %s", metadata["name"], error)


_PREFIX: Final = "ConfigMap "


def _documents(maps: ConfigMaps) -> tuple[Document, ...]:
    return tuple(
        Document(name=f"{_PREFIX}{name}, {key}", text=text)
        for name, found in sorted(maps.items())
        for key, text in sorted((found.get("data") or {}).items())
    )

"""Who uses devices: one paged list of pods for each round of planning, and what was planned since.

Nothing is watched and nothing is listed while no plan is made: a settled cluster causes no request. When plans are
made, one list serves all of them for a few seconds. The API server leaves out pods without a node and finished ones;
of each page only node, owner and devices are kept. Where ResourceSlices publish devices, ResourceClaims are listed
with the pods.

Plans that were made are remembered as claims: as long as their pods have no node, they take free nodes of their
class, so that a burst of deployments does not choose the same ones. A deployment's own pods and claims never count
against itself.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from deepseek_operator.api.names import UID_LABEL
from deepseek_operator.catalog.types import Catalog
from deepseek_operator.control import kinds
from deepseek_operator.control.cache import Cache
from deepseek_operator.control.client import KubeClient
from deepseek_operator.plan.occupancy import Waiting, allocated, holders, requested, reserve, without
from deepseek_operator.plan.types import Plan

FRESH_SECONDS: Final = 5.0
"""How long a list of pods serves further plans, at least."""
LIST_SHARE: Final = 0.1
"""Of the time, at most, is spent on lists: one that takes 3 s serves for 30."""

_ANY_POD: Final = replace(kinds.POD, selector="", watched=False)
_BOUND: Final = "spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed"
_FOREIGN: Final = ""


class Usage:
    """Devices in use by node, as far as planning needs them."""

    def __init__(self, client: KubeClient, cache: Cache, catalog: Catalog, *, namespaces: tuple[str, ...]) -> None:
        self._client = client
        self._cache = cache
        self._by = holders(catalog)
        self._namespaces = namespaces or (None,)
        self._lock = asyncio.Lock()
        self._fresh_until = float("-inf")
        self._bound: dict[str, dict[str, int]] = {}
        self._pods: dict[str, int] = {}
        self._claims: dict[str, Waiting] = {}
        self._reserved: dict[str, dict[str, int]] = {}
        self._used: dict[str, int] = {}
        self.version = 0
        """Grows with each list."""

    def by_others(self, uid: str) -> Mapping[str, int]:
        """Devices that others than this deployment use or are about to, by node."""
        own: defaultdict[str, int] = defaultdict(int)
        for part in (self._bound.get(uid, {}), self._reserved.get(uid, {})):
            for node, devices in part.items():
                own[node] += devices
        return without(self._used, own)

    async def renew(self, *, seen: int) -> bool:
        """List pods, unless that was done moments ago. True: there is news since the version ``seen``.

        Raises:
            ApiError, UnreachableError: pods cannot be listed.
        """
        async with self._lock:
            if time.monotonic() > self._fresh_until:
                await self._list()
        return self.version != seen

    def claim(self, uid: str, plan: Plan, *, groups: int) -> None:
        """Remember what a deployment wants: as many pods as its groups have. No groups: nothing any more."""
        waiting = Waiting(
            hardware=plan.hardware,
            nodes_per_group=plan.nodes_per_group,
            devices=plan.accelerators_per_node,
            pods=groups * plan.nodes_per_group,
        )
        if self._claims.get(uid) == waiting:
            return
        self._claims[uid] = waiting
        for node, devices in self._reserved.pop(uid, {}).items():
            self._used[node] -= devices
        self._reserve(uid)

    async def _list(self) -> None:
        started = time.monotonic()
        bound: defaultdict[str, defaultdict[str, int]] = defaultdict(lambda: defaultdict(int))
        pods: defaultdict[str, int] = defaultdict(int)
        for namespace in self._namespaces:
            async for page in self._client.pages(_ANY_POD, namespace=namespace, fields=_BOUND):
                for pod in page["items"]:
                    devices = requested(pod, self._by.resources)
                    if devices:
                        owner = _owner(pod)
                        bound[owner][pod["spec"]["nodeName"]] += devices
                        pods[owner] += 1
            if self._cache.published:
                async for page in self._client.pages(kinds.RESOURCE_CLAIM, namespace=namespace):
                    for claim in page["items"]:
                        for node in allocated(claim, self._by.drivers):
                            bound[_FOREIGN][node] += 1
        self._bound, self._pods = {owner: dict(nodes) for owner, nodes in bound.items()}, dict(pods)
        took = time.monotonic() - started
        self._fresh_until = started + max(FRESH_SECONDS, took / LIST_SHARE)
        self.version += 1
        self._rebuild()

    def _rebuild(self) -> None:
        used: defaultdict[str, int] = defaultdict(int)
        for nodes in self._bound.values():
            for node, devices in nodes.items():
                used[node] += devices
        self._used = dict(used)
        self._reserved = {}
        living = {found.uid for key in self._cache.keys if (found := self._cache.deployment(key))}
        self._claims = {uid: claim for uid, claim in self._claims.items() if uid in living}
        for uid in self._claims:
            self._reserve(uid)

    def _reserve(self, uid: str) -> None:
        claim = self._claims[uid]
        left = claim.pods - self._pods.get(uid, 0)
        if left > 0:
            self._reserved[uid] = reserve(self._used, replace(claim, pods=left))


def _owner(pod: Mapping[str, Any]) -> str:
    """The UID of the deployment that a pod belongs to."""
    return str(pod["metadata"].get("labels", {}).get(UID_LABEL, _FOREIGN))

"""Volumes of weights and their claims: bound again after a claim was lost, dropped where their node is gone."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Final

from deepseek_operator.api import names
from deepseek_operator.control import kinds
from deepseek_operator.control.cache import Cache
from deepseek_operator.control.client import MERGE_PATCH, KubeClient, NotFoundError
from deepseek_operator.lifecycle.actions import DropLostClaims

logger = logging.getLogger(__name__)

_HOSTNAME: Final = "kubernetes.io/hostname"


class Volumes:
    """Acts on volumes and claims; ``gate`` is waited for before each write, with its verb and kind."""

    def __init__(self, client: KubeClient, cache: Cache, gate: Callable[[str, str], Awaitable[None]]) -> None:
        self._client = client
        self._cache = cache
        self._gate = gate

    async def free(self, name: str) -> None:
        """Let a volume of ours bind again whose claim was deleted, with its namespace perhaps.

        The volume remembers the claim by UID and is Released for ever once that is gone; without the UID it waits for
        the next claim of the name. The weights on the nodes stay.
        """
        volume = await self._client.get(kinds.VOLUME, None, name)
        bound = volume["spec"].get("claimRef", {})
        labels = volume["metadata"].get("labels", {})
        if "uid" not in bound or labels.get(names.MANAGED_BY_LABEL) != names.MANAGED_BY:
            return
        try:
            claim = await self._client.get(kinds.CLAIM, bound["namespace"], bound["name"])
        except NotFoundError:
            claim = {"metadata": {"uid": ""}}
        if claim["metadata"]["uid"] == bound["uid"]:
            return
        logger.info("PersistentVolume %s: its claim %s is gone; it may bind again", name, bound["uid"])
        await self._gate("free", kinds.VOLUME.kind)
        version = {"resourceVersion": volume["metadata"]["resourceVersion"]}
        patch = {"metadata": version, "spec": {"claimRef": {"uid": None, "resourceVersion": None}}}
        await self._client.patch(kinds.VOLUME, None, name, patch, content_type=MERGE_PATCH)

    async def drop_lost_claims(self, namespace: str, action: DropLostClaims) -> None:
        """Delete claims whose volumes no node that there is can reach."""
        for name in action.claims:
            try:
                claim = await self._client.get(kinds.CLAIM, namespace, name)
            except NotFoundError:
                continue
            if "deletionTimestamp" in claim["metadata"] or not await self._is_lost(claim, action.lost_nodes):
                continue
            logger.info("%s: claim %s is bound to a node that is gone; it is made anew", namespace, name)
            await self._gate("delete", kinds.CLAIM.kind)
            await self._client.delete(kinds.CLAIM, namespace, name, uid=claim["metadata"]["uid"])

    async def _is_lost(self, claim: Mapping[str, Any], lost_nodes: Collection[str]) -> bool:
        """Whether the claim's volume can be reached from no node that there is."""
        volume = claim["spec"].get("volumeName")
        if not volume:
            return False
        try:
            hosts = hosts_of(await self._client.get(kinds.VOLUME, None, volume))
        except NotFoundError:
            return True
        there = {
            node.labels.get(_HOSTNAME, node.name)
            for node in self._cache.nodes.values()
            if node.ready or node.name not in lost_nodes
        }
        return bool(hosts) and not hosts & there


def hosts_of(volume: Mapping[str, Any]) -> set[str]:
    """Host names that a PersistentVolume is tied to; empty for one that any node, or a whole zone, can reach."""
    required = volume["spec"].get("nodeAffinity", {}).get("required", {})
    found: set[str] = set()
    for term in required.get("nodeSelectorTerms", ()):
        named = [
            set(each.get("values", ()))
            for each in term.get("matchExpressions", ())
            if each["key"] == _HOSTNAME and each["operator"] == "In"
        ]
        if not named:
            return set()
        found |= set.intersection(*named)
    return found

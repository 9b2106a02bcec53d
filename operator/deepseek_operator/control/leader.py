"""The Lease that decides which replica acts. Both keep warm caches; only the holder works and writes.

A holder that cannot renew stops writing before anybody else may start: the write gate closes ``RENEW_SECONDS`` after
the last renewal, by the monotonic clock, and another replica waits ``LEASE_SECONDS`` from the last change that it saw.
Late writes that slip through (a paused process) carry resourceVersions and UIDs and are refused by the API server.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import Any

from deepseek_operator.control.client import (
    ApiError,
    ConflictError,
    KubeClient,
    NotFoundError,
    UnreachableError,
)
from deepseek_operator.control.kinds import LEASE
from deepseek_operator.control.metrics import LEADER

LEASE_NAME = "deepseek-operator"
"""Where nothing else is said. Operators that share a namespace and serve different ones need different names."""
LEASE_SECONDS = 15.0
RENEW_SECONDS = 10.0
RETRY_SECONDS = 2.0

logger = logging.getLogger(__name__)


class LeadershipLostError(Exception):
    """Another replica took the Lease, or it could not be renewed in time; the process must end."""


class Elector:
    """One replica's part in the election."""

    def __init__(self, client: KubeClient, *, namespace: str, identity: str, name: str = LEASE_NAME) -> None:
        self._client = client
        self._namespace = namespace
        self._identity = identity
        self._name = name
        self._renewed = float("-inf")
        self._seen: tuple[str, float] | None = None
        self._lease: dict[str, Any] | None = None

    @property
    def leads(self) -> bool:
        """Whether writes are allowed now."""
        return asyncio.get_running_loop().time() - self._renewed < RENEW_SECONDS

    async def acquire(self) -> None:
        """Return once the Lease is ours."""
        while not await self._try():  # noqa: ASYNC110 - the condition lies in the API server
            await asyncio.sleep(RETRY_SECONDS)
        LEADER.set(1)
        logger.info("leading as %s", self._identity)

    async def hold(self) -> None:
        """Renew for ever. Raises LeadershipLostError when that fails."""
        while True:
            await asyncio.sleep(RETRY_SECONDS)
            try:
                async with asyncio.timeout(RENEW_SECONDS / 2):
                    renewed = await self._try()
            except TimeoutError:
                renewed = False
            if not renewed and not self.leads:
                LEADER.set(0)
                raise LeadershipLostError(f"Lease {self._namespace}/{self._name} was not renewed in time")

    async def release(self) -> None:
        """Let another replica start at once."""
        if self._lease is None or not self.leads:
            return
        self._renewed = float("-inf")
        LEADER.set(0)
        lease = self._lease
        lease["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1}
        try:
            await self._client.replace(LEASE, lease)
        except (ApiError, UnreachableError) as error:
            logger.warning("the Lease was not released: %s", error)

    async def _try(self) -> bool:
        try:
            return await self._take()
        except ConflictError:
            return False
        except (ApiError, UnreachableError) as error:
            logger.warning("the Lease cannot be read or written: %s", error)
            return False

    async def _take(self) -> bool:
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            lease = await self._client.get(LEASE, self._namespace, self._name)
        except NotFoundError:
            self._lease = await self._client.create(LEASE, self._fresh())
            self._renewed = started
            return True
        spec = lease["spec"]
        mine = spec.get("holderIdentity") == self._identity
        if not mine and spec.get("holderIdentity") and not self._expired(lease):
            return False
        transitions = spec.get("leaseTransitions", 0) + (0 if mine else 1)
        lease["spec"] = self._fresh()["spec"] | {"leaseTransitions": transitions}
        if mine and spec.get("acquireTime"):
            lease["spec"]["acquireTime"] = spec["acquireTime"]
        self._lease = await self._client.replace(LEASE, lease)
        self._renewed = started
        return True

    def _expired(self, lease: dict[str, Any]) -> bool:
        """Unchanged for its whole duration, by our own clock: clocks of two machines are never compared."""
        now = asyncio.get_running_loop().time()
        version = lease["metadata"]["resourceVersion"]
        if self._seen is None or self._seen[0] != version:
            self._seen = (version, now)
            return False
        return now - self._seen[1] > float(lease["spec"].get("leaseDurationSeconds") or LEASE_SECONDS)

    def _fresh(self) -> dict[str, Any]:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return {
            "apiVersion": LEASE.api_version,
            "kind": LEASE.kind,
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": int(LEASE_SECONDS),
                "acquireTime": now,
                "renewTime": now,
                "leaseTransitions": 0,
            },
        }

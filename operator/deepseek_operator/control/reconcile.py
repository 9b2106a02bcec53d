"""One deployment, once: snapshot, decision, status, actions. Everything between reading and writing is pure."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from deepseek_operator.api import names
from deepseek_operator.api.config import OperatorConfig
from deepseek_operator.api.resource import Toleration
from deepseek_operator.catalog.types import Catalog
from deepseek_operator.control import kinds
from deepseek_operator.control.cache import Cache, Key
from deepseek_operator.control.client import (
    ApiError,
    ConflictError,
    KubeClient,
    NotFoundError,
    UnreachableError,
)
from deepseek_operator.control.execute import Executor, NameTakenError, TooEarlyError
from deepseek_operator.control.leader import LeadershipLostError
from deepseek_operator.control.metrics import INCIDENTS, RECONCILE_SECONDS, RECONCILES
from deepseek_operator.control.queue import WorkQueue
from deepseek_operator.control.verify import Verifier
from deepseek_operator.lifecycle.actions import Decision
from deepseek_operator.lifecycle.decide import decide
from deepseek_operator.lifecycle.records import ChildKey, DeploymentRecord
from deepseek_operator.lifecycle.resolve import Surroundings, resolve
from deepseek_operator.plan.inventory import take_inventory
from deepseek_operator.plan.types import Facts, Inventory

logger = logging.getLogger(__name__)

TAKEN_RETRY_SECONDS = 30.0
STATUS_SECONDS = 1.0
"""Between two status writes that only tell of progress; what decisions rest on is written at once."""
EARLY_RETRY_SECONDS = 0.5


class Reconciler:
    """Works on keys, one call a key at a time."""

    def __init__(
        self,
        *,
        client: KubeClient,
        cache: Cache,
        executor: Executor,
        verifier: Verifier,
        queue: WorkQueue[Key],
        catalog: Catalog,
        config: OperatorConfig,
    ) -> None:
        self._client = client
        self._cache = cache
        self._executor = executor
        self._verifier = verifier
        self._queue = queue
        self._catalog = catalog
        self._config = config
        self._inventories: dict[tuple[Toleration, ...], Inventory] = {}
        self._inventories_version = -1
        self._told: dict[Key, float] = {}

    async def work(self) -> None:
        """Take keys from the queue for ever."""
        while True:
            key = await self._queue.get()
            try:
                await self._attempt(key)
            finally:
                self._queue.done(key)

    async def _attempt(self, key: Key) -> None:
        started = time.perf_counter()
        outcome = "ok"
        try:
            await self.reconcile(key)
            self._queue.succeeded(key)
        except ConflictError:
            # The cluster moved on; the watch brings the newer object, the retry is for a lost event.
            outcome = "conflict"
            await self._refresh(key)
            self._queue.failed(key)
        except TooEarlyError as error:
            outcome = "waiting"
            logger.info("%s/%s waits for pod %s to end", *key, error)
            self._queue.add_after(key, EARLY_RETRY_SECONDS)
        except LeadershipLostError:
            outcome = "not leading"
        except (ApiError, UnreachableError) as error:
            outcome = "error"
            wait = self._queue.failed(key, at_least=getattr(error, "retry_after", None) or 0.0)
            logger.warning("%s/%s failed, again in %.1f s: %s", *key, wait, error)
        except Exception:
            outcome = "error"
            wait = self._queue.failed(key)
            logger.exception("%s/%s failed unexpectedly, again in %.1f s", *key, wait)
        RECONCILES.labels(outcome=outcome).inc()
        RECONCILE_SECONDS.observe(time.perf_counter() - started)

    async def reconcile(self, key: Key) -> None:
        """Bring one deployment a step further; repeating it in a settled cluster writes nothing."""
        deployment = self._cache.deployment(key)
        if deployment is None or deployment.deleting:
            return
        await self._find_lost(deployment)
        taken = await self._still_taken(deployment)
        try:
            decision = await self._step(deployment, taken)
        except NameTakenError as error:
            current = self._cache.deployment(key) or deployment
            decision = self._decide(current, error.key)
            await self._publish(current, decision)
            taken = error.key
        if taken:
            self._queue.add_after(key, TAKEN_RETRY_SECONDS)
        elif decision.requeue_seconds is not None:
            self._queue.add_after(key, decision.requeue_seconds)

    async def _step(self, deployment: DeploymentRecord, taken: ChildKey | None) -> Decision:
        decision = self._decide(deployment, taken)
        current = await self._publish(deployment, decision)
        if taken is None:
            for action in decision.actions:
                await self._executor.run(current, action)
        return decision

    def _decide(self, deployment: DeploymentRecord, taken: ChildKey | None) -> Decision:
        snapshot = self._cache.snapshot(deployment, name_taken=taken)
        around = Surroundings(
            catalog=self._catalog,
            config=self._config,
            facts=Facts(
                default_storage_class=self._verifier.default_storage_class,
                node_path=self._config.weights.node_path,
                allow_host_network=self._config.allow.host_network,
                allow_host_path=self._config.allow.host_path,
            ),
            inventory_of=self._inventory,
        )
        keys = (secrets.token_urlsafe(32), secrets.token_urlsafe(32))
        outcome = resolve(snapshot, around, keys=keys)
        return decide(snapshot, outcome, now=datetime.now(UTC))

    async def _publish(self, deployment: DeploymentRecord, decision: Decision) -> DeploymentRecord:
        """Write status if it changed, then tell about transitions."""
        if decision.status == deployment.status:
            return deployment
        key = (deployment.namespace, deployment.name)
        wait = self._told.get(key, 0.0) + STATUS_SECONDS - time.monotonic()
        if wait > 0 and not _pressing(deployment.status, decision.status):
            self._queue.add_after(key, wait)
            return deployment
        self._told[key] = time.monotonic()
        if _pressing(deployment.status, decision.status):
            # What the groups do next follows from what was just recorded; no event may come that asks for it.
            self._queue.add(key)
        current = await self._executor.write_status(deployment, decision.status)
        for event in decision.events:
            await self._executor.record(deployment, event)
        _count_incidents(deployment.status, decision.status)
        return current

    async def _still_taken(self, deployment: DeploymentRecord) -> ChildKey | None:
        """The foreign object that status complains about, if it still exists."""
        stalled = next((c for c in deployment.status.get("conditions", ()) if c["type"] == "Stalled"), {"reason": ""})
        if stalled["reason"] != "NameTaken":
            return None
        kind, name = stalled["message"].split(" ")[:2]
        try:
            found = await self._client.get(kinds.BY_KIND[kind], deployment.namespace, name)
        except NotFoundError:
            return None
        owners = found["metadata"].get("ownerReferences", ())
        return None if any(owner["uid"] == deployment.uid for owner in owners) else (kind, name)

    async def _find_lost(self, deployment: DeploymentRecord) -> None:
        """Read StatefulSets that left our watch, their labels taken off, while their pods are still there."""
        snapshot = self._cache.snapshot(deployment)
        for index in snapshot.pods.keys() - snapshot.stateful_sets.keys():
            name = names.group_name(deployment.name, index)
            try:
                found = await self._client.get(kinds.STATEFUL_SET, deployment.namespace, name)
            except NotFoundError:
                continue
            owners = found["metadata"].get("ownerReferences", ())
            if any(owner["uid"] == deployment.uid for owner in owners):
                self._cache.put(kinds.STATEFUL_SET, found)

    async def _refresh(self, key: Key) -> None:
        try:
            self._cache.put(kinds.DEPLOYMENT, await self._client.get(kinds.DEPLOYMENT, *key))
        except (ApiError, UnreachableError) as error:
            logger.info("%s/%s could not be read again: %s", *key, error)

    def _inventory(self, tolerations: Sequence[Toleration]) -> Inventory:
        if self._inventories_version != self._cache.nodes_version:
            self._inventories.clear()
            self._inventories_version = self._cache.nodes_version
        wanted = tuple(tolerations)
        if wanted not in self._inventories:
            self._inventories[wanted] = take_inventory(self._cache.nodes.values(), self._catalog, tolerations=wanted)
        return self._inventories[wanted]


def _pressing(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether a change of status must be on record before anything is done, or is what users wait for."""
    return _essence(before) != _essence(after)


def _essence(status: Mapping[str, Any]) -> object:
    groups = [
        [
            group.get(field)
            for field in ("index", "intent", "incarnation", "revision", "templateHash", "ready", "restarts")
        ]
        for group in status.get("groups", ())
    ]
    conditions = [
        [condition["type"], condition["status"]]
        for condition in status.get("conditions", ())
        if condition["type"] != "WeightsReady"
    ]
    return [status.get("observedGeneration"), groups, conditions]


def _count_incidents(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    known = {g["index"]: g.get("incidents", [])[:1] for g in before.get("groups", ())}
    for group in after["groups"]:
        latest = group.get("incidents", [])[:1]
        if latest and latest != known.get(group["index"]):
            INCIDENTS.labels(reason=latest[0]["reason"]).inc()

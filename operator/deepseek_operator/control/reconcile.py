"""One deployment, once: snapshot, decision, status, actions. Everything between reading and writing is pure."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from deepseek_operator.api import names
from deepseek_operator.api.config import OperatorConfig
from deepseek_operator.api.operation import Toleration
from deepseek_operator.catalog.types import Catalog
from deepseek_operator.control import kinds, model_config
from deepseek_operator.control.cache import Cache, Key
from deepseek_operator.control.carry import carry_out
from deepseek_operator.control.catalogue import Catalogue
from deepseek_operator.control.client import (
    ApiError,
    ConflictError,
    KubeClient,
    NotFoundError,
    UnreachableError,
)
from deepseek_operator.control.execute import Executor, TooEarlyError, is_owned
from deepseek_operator.control.lastlines import LogReader
from deepseek_operator.control.leader import LeadershipLostError
from deepseek_operator.control.metrics import INCIDENTS, RECONCILE_SECONDS, RECONCILES
from deepseek_operator.control.progress import ProgressReader
from deepseek_operator.control.projections import pack
from deepseek_operator.control.queue import WorkQueue
from deepseek_operator.control.reported import Reporter
from deepseek_operator.control.troubles import FRESH_SECONDS, Troubles, starting
from deepseek_operator.control.usage import Usage
from deepseek_operator.control.verify import Verifier
from deepseek_operator.lifecycle.actions import Decision, Event
from deepseek_operator.lifecycle.decide import decide
from deepseek_operator.lifecycle.outcome import NewSecrets, Outcome
from deepseek_operator.lifecycle.records import ChildKey, ConfigRecord, DeploymentRecord, Snapshot
from deepseek_operator.lifecycle.resolve import Surroundings, resolve
from deepseek_operator.lifecycle.transitions import latest_incidents
from deepseek_operator.plan.inventory import take_inventory
from deepseek_operator.plan.types import Facts, Inventory
from deepseek_operator.render.revision import unpack

logger = logging.getLogger(__name__)

TAKEN_RETRY_SECONDS = 30.0
STATUS_SECONDS = 1.0
"""Between two status writes that only tell of progress; what decisions rest on is written at once."""
EARLY_RETRY_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Observers:
    """Who knows what the watches do not show."""

    verifier: Verifier
    usage: Usage
    catalogue: Catalogue
    reporter: Reporter
    logs: LogReader
    progress: ProgressReader


class Reconciler:
    """Works on keys, one call a key at a time."""

    def __init__(
        self,
        *,
        client: KubeClient,
        cache: Cache,
        executor: Executor,
        observers: Observers,
        queue: WorkQueue[Key],
        config: OperatorConfig,
    ) -> None:
        self._client = client
        self._cache = cache
        self._executor = executor
        self._verifier = observers.verifier
        self._usage = observers.usage
        self._queue = queue
        self._catalogue = observers.catalogue
        self._reporter = observers.reporter
        self._logs = observers.logs
        self._progress = observers.progress
        self._config = config
        self._inventories: dict[tuple[Toleration, ...], Inventory] = {}
        self._inventories_of: tuple[int, Catalog | None] = (-1, None)
        self._told: dict[Key, float] = {}
        self._unable: dict[Key, str] = {}
        self._copies: dict[tuple[str, str], bytes] = {}
        """By UID of the deployment and revision: two deployments of one spec differ in their templates."""
        self._troubles = Troubles(client)
        self._asking: dict[Key, asyncio.Task[None]] = {}

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
            logger.info("%s/%s waits for the end of %s", *key, error)
            self._queue.add_after(key, EARLY_RETRY_SECONDS)
        except LeadershipLostError:
            outcome = "not leading"
            # The gate may open again: what was to be done must not wait for the next event.
            self._queue.failed(key)
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
            self._forget(key, deployment)
            return
        await self._look_twice(deployment)
        taken = await self._still_taken(deployment)
        decision = await self._decide(deployment, taken)
        # The stop takes the log away with the pod: reading begins now, beside what follows.
        self._logs.look(deployment, decision.status, self._cache.pods(deployment))
        current, events = await self._publish(deployment, decision)
        carried = await carry_out(self._executor, current, decision.actions, withheld=taken)
        if (carried.taken, carried.told) != (taken, self._unable.get(key, "")):
            self._unable[key] = carried.told
            current = self._cache.deployment(key) or current
            decision = await self._decide(current, carried.taken)
            events += (await self._publish(current, decision))[1]
        # Told after it was done: a stop waits for nothing that can be told later.
        for event in events:
            await self._executor.record(current, event)
        if carried.failure:
            raise carried.failure
        self._reporter.look(current, self._cache.pods(current))
        self._ask_progress(key, current)
        self._come_back(key, decision, taken=carried.taken)

    def _ask_progress(self, key: Key, current: DeploymentRecord) -> None:
        ranks = (pod for pods in self._cache.pods(current).values() for pod in pods)
        again = self._progress.look(current, (*ranks, *self._cache.preparing(current)))
        if again is not None:
            self._queue.add_after(key, again)

    def _come_back(self, key: Key, decision: Decision, *, taken: ChildKey | None) -> None:
        waits = [decision.requeue_seconds] if decision.requeue_seconds is not None else []
        waits += [TAKEN_RETRY_SECONDS] if taken or self._unable.get(key) else []
        if starting(decision.status):
            waits.append(FRESH_SECONDS)
            self._explain(key)
        if waits:
            self._queue.add_after(key, min(waits))

    def _explain(self, key: Key) -> None:
        """Ask for the events of what is stuck, beside the work: a stop must not wait for an explanation."""

        async def ask() -> None:
            deployment = self._cache.deployment(key)
            if deployment and await self._troubles.ask(self._cache.snapshot(deployment)):
                self._queue.add(key)

        if key not in self._asking:
            self._asking[key] = asyncio.get_running_loop().create_task(ask())
            self._asking[key].add_done_callback(lambda _: self._asking.pop(key, None))

    def _forget(self, key: Key, deployment: DeploymentRecord | None) -> None:
        self._told.pop(key, None)
        self._unable.pop(key, None)
        for copied in self._of(deployment.uid) if deployment else ():
            del self._copies[copied]
        if deployment:
            self._logs.forget(deployment.uid)

    async def _find_copies(self, deployment: DeploymentRecord, snapshot: Snapshot) -> None:
        """Revisions that groups run and whose ControllerRevision is gone, out of their workloads."""
        lost = {owner.revision: owner for owner in snapshot.workloads.values() if owner.revision}
        uid = deployment.uid
        for revision in lost.keys() - snapshot.revisions.keys() - {known for _, known in self._of(uid)}:
            with contextlib.suppress(NotFoundError):
                owner = lost[revision]
                live = await self._client.get(kinds.BY_KIND[owner.kind], deployment.namespace, owner.name)
                copied = live["metadata"].get("annotations", {}).get(names.REVISION_COPY_ANNOTATION, "")
                data = unpack(copied)
                if data and data.get("hash") == revision:
                    self._copies[uid, revision] = pack(data)
        for key in self._of(uid):
            if key[1] in snapshot.revisions:
                del self._copies[key]

    def _of(self, uid: str) -> list[tuple[str, str]]:
        return [key for key in self._copies if key[0] == uid]

    async def _look_twice(self, deployment: DeploymentRecord) -> None:
        """Before a group is ended because something is not there: is it not, or did it leave our sight?"""
        snapshot = self._cache.snapshot(deployment)
        for index, pods in snapshot.pods.items():
            if pods and index not in snapshot.workloads:
                await self._executor.reclaim(deployment, index)
        await self._find_copies(deployment, snapshot)
        for name in {pod.node for pods in snapshot.pods.values() for pod in pods if pod.node} - snapshot.nodes.keys():
            with contextlib.suppress(NotFoundError):
                self._cache.put(kinds.NODE, await self._client.get(kinds.NODE, None, name))

    async def _decide(self, deployment: DeploymentRecord, taken: ChildKey | None) -> Decision:
        new_secrets = NewSecrets(
            api_key=secrets.token_urlsafe(32), admin_key=secrets.token_urlsafe(32), ssh_seed=secrets.token_bytes(32)
        )
        seen = self._usage.version
        snapshot, outcome = self._resolve(deployment, taken, new_secrets)
        config = None
        if outcome.wants_config and outcome.spec is not None:
            config = await model_config.read_model_config(self._client, deployment, outcome.spec)
            snapshot, outcome = self._resolve(deployment, taken, new_secrets, config)
        if outcome.plan is not None and not outcome.stored and await self._usage.renew(seen=seen):
            # A plan is about to be made for good: choose by what is in use now.
            snapshot, outcome = self._resolve(deployment, taken, new_secrets, config)
        if outcome.refusal is not None and outcome.refusal.waits_for_cluster:
            nodes = self._cache.nodes_version
            wait = await self._verifier.renew_devices()
            if wait is not None:
                self._queue.add_after((deployment.namespace, deployment.name), wait)
            if self._cache.nodes_version != nodes:
                snapshot, outcome = self._resolve(deployment, taken, new_secrets, config)
        if config is not None and outcome.plan is None:
            # Nothing watches the ConfigMap: it may come, or be mended.
            self._queue.add_after((deployment.namespace, deployment.name), model_config.RETRY_SECONDS)
        if outcome.plan is not None and outcome.spec is not None:
            groups = 0 if outcome.spec.suspend or _is_done(deployment, outcome) else outcome.spec.replicas
            self._usage.claim(deployment.uid, outcome.plan, groups=groups)
        return decide(snapshot, outcome, now=self._client.clock.now())

    def _resolve(
        self,
        deployment: DeploymentRecord,
        taken: ChildKey | None,
        new_secrets: NewSecrets,
        config: ConfigRecord | None = None,
    ) -> tuple[Snapshot, Outcome]:
        snapshot = self._cache.snapshot(
            deployment,
            name_taken=taken,
            reports=self._reporter.answers(deployment.uid),
            progress=self._progress.answers(deployment.uid),
        )
        troubles = self._troubles.known(snapshot)
        if unable := self._unable.get((deployment.namespace, deployment.name)):
            troubles = {**troubles, deployment.uid: unable}
        lost = {owner.revision for owner in snapshot.workloads.values()} - snapshot.revisions.keys()
        copies = {key[1]: self._copies[key] for key in self._of(deployment.uid) if key[1] in lost}
        lines = dict(self._logs.found(deployment.uid))
        snapshot = replace(snapshot, troubles=troubles, copies=copies, model_config=config, last_lines=lines)
        around = Surroundings(
            catalog=self._catalogue.current,
            config=self._config,
            facts=Facts(
                default_storage_class=self._verifier.default_storage_class,
                node_path=self._config.weights.node_path,
                tool_image=self._config.image,
                storage_classes=self._verifier.storage_classes,
                allow_host_network=self._config.allow.host_network,
                allow_host_path=self._config.allow.host_path,
                used=self._usage.by_others(deployment.uid),
            ),
            inventory_of=self._inventory,
        )
        return snapshot, resolve(snapshot, around, new_secrets=new_secrets)

    async def _publish(
        self, deployment: DeploymentRecord, decision: Decision
    ) -> tuple[DeploymentRecord, tuple[Event, ...]]:
        """Write status if it changed. Returns the deployment as it is then, and the transitions to tell of."""
        if decision.status == deployment.status:
            return deployment, ()
        key = (deployment.namespace, deployment.name)
        wait = self._told.get(key, 0.0) + STATUS_SECONDS - time.monotonic()
        pressing = _pressing(deployment.status, decision.status)
        if wait > 0 and not pressing:
            self._queue.add_after(key, wait)
            return deployment, ()
        self._told[key] = time.monotonic()
        try:
            current = await self._executor.write_status(deployment, decision.status)
        except NotFoundError:
            # Deleted, and the watch has not told yet.
            self._cache.forget(kinds.DEPLOYMENT, deployment.uid)
            raise
        if pressing:
            # What was recorded may allow the next step, and no event need come to say so.
            self._queue.add(key)
        _count_incidents(deployment.status, decision.status)
        return current, decision.events

    async def _still_taken(self, deployment: DeploymentRecord) -> ChildKey | None:
        """The foreign object that status complains about, if it still exists."""
        told = deployment.status.get("nameTaken")
        if not told:
            return None
        kind, name = told["kind"], told["name"]
        # Status does not tell which of the gang schedulers' APIs a PodGroup is of.
        for each in kinds.POD_GROUPS.values() if kind == kinds.POD_GROUP else (kinds.BY_KIND[kind],):
            with contextlib.suppress(NotFoundError):
                found = await self._client.get(each, deployment.namespace, name)
                if not is_owned(found, deployment):
                    return kind, name
        return None

    async def _refresh(self, key: Key) -> None:
        try:
            self._cache.put(kinds.DEPLOYMENT, await self._client.get(kinds.DEPLOYMENT, *key))
        except (ApiError, UnreachableError) as error:
            logger.info("%s/%s could not be read again: %s", *key, error)

    def _inventory(self, tolerations: Sequence[Toleration]) -> Inventory:
        version, catalog = self._inventories_of
        if version != self._cache.nodes_version or catalog is not self._catalogue.current:
            self._inventories.clear()
            self._inventories_of = (self._cache.nodes_version, self._catalogue.current)
        wanted = tuple(tolerations)
        if wanted not in self._inventories:
            self._inventories[wanted] = take_inventory(
                self._cache.nodes.values(), self._catalogue.current, tolerations=wanted, published=self._cache.published
            )
        return self._inventories[wanted]


def _is_done(deployment: DeploymentRecord, outcome: Outcome) -> bool:
    """The batch of the current revision is completed: it wants no devices any more."""
    groups = deployment.status.get("groups", ())
    revision = outcome.content.hash if outcome.content else ""
    return bool(groups) and all(group.get("completed") and group.get("revision") == revision for group in groups)


def _pressing(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether a change of status must be on record before anything is done, or is what users wait for."""
    return _essence(before) != _essence(after)


def _essence(status: Mapping[str, Any]) -> object:
    groups = [
        [
            group.get(field)
            for field in (
                "index",
                "intent",
                "incarnation",
                "revision",
                "templateHash",
                "ready",
                "completed",
                "restarts",
            )
        ]
        + [group.get("warmUp", {}).get("state")]
        for group in status.get("groups", ())
    ]
    conditions = [
        [condition["type"], condition["status"]]
        for condition in status.get("conditions", ())
        if condition["type"] != "WeightsReady"
    ]
    return [status.get("observedGeneration"), groups, conditions]


def _count_incidents(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    for _, old, latest in latest_incidents(before, after):
        if old.get("time") != latest["time"]:
            INCIDENTS.labels(reason=latest["reason"]).inc()

"""The process: kopf runs it and feeds the cache; beside it the elector, the queue's workers, the verify loop, HTTP.

Both replicas watch and verify; only the holder of the Lease works on the queue. Losing the Lease ends the process: a
fresh start is simpler to trust than a demotion.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import socket
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final

import kopf

from deepseek_operator.api import names
from deepseek_operator.api.config import OperatorConfig
from deepseek_operator.api.problems import InvalidInputError, Problem
from deepseek_operator.api.status import Stage
from deepseek_operator.catalog.load import load
from deepseek_operator.control import http, kinds, watch
from deepseek_operator.control.cache import Cache, Key
from deepseek_operator.control.catalogue import Catalogue
from deepseek_operator.control.client import ApiError, KubeClient, NotFoundError, UnreachableError
from deepseek_operator.control.execute import Executor
from deepseek_operator.control.lastlines import LogReader
from deepseek_operator.control.leader import LEASE_NAME, Elector
from deepseek_operator.control.limiter import WriteLimiter
from deepseek_operator.control.login import login
from deepseek_operator.control.metrics import GROUPS, QUEUE_DEPTH
from deepseek_operator.control.progress import ProgressReader
from deepseek_operator.control.queue import WorkQueue
from deepseek_operator.control.reconcile import Observers, Reconciler
from deepseek_operator.control.reported import Reporter
from deepseek_operator.control.usage import Usage
from deepseek_operator.control.verify import Verifier

logger = logging.getLogger(__name__)

HTTP_PORT: Final = 8080
RESYNC_SECONDS: Final = 600.0
RELIST_DEBOUNCE_SECONDS: Final = 2.0
NAMESPACE_FILE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def run(config: OperatorConfig, namespaces: tuple[str, ...] = ()) -> int:
    """Run until SIGTERM (0) or until something essential fails (1)."""
    kopf.configure(log_format=kopf.LogFormat.JSON)
    # kopf tells of every event handled; ours only note what changed.
    logging.getLogger("kopf.objects").setLevel(logging.WARNING)
    operator = Operator(config, namespaces)
    asyncio.run(operator.serve())
    return 1 if operator.failure else 0


class Operator:
    """One replica."""

    def __init__(self, config: OperatorConfig, namespaces: tuple[str, ...]) -> None:
        self.failure: BaseException | None = None
        self._config = config
        self._namespaces = namespaces
        self._cache = Cache()
        self._queue: WorkQueue[Key] = WorkQueue()
        self._filled = asyncio.Event()
        self._verified = time.monotonic()
        self._stop = asyncio.Event()
        self._relists: set[kinds.Kind] = set()
        self._relisted = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def serve(self) -> None:
        """Kopf's life cycle around ours. Raises InvalidInputError where the CRD is missing."""
        self._client = await KubeClient.connect()
        try:
            await self._require_crd()
        except BaseException:
            await self._client.close()
            raise
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry)(login)
        kopf.on.startup(registry=registry)(self._start)
        kopf.on.cleanup(registry=registry)(self._finish)
        watch.register(registry, self._cache, self._seen, self._relist)
        settings = kopf.OperatorSettings()
        watch.configure(settings)
        await kopf.operator(
            registry=registry,
            settings=settings,
            standalone=True,
            clusterwide=not self._namespaces,
            namespaces=self._namespaces,
            stop_flag=self._stop,
        )

    async def _start(self, **_: Any) -> None:
        identity = f"{os.environ.get('POD_NAME') or socket.gethostname()}_{random.randrange(16**8):08x}"  # noqa: S311
        lease = os.environ.get("LEASE_NAME", LEASE_NAME)
        self._elector = Elector(self._client, namespace=_own_namespace(), name=lease, identity=identity)
        self._reporter = Reporter(self._enqueue)
        self._progress = ProgressReader(self._enqueue)
        self._logs = LogReader(self._client, self._enqueue)
        self._catalogue = Catalogue(
            self._client,
            namespace=_own_namespace(),
            changed=lambda: self._enqueue(set(self._cache.keys)),
            may_write=lambda: self._elector.leads,
        )
        self._verifier = Verifier(self._client, self._cache, load(), namespaces=self._namespaces)
        port = int(os.environ.get("HTTP_PORT", HTTP_PORT))
        self._http = await http.serve(port=port, healthy=self._unhealthy, ready=self._unready)
        QUEUE_DEPTH.set_function(lambda: len(self._queue))
        for part in (
            self._lead(),
            self._verify(),
            self._resync(),
            self._follow_relists(),
            self._gauges(),
            self._catalogue.follow(),
        ):
            self._tasks.append(asyncio.create_task(self._essential(part)))

    async def _finish(self, **_: Any) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._reporter.close()
        await self._progress.close()
        await self._logs.close()
        await self._elector.release()
        await self._http.cleanup()
        await self._client.close()

    async def _require_crd(self) -> None:
        """Kopf would wait for a missing CRD in silence, for ever."""
        namespace = self._namespaces[0] if self._namespaces else None
        while True:
            try:
                async for _ in self._client.pages(kinds.DEPLOYMENT, namespace=namespace):
                    return
            except NotFoundError:
                raise InvalidInputError(
                    Problem(
                        field=f"CustomResourceDefinition {names.PLURAL}.{names.GROUP}",
                        reason="NotInstalled",
                        message="apply crds/deepseekdeployments.yaml, or let the chart do it (crds.enabled)",
                    )
                ) from None
            except (ApiError, UnreachableError) as error:
                logger.warning("waiting for the API server: %s", error)
                await asyncio.sleep(1)

    async def _essential(self, part: Coroutine[Any, Any, None]) -> None:
        """A part whose end ends the process."""
        try:
            await part
        except Exception as error:
            self.failure = error
            logger.exception("the operator ends")
            self._stop.set()

    async def _lead(self) -> None:
        await self._elector.acquire()
        await self._filled.wait()
        # A deployment that needs an added product must not be refused first.
        await self._catalogue.read.wait()
        await self._catalogue.tell()
        # A standby's watches may lag; the leader starts from what is.
        await self._persistently(self._verifier.compare)
        self._verified = time.monotonic()
        self._enqueue(set(self._cache.keys))
        executor = Executor(
            self._client,
            self._cache,
            self._elector,
            WriteLimiter(per_second=self._config.writes_per_second, burst=self._config.write_burst),
        )
        usage = Usage(self._client, self._cache, load(), namespaces=self._namespaces)
        reconciler = Reconciler(
            client=self._client,
            cache=self._cache,
            executor=executor,
            observers=Observers(
                verifier=self._verifier,
                usage=usage,
                catalogue=self._catalogue,
                reporter=self._reporter,
                progress=self._progress,
                logs=self._logs,
            ),
            queue=self._queue,
            config=self._config,
        )
        async with asyncio.TaskGroup() as group:
            group.create_task(self._elector.hold())
            for _ in range(self._config.workers):
                group.create_task(reconciler.work())

    async def _persistently(self, attempt: Any) -> set[Key]:
        while True:
            try:
                result: set[Key] = await attempt()
            except (ApiError, UnreachableError) as error:
                logger.warning("the cluster cannot be listed, again soon: %s", error)
                await asyncio.sleep(1)
            else:
                return result

    async def _verify(self) -> None:
        self._enqueue(await self._persistently(self._verifier.fill))
        self._filled.set()
        while True:
            await asyncio.sleep(self._config.verify_seconds)
            self._enqueue(await self._persistently(self._verifier.compare))
            self._verified = time.monotonic()

    async def _resync(self) -> None:
        while True:
            await asyncio.sleep(RESYNC_SECONDS)
            for key in self._cache.keys:
                self._queue.add_after(key, random.uniform(0, RESYNC_SECONDS / 10))  # noqa: S311 - jitter

    async def _follow_relists(self) -> None:
        """Kopf re-lists after a 410 without noticing what was deleted meanwhile."""
        while True:
            await self._relisted.wait()
            await asyncio.sleep(RELIST_DEBOUNCE_SECONDS)
            self._relisted.clear()
            waiting, self._relists = self._relists, set()
            for kind in waiting:
                self._enqueue(await self._persistently(lambda kind=kind: self._verifier.compare_kind(kind)))

    async def _gauges(self) -> None:
        while True:
            counts: dict[Stage, int] = {}
            for key in self._cache.keys:
                deployment = self._cache.deployment(key)
                for group in deployment.status.get("groups", ()) if deployment else ():
                    counts[group["stage"]] = counts.get(group["stage"], 0) + 1
            GROUPS.clear()
            for stage, count in counts.items():
                GROUPS.labels(stage=stage).set(count)
            await asyncio.sleep(5)

    def _enqueue(self, keys: set[Key]) -> None:
        for key in keys:
            self._queue.add(key)

    def _seen(self, kind: kinds.Kind, keys: set[Key]) -> None:
        """What a watch brought; a rank that failed must not wait behind what a node has woken."""
        add = self._queue.add_urgent if kind in (kinds.POD, kinds.STATEFUL_SET) else self._queue.add
        for key in keys:
            add(key)

    def _relist(self, kind: kinds.Kind) -> None:
        self._relists.add(kind)
        self._relisted.set()

    def _unhealthy(self) -> str | None:
        if time.monotonic() - self._verified > 3 * self._config.verify_seconds + 60:
            return "the cache has not been compared with the API server for too long"
        return None

    def _unready(self) -> str | None:
        return None if self._filled.is_set() else "the cache is not filled yet"


def _own_namespace() -> str:
    """Where the Lease lives: the pod's namespace, else ``default``."""
    if namespace := os.environ.get("POD_NAMESPACE"):
        return namespace
    return NAMESPACE_FILE.read_text().strip() if NAMESPACE_FILE.exists() else "default"

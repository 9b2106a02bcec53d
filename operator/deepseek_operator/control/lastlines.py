"""Reads the end of a failed rank's log, beside the work and never in it: a stop must not wait for an explanation.

The stop that follows an incident deletes the pod and its log with it, so a read begins as soon as the incident is
decided and has one second. It is tried once a process for each incident and rank; what it found waits here until status
has taken it over.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from deepseek_operator.api.names import ENGINE_CONTAINER
from deepseek_operator.catalog.operations.load import load_operations
from deepseek_operator.control import kinds
from deepseek_operator.control.cache import Key
from deepseek_operator.control.client import ApiError, KubeClient, NotFoundError, UnreachableError
from deepseek_operator.lifecycle.entries import GroupEntry, LastLines, read_entry
from deepseek_operator.lifecycle.evidence import excerpt, log_wanted
from deepseek_operator.lifecycle.records import DeploymentRecord, PodRecord

logger = logging.getLogger(__name__)

SECONDS: Final = 1.0
"""For one read, all its requests included."""
AT_ONCE: Final = 16
LINES: Final = 400
"""Of the log's end; diagnoses are looked for in all of them."""
REMEMBERED: Final = 4096
"""Reads that are not repeated; the oldest are forgotten, and their pods are gone by then."""

_Job = tuple[str, str, int]
"""UID of the pod, time of the incident, rank."""


class LogReader:
    """Side tasks and what they found."""

    def __init__(self, client: KubeClient, done: Callable[[set[Key]], None]) -> None:
        self._client = client
        self._done = done
        self._tried: dict[_Job, None] = {}
        self._tasks: dict[_Job, asyncio.Task[None]] = {}
        self._found: dict[str, dict[int, LastLines]] = {}
        self._gate = asyncio.Semaphore(AT_ONCE)

    def found(self, uid: str) -> Mapping[int, LastLines]:
        """By group: what was read since status was written."""
        return self._found.get(uid, {})

    def look(
        self, deployment: DeploymentRecord, status: Mapping[str, Any], pods: Mapping[int, Sequence[PodRecord]]
    ) -> None:
        """Start a read for each incident in ``status`` whose log is wanted and can still be had.

        ``status`` is what was decided; the deployment's own is what was written, and only that may be forgotten here.
        """
        self._forget_written(deployment)
        for group in status.get("groups", ()):
            entry = read_entry(group)
            incident = entry.incidents[0] if entry.incidents else None
            if incident is None or not log_wanted(incident):
                continue
            pod = _failed_pod(entry, pods.get(entry.index, ()))
            if pod is None or incident.rank is None:
                continue
            job = (pod.uid, incident.time, incident.rank)
            if job not in self._tried:
                self._remember(job)
                key = (deployment.namespace, deployment.name)
                self._tasks[job] = asyncio.create_task(self._run(key, deployment.uid, entry.index, pod, job))

    def forget(self, uid: str) -> None:
        """Drop what was found for a deployment that is gone."""
        self._found.pop(uid, None)

    async def close(self) -> None:
        """End what still runs."""
        tasks = tuple(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _forget_written(self, deployment: DeploymentRecord) -> None:
        found = self._found.get(deployment.uid, {})
        for group in deployment.status.get("groups", ()) if found else ():
            latest: Mapping[str, Any] = next(iter(group.get("incidents", ())), {})
            lines = found.get(group["index"])
            if lines and (latest.get("log") or latest.get("time", "") > lines.time):
                del found[group["index"]]
        if not found:
            self._found.pop(deployment.uid, None)

    def _remember(self, job: _Job) -> None:
        self._tried[job] = None
        if len(self._tried) > REMEMBERED:
            del self._tried[next(iter(self._tried))]

    async def _run(self, key: Key, uid: str, group: int, pod: PodRecord, job: _Job) -> None:
        try:
            async with self._gate:
                text = await self._bounded(pod)
            if text:
                _, time, rank = job
                lines = excerpt(text, load_operations(), time=time, rank=rank)
                self._found.setdefault(uid, {})[group] = lines
                self._done({key})
        except Exception:
            logger.exception("log of %s/%s", pod.namespace, pod.name)
        finally:
            del self._tasks[job]

    async def _bounded(self, pod: PodRecord) -> str:
        """The log, or nothing when it cannot be had in time."""
        try:
            async with asyncio.timeout(SECONDS):
                return await self._read(pod)
        except (TimeoutError, ApiError, UnreachableError) as error:
            logger.info("log of %s/%s cannot be read: %s", pod.namespace, pod.name, str(error) or "no answer in time")
            return ""

    async def _read(self, pod: PodRecord) -> str:
        """The engine's log before it was started again, if it was.

        Its kubelet starts a container that ended anew at once, and the new one has nothing to say: the log that was
        there before it is asked for first.
        """
        read = partial(self._client.log, pod.namespace, pod.name, ENGINE_CONTAINER, lines=LINES)
        try:
            text = await read(previous=True)
        except NotFoundError:
            raise
        except ApiError:
            text = await read(previous=False)
        return text if await self._same(pod) else ""

    async def _same(self, pod: PodRecord) -> bool:
        """A log is asked for by name: was it this pod's, or its successor's?"""
        try:
            live = await self._client.get(kinds.POD, pod.namespace, pod.name)
        except NotFoundError:
            return True
        return bool(live["metadata"]["uid"] == pod.uid)


def _failed_pod(entry: GroupEntry, pods: Sequence[PodRecord]) -> PodRecord | None:
    """The pod of the latest incident, if it is still there and not one of a later start."""
    incident = entry.incidents[0]
    for pod in pods:
        if (pod.rank, pod.name, pod.incarnation) == (incident.rank, incident.pod, entry.incarnation):
            return pod if entry.intent != "Run" else None
    return None

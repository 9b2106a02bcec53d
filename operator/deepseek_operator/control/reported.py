"""Asks the leader of each newly serving group for its memory, once an incarnation, beside the work and never in it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import aiohttp

from deepseek_operator.api.names import API_PORT
from deepseek_operator.control.cache import Key
from deepseek_operator.engines.select import read_metrics
from deepseek_operator.lifecycle.entries import Report
from deepseek_operator.lifecycle.records import DeploymentRecord, PodRecord

logger = logging.getLogger(__name__)

SECONDS: Final = 2.5
"""For one answer, connection included."""
AT_ONCE: Final = 16
PAGE_LIMIT: Final = 8 * 2**20
"""Bytes of a page that are read; SGLang's is some hundred KiB."""
HOW_TO_REACH: Final = "metricsNamespaceLabels in the operator's configuration lets its namespace in"


class Reporter:
    """Side tasks and their answers; what status has taken over is forgotten."""

    def __init__(self, done: Callable[[set[Key]], None], *, port: int = API_PORT) -> None:
        self._done = done
        self._port = port
        self._tasks: dict[tuple[str, int, int], asyncio.Task[None]] = {}
        self._answers: dict[str, dict[int, Report]] = {}
        self._gate = asyncio.Semaphore(AT_ONCE)

    def answers(self, uid: str) -> Mapping[int, Report]:
        """By group: what came in since status was written."""
        return self._answers.get(uid, {})

    def look(self, deployment: DeploymentRecord, pods: Mapping[int, Sequence[PodRecord]]) -> None:
        """Start a task for each group that serves and has not been asked in its present incarnation."""
        answers = self._answers.get(deployment.uid, {})
        engine = str(deployment.status.get("plan", {}).get("engine", ""))
        for group in deployment.status.get("groups", ()):
            index, incarnation = group["index"], group.get("incarnation", 1)
            if group.get("memory", {}).get("incarnation") == incarnation:
                answers.pop(index, None)
                continue
            known = answers.get(index)
            leader = next((pod for pod in pods.get(index, ()) if pod.rank == 0 and pod.ip), None)
            job = (deployment.uid, index, incarnation)
            if not group.get("ready") or leader is None or job in self._tasks:
                continue
            if known is None or known.incarnation != incarnation:
                key = (deployment.namespace, deployment.name)
                self._tasks[job] = asyncio.create_task(self._run(key, job, leader.ip, engine))
        if not answers:
            self._answers.pop(deployment.uid, None)

    async def close(self) -> None:
        """End what still runs."""
        tasks = tuple(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, key: Key, job: tuple[str, int, int], address: str, engine: str) -> None:
        uid, index, incarnation = job
        try:
            async with self._gate:
                report = await ask(address, self._port, engine=engine, incarnation=incarnation)
            self._answers.setdefault(uid, {})[index] = report
            self._done({key})
        finally:
            del self._tasks[job]


async def ask(address: str, port: int, *, engine: str, incarnation: int) -> Report:
    """The figures of a leader's metrics page; where there are none, why."""
    host = f"[{address}]" if ":" in address else address
    url = f"http://{host}:{port}/metrics"
    try:
        timeout = aiohttp.ClientTimeout(total=SECONDS)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(url, allow_redirects=False) as answer,
        ):
            if answer.status != 200:
                return Report(incarnation=incarnation, unknown=f"{url} answers {answer.status}")
            page = bytearray()
            async for part in answer.content.iter_chunked(2**16):
                page += part
                if len(page) > PAGE_LIMIT:
                    break
    except TimeoutError:
        return Report(incarnation=incarnation, unknown=f"{url} did not answer in {SECONDS} s; {HOW_TO_REACH}")
    except (aiohttp.ClientError, OSError) as error:
        return Report(incarnation=incarnation, unknown=f"{url} cannot be reached: {error}; {HOW_TO_REACH}")
    found = read_metrics(engine, page.decode(errors="replace"))
    if found is None:
        return Report(incarnation=incarnation, unknown=f"{url} has no number of KV tokens")
    return Report(incarnation=incarnation, kv_tokens=found.kv_tokens, weights_gib=found.weights_gib)

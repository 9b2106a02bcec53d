"""Asks containers that prepare weights how far they are, beside the work and never in it.

The tool serves its progress as JSON on the port that the engine takes later (weights/progress.py). Nobody need answer:
without an answer status tells the stage and no figures.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import aiohttp

from deepseek_operator.api.names import API_PORT
from deepseek_operator.control.cache import Key
from deepseek_operator.lifecycle.entries import Progress
from deepseek_operator.lifecycle.records import DeploymentRecord, PodRecord

EVERY_SECONDS: Final = 15.0
"""Between two questions to a pod: a status write each, for downloads that take an hour."""
SECONDS: Final = 2.0
"""For one answer, connection included."""
AT_ONCE: Final = 16
PAGE_LIMIT: Final = 2**16
_PHASES: Final = frozenset({"fetch", "cast", "shard", "verify", "check", "read"})


class ProgressReader:
    """Side tasks and their answers, by UID of the pod; forgotten when the pod is done."""

    def __init__(self, done: Callable[[set[Key]], None], *, port: int = API_PORT) -> None:
        self._done = done
        self._port = port
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._asked: dict[str, float] = {}
        self._answers: dict[str, dict[str, Progress]] = {}
        self._gate = asyncio.Semaphore(AT_ONCE)

    def answers(self, uid: str) -> Mapping[str, Progress]:
        """What pods of a deployment said last."""
        return self._answers.get(uid, {})

    def look(self, deployment: DeploymentRecord, pods: Iterable[PodRecord]) -> float | None:
        """Ask the pods that are at work and have not been asked lately; seconds until they are to be asked again."""
        working = {pod.uid: pod for pod in pods if pod.ip and (pod.fetching or pod.job) and pod.step}
        known = self._answers.get(deployment.uid, {})
        for uid in known.keys() - working.keys():
            del known[uid]
        if not working:
            self._answers.pop(deployment.uid, None)
            return None
        now = time.monotonic()
        self._asked = {uid: asked for uid, asked in self._asked.items() if now - asked < 2 * EVERY_SECONDS}
        for uid, pod in working.items():
            if uid not in self._tasks and now - self._asked.get(uid, float("-inf")) >= EVERY_SECONDS:
                self._asked[uid] = now
                key = (deployment.namespace, deployment.name)
                self._tasks[uid] = asyncio.create_task(self._run(key, deployment.uid, uid, pod.ip))
        return EVERY_SECONDS

    async def close(self) -> None:
        """End what still runs."""
        tasks = tuple(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, key: Key, owner: str, uid: str, address: str) -> None:
        try:
            async with self._gate:
                found = await ask(address, self._port)
            if found is not None:
                self._answers.setdefault(owner, {})[uid] = found
                self._done({key})
        finally:
            del self._tasks[uid]


async def ask(address: str, port: int) -> Progress | None:
    """What the tool in a pod answers; None where it does not, or somebody else does."""
    host = f"[{address}]" if ":" in address else address
    try:
        timeout = aiohttp.ClientTimeout(total=SECONDS)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(f"http://{host}:{port}/", allow_redirects=False) as answer,
        ):
            if answer.status != 200:
                return None
            return read(json.loads(await answer.content.read(PAGE_LIMIT)))
    except (TimeoutError, aiohttp.ClientError, OSError, ValueError):
        return None


def read(document: Any) -> Progress | None:
    """Progress out of the tool's document; None for one of another shape."""
    match document:
        case {"phase": str(phase), "bytesDone": int(done), "bytesTotal": int(total)} if done >= 0 and total > 0:
            word = phase.partition(" ")[0]
            rate, left = document.get("bytesPerSecond"), document.get("secondsLeft")
            return Progress(
                phase=word if word in _PHASES else "verify",
                bytes_done=min(done, total),
                bytes_total=total,
                bytes_per_second=rate if isinstance(rate, int) else None,
                seconds_left=left if isinstance(left, int) else None,
            )
    return None

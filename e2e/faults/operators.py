"""Operator processes of the harness: started through the nursery, known by their pids, asked by their metrics."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import aiohttp

from e2e.cluster import ClusterError
from e2e.faults.proxy import free_port

CONFIG: Final = {"weights": {"nodePath": "/var/lib/deepseek"}}


@dataclass(slots=True, kw_only=True)
class OperatorProcess:
    """One `deepseek-operator run`."""

    pid: int
    port: int
    log: Path
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    status: int | None = None
    killed: bool = False
    """By the harness; one that ended without that ended by itself."""

    def signal(self, number: signal.Signals) -> None:
        """Send a signal unless the process has ended."""
        if not self.ended.is_set():
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def kill(self) -> None:
        """SIGKILL; returns when the process is gone."""
        self.killed = True
        self.signal(signal.SIGKILL)
        await self.ended.wait()

    @property
    def last_words(self) -> str:
        """The end of its log, with the exception that ended it."""
        return self.log.read_text(errors="replace")[-16_000:]

    async def metrics(self) -> dict[str, float]:
        """The sum of each metric's series; empty while nothing answers."""
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session,
                session.get(f"http://127.0.0.1:{self.port}/metrics") as answer,
            ):
                text = await answer.text()
        except (aiohttp.ClientError, TimeoutError):
            return {}
        sums: dict[str, float] = {}
        for line in text.splitlines():
            if not line.startswith("#"):
                series, _, value = line.rpartition(" ")
                name = series.partition("{")[0]
                sums[name] = sums.get(name, 0.0) + float(value)
        return sums


class Nursery:
    """Starts operators; use as ``async with``: leaving it kills those that still run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started = 0
        self._orders: dict[int, asyncio.Future[int]] = {}
        self._running: dict[int, OperatorProcess] = {}
        self._ended: dict[int, int] = {}

    async def __aenter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / "operator.json").write_text(json.dumps(CONFIG), encoding="utf-8")
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "e2e.faults.nursery",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        orders_to, answers_from = self._process.stdin, self._process.stdout
        if orders_to is None or answers_from is None:
            raise ClusterError("the nursery has no pipes")
        self._orders_to = orders_to
        self._reader = asyncio.create_task(self._read(answers_from))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._orders_to.close()
        await self._process.wait()
        await self._reader

    async def start(self, *, kubeconfig: Path, namespace: str, config: dict[str, Any] | None = None) -> OperatorProcess:
        """Start an operator that serves one namespace and keeps its Lease there."""
        self._started += 1
        order = self._started
        log = self._folder / f"{namespace}.{order}.log"
        settings = self._folder / "operator.json"
        if config is not None:
            settings = self._folder / f"{namespace}.{order}.json"
            settings.write_text(json.dumps({**CONFIG, **config}), encoding="utf-8")
        port = free_port()
        message = {
            "order": order,
            "arguments": ["run", "--namespace", namespace, "--config", str(settings)],
            "environment": {
                "KUBECONFIG": str(kubeconfig),
                "HTTP_PORT": str(port),
                "POD_NAMESPACE": namespace,
                "POD_NAME": f"operator-{order}",
            },
            "log": str(log),
        }
        self._orders[order] = asyncio.get_running_loop().create_future()
        self._orders_to.write(json.dumps(message).encode() + b"\n")
        await self._orders_to.drain()
        started = OperatorProcess(pid=await self._orders[order], port=port, log=log)
        self._running[started.pid] = started
        if started.pid in self._ended:
            self._finish(started.pid, self._ended.pop(started.pid))
        return started

    async def _read(self, answers: asyncio.StreamReader) -> None:
        async for line in answers:
            message = json.loads(line)
            if "ended" in message:
                self._finish(message["ended"], message["status"])
            else:
                self._orders.pop(message["order"]).set_result(message["pid"])

    def _finish(self, pid: int, status: int) -> None:
        process = self._running.pop(pid, None)
        if process is None:
            self._ended[pid] = status
            return
        process.status = status
        process.ended.set()

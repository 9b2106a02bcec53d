"""The ranks of one node: a process a device, started with the titles that the engine's own have."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from e2e.engine.machine import RefusedError

POLL_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """All ranks, and this node's place among them."""

    engine: str
    world: int
    nodes: int
    node: int
    store: tuple[str, int]
    address: str
    """What this node's ranks tell the others."""
    dist_seconds: float
    step_seconds: float
    """How long rank 0 waits for a step of all ranks."""
    title: Callable[[int], str]

    @property
    def local(self) -> int:
        """Ranks of this node."""
        return self.world // self.nodes

    @property
    def first(self) -> int:
        """The first of this node's ranks."""
        return self.node * self.local


class Node:
    """The ranks of this node."""

    def __init__(self, group: Group) -> None:
        self.group = group
        self.ranks = [self._start(group.first + index) for index in range(group.local)]

    def _start(self, rank: int) -> subprocess.Popen[str]:
        group = self.group
        settings = {
            "engine": group.engine,
            "title": group.title(rank),
            "rank": rank,
            "world": group.world,
            "nodes": group.nodes,
            "store": group.store,
            "address": group.address,
            "dist_seconds": group.dist_seconds,
            "step_seconds": group.step_seconds,
        }
        return subprocess.Popen(
            [group.title(rank), "-S", "-m", "e2e.engine.rank"],
            executable=sys.executable,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            env={**os.environ, "STAND_IN_RANK": json.dumps(settings)},
        )

    def wait_ready(self, *, died: str) -> None:
        """Return when every rank of this node has loaded; raises ``RefusedError`` when one dies before.

        ``died`` is the engine's word for that, with {rank} and {code}.
        """
        ready: set[int] = set()
        indexes = range(len(self.ranks))
        threads = [threading.Thread(target=self._hear, args=(index, ready), daemon=True) for index in indexes]
        for thread in threads:
            thread.start()
        while len(ready) < len(self.ranks):
            for index in indexes:
                code = self.ranks[index].poll()
                if code is not None and index not in ready:
                    raise RefusedError(died.format(rank=self.group.first + index, code=code))
            time.sleep(POLL_SECONDS)
        for thread in threads:
            thread.join()

    def _hear(self, index: int, ready: set[int]) -> None:
        output = self.ranks[index].stdout
        if output is not None and "ready" in json.loads(output.readline() or "{}"):
            ready.add(index)

    def dead(self) -> subprocess.Popen[str] | None:
        """A rank that has ended, or None."""
        return next((rank for rank in self.ranks if rank.poll() is not None), None)

    def strike(self) -> None:
        """Kill all ranks and wait for none: a signal handler must not wait for what its own thread waits for."""
        for rank in self.ranks:
            with suppress(ProcessLookupError):
                os.kill(rank.pid, signal.SIGKILL)

    def kill(self) -> None:
        """End all ranks at once."""
        self.strike()
        for rank in self.ranks:
            rank.wait()

"""A keyed work queue with the semantics of client-go's.

A key is worked on by one worker at a time; a key added while it is worked on runs once more afterwards; a failing key
waits exponentially longer, with jitter, and is forgiven by one success. Urgent keys go first: a rank that failed must
not wait behind a thousand deployments that a node has woken.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

BASE_SECONDS = 0.5
LIMIT_SECONDS = 300.0


class WorkQueue(Generic[Key]):
    """Keys to work on. Not for use across threads."""

    def __init__(self) -> None:
        self._ready: deque[Key] = deque()
        self._urgent: deque[Key] = deque()
        self._hurried: set[Key] = set()
        """Worked on when they became urgent."""
        self._dirty: set[Key] = set()
        self._working: set[Key] = set()
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._failures: dict[Key, int] = {}
        self._arrived = asyncio.Event()

    def __len__(self) -> int:
        return len(self._dirty)

    def add(self, key: Key) -> None:
        """Have the key worked on soon; adding it twice is once."""
        self._add(key, self._ready)

    def add_urgent(self, key: Key) -> None:
        """Have the key worked on before those that are not urgent."""
        if key in self._working:
            self._hurried.add(key)
        elif key in self._dirty and key not in self._urgent:
            # It waits in the other line already; whoever takes it there finds it done.
            self._urgent.append(key)
        self._add(key, self._urgent)

    def _add(self, key: Key, line: deque[Key]) -> None:
        if key in self._dirty:
            return
        self._dirty.add(key)
        if key not in self._working:
            line.append(key)
            self._arrived.set()

    def add_after(self, key: Key, seconds: float) -> None:
        """Have the key worked on after a while, or earlier if something else asks for it earlier."""
        loop = asyncio.get_running_loop()
        when = loop.time() + seconds
        pending = self._timers.get(key)
        if pending and not pending.cancelled() and pending.when() <= when:
            return
        if pending:
            pending.cancel()
        self._timers[key] = loop.call_later(seconds, self._due, key)

    async def get(self) -> Key:
        """The next key; it must be given back with ``done``."""
        while True:
            while not (self._urgent or self._ready):
                self._arrived.clear()
                await self._arrived.wait()
            key = (self._urgent or self._ready).popleft()
            if key in self._dirty and key not in self._working:
                self._dirty.discard(key)
                self._working.add(key)
                return key

    def done(self, key: Key) -> None:
        """The work on a key has ended, well or not."""
        self._working.discard(key)
        line = self._urgent if key in self._hurried else self._ready
        self._hurried.discard(key)
        if key in self._dirty:
            line.append(key)
            self._arrived.set()

    def failed(self, key: Key, *, at_least: float = 0.0) -> float:
        """Work on the key again after a growing while; returns the seconds."""
        count = self._failures.get(key, 0)
        self._failures[key] = count + 1
        delay = min(LIMIT_SECONDS, BASE_SECONDS * 2 ** min(count, 16))
        wait: float = max(at_least, delay * random.uniform(0.8, 1.2))  # noqa: S311 - jitter, not a secret
        self.add_after(key, wait)
        return wait

    def succeeded(self, key: Key) -> None:
        """Forget the key's failures."""
        self._failures.pop(key, None)

    def _due(self, key: Key) -> None:
        self._timers.pop(key, None)
        self.add(key)

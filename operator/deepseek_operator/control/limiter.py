"""A token bucket: so many writes a second, with a burst above that."""

from __future__ import annotations

import asyncio


class WriteLimiter:
    """Waits until a write is allowed; fair in order of arrival."""

    def __init__(self, *, per_second: float, burst: int) -> None:
        self._interval = 1.0 / per_second
        self._burst = burst
        self._next = 0.0

    async def take(self) -> None:
        """Return when one write may go out."""
        now = asyncio.get_running_loop().time()
        self._next = max(self._next, now - self._interval * self._burst) + self._interval
        if self._next > now:
            await asyncio.sleep(self._next - now)

"""The API server's clock: the one that deadlines and backoffs are judged by.

Status, pods and nodes carry times of the control plane. A machine whose own clock is wrong, or jumps, would find every
start overdue or no backoff ever over. So "now" is what the API server said last, in the Date of its answers, and the
monotonic time since. The leader renews its Lease every two seconds, so the last answer is never old.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

RESOLUTION: Final = 1.0
"""Seconds; Date has whole ones (RFC 9110, section 5.6.7)."""


class ServerClock:
    """Follows Date headers; before the first one it is the machine's own clock."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._ahead: float | None = None
        """Seconds that the server's clock, as seconds since the epoch, is ahead of the monotonic one."""

    def heard(self, date: str | None, *, asked: float) -> None:
        """Take in the Date of an answer to a request that was sent at ``asked``, by the monotonic clock.

        The server wrote it at some moment since, so it bounds the difference of the clocks from both sides; what was
        believed is moved only as far as that asks for.
        """
        try:
            told = parsedate_to_datetime(date or "").timestamp()
        except ValueError:
            return
        least, most = told - self._monotonic(), told + RESOLUTION - asked
        self._ahead = least if self._ahead is None else min(max(self._ahead, least), most)

    def now(self) -> datetime:
        """The server's time, right to a second."""
        if self._ahead is None:
            return datetime.now(UTC)
        return datetime.fromtimestamp(self._monotonic() + self._ahead, UTC)

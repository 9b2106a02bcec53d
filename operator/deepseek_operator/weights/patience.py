"""Trying again: how often, how long between, and when an error is final."""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from deepseek_operator.weights.errors import TransferError, WeightsError
from deepseek_operator.weights.progress import say

T = TypeVar("T")

_QUERY: Final = re.compile(r"\?[^\s'\"<>]+")
_LONGEST: Final = 240


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a transfer is tried.

    Attributes:
        attempts: Failures in a row without one new byte.
        first_seconds: Wait after the first failure; doubled each time, with jitter.
        longest_seconds: Longest wait. A server that names a longer one (Retry-After) is obeyed.
    """

    attempts: int = 10
    first_seconds: float = 1.0
    longest_seconds: float = 60.0

    def wait(self, failures: int) -> float:
        """Seconds after so many failures in a row."""
        longest = min(self.first_seconds * 2.0 ** (failures - 1), self.longest_seconds)
        # Many pods meet the same limit at the same moment; half of the wait spreads them.
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - no secret


class StoppedError(Exception):
    """The work was stopped from elsewhere."""


def persist(
    action: Callable[[], T],
    *,
    what: str,
    patience: Patience,
    judge: Callable[[Exception], WeightsError | None],
    position: Callable[[], int],
    stop: threading.Event,
) -> T:
    """Run an action until it succeeds, its error is final, or patience ends.

    Args:
        action: What is tried.
        what: Names it in messages.
        patience: How long.
        judge: The meaning of an error; None where trying again may help.
        position: Bytes received so far: as long as they grow, failures do not count.
        stop: Ends the waiting.

    Raises:
        WeightsError: As ``judge`` says, or TransferError when patience ended.
        StoppedError: ``stop`` was set.
    """
    failures, before = 0, position()
    while True:
        try:
            return action()
        except (WeightsError, StoppedError):
            raise
        except Exception as error:
            verdict = judge(error)
            if verdict is not None:
                raise verdict from error
            if position() > before:
                failures, before = 0, position()
            failures += 1
            if failures >= patience.attempts:
                raise TransferError(
                    what,
                    f"failed {failures} times in a row, last with {describe(error)}",
                    "check proxy, endpoint and rate limit; the next run goes on where this one ended",
                ) from error
            seconds = max(patience.wait(failures), retry_after(error))
            say(f"{what}: {describe(error)}; trying again in {seconds:.0f} s")
        if stop.wait(seconds):
            raise StoppedError


def describe(error: BaseException) -> str:
    """An error in one line without anything secret: signed addresses carry their signature in the query."""
    text = str(error).strip().splitlines()
    first = _QUERY.sub("?…", text[0]) if text else ""
    return f"{type(error).__name__}: {first[:_LONGEST]}" if first else type(error).__name__


def retry_after(error: Exception) -> float:
    """Seconds that the server asked to wait (RFC 9110, 10.2.3; dates are not used by hubs); 0 where it did not."""
    headers = getattr(getattr(error, "response", None), "headers", {})
    try:
        return max(float(headers.get("Retry-After", 0)), 0.0)
    except (TypeError, ValueError):
        return 0.0

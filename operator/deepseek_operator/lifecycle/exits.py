"""Exit codes told as people know them."""

from __future__ import annotations

from typing import Final

_SIGNALS: Final = {
    2: "SIGINT",
    4: "SIGILL",
    6: "SIGABRT",
    7: "SIGBUS",
    8: "SIGFPE",
    9: "SIGKILL",
    11: "SIGSEGV",
    13: "SIGPIPE",
    15: "SIGTERM",
}
"""Linux, signal(7): those that end an engine."""
_SIGNALLED: Final = 128
"""A shell's exit code for a signal is 128 and the signal's number."""


def signal_of(code: int | None) -> str:
    """``SIGKILL`` for 137; empty when the code tells of no signal."""
    return _SIGNALS.get(code - _SIGNALLED, "") if code is not None else ""


def told_exit(code: int | None) -> str:
    """`` with exit code 137 (SIGKILL)``, or nothing when there is no code."""
    if code is None:
        return ""
    signal = signal_of(code)
    return f" with exit code {code}" + (f" ({signal})" if signal else "")

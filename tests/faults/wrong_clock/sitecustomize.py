# ruff: noqa: INP001 - Python looks for it beside no package
"""For a process under test: a wall clock that is wrong by what a file says, in seconds; read anew each time.

Python imports this module by itself at its start, from the PYTHONPATH that ``tests/faults/test_clock.py`` gives.
"""

from __future__ import annotations

import datetime as dt
import os
import time
from pathlib import Path

_FILE = Path(os.environ["WRONG_CLOCK"])
_time = time.time
_datetime = dt.datetime


def _wrong() -> float:
    return float(_FILE.read_text() or 0)


class _Wrong(_datetime):
    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> _Wrong:
        return cls.fromtimestamp(_time() + _wrong(), tz)


time.time = lambda: _time() + _wrong()
dt.datetime = _Wrong  # type: ignore[misc]  # replaced before anybody imports it

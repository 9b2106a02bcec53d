"""Faults on command: ``STAND_IN_FAULTS=PHASE:RANK:ACTION,…`` in the environment of all ranks.

Phases: ``start`` (before the rendezvous), ``load``, ``step`` (a token), ``serve`` (rank 0 only). Actions:
``exit=CODE``, ``raise`` (as a Python error), ``hang``, ``slow=SECONDS``, and for ``serve`` ``mute``: healthy, but no
answer ever comes.
Faults of a running rank need no support here: kill, stop or continue its process.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

VARIABLE: Final = "STAND_IN_FAULTS"
LOAD_SECONDS: Final = float(os.environ.get("STAND_IN_LOAD_SECONDS", "0.5"))
PHASES: Final = ("start", "load", "step", "serve")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault; ``value`` is the action's exit code or seconds."""

    phase: str
    rank: int
    action: str
    value: float = 0.0


def read(environment: Mapping[str, str]) -> tuple[Fault, ...]:
    """Return the commanded faults; raises ``ValueError`` for one that means nothing."""
    return tuple(_fault(text) for text in environment.get(VARIABLE, "").split(",") if text)


def _fault(text: str) -> Fault:
    phase, rank, command = text.split(":")
    action, _, value = command.partition("=")
    if phase not in PHASES or action not in {"exit", "raise", "hang", "slow", "mute"}:
        raise ValueError(f"{VARIABLE}: {text}: expected PHASE:RANK:ACTION")
    return Fault(phase=phase, rank=int(rank), action=action, value=float(value or 0))


def strike(faults: tuple[Fault, ...], *, phase: str, rank: int) -> None:
    """Do what was commanded for this rank at this point."""
    for fault in faults:
        if (fault.phase, fault.rank) != (phase, rank):
            continue
        if fault.action == "exit":
            # As an abort in C++: no Python code runs any more.
            os._exit(int(fault.value))
        elif fault.action == "raise":
            raise RuntimeError(f"commanded by {VARIABLE}")
        elif fault.action == "hang":
            os.kill(os.getpid(), signal.SIGSTOP)
        elif fault.action == "slow":
            time.sleep(fault.value)

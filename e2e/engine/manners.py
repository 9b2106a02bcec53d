"""What an engine's ranks do when something ends: where engines differ most, and what an operator must know."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass


def nothing() -> None:
    """The process ends, and nobody else is told."""


def quit_parent() -> None:
    """SGLang's run_scheduler_process: the parent ends its whole node."""
    os.kill(os.getppid(), signal.SIGQUIT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manners:
    """One engine's."""

    load_barrier_seconds: float
    """How long a rank that has loaded waits for the others."""
    notices_when_idle: bool
    """Whether rank 0 notices that a neighbour's connection ended while nothing is asked."""
    ends_with_neighbour: bool
    """Whether another rank ends when its neighbour does; else it says so and waits for ever."""
    ignores_sigterm: bool
    on_error: Callable[[], None]
    """What a rank does to others before it ends with an error."""


def of(engine: str) -> Manners:
    """The manners of an engine, by the name of its package."""
    found: Manners = importlib.import_module(f"e2e.engine.{engine}.manners").MANNERS
    return found


def log(text: str) -> None:
    """One line of the pod's log."""
    print(text, file=sys.stderr, flush=True)

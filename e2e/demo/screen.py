"""What the demonstration prints: headings, the commands it runs, and what they answered."""

from __future__ import annotations

import shlex
import textwrap
import time
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

POLL_SECONDS = 0.2

Found = TypeVar("Found")

_console = Console(highlight=False, markup=False)


class DemoError(Exception):
    """The story cannot go on; the message says what was waited for and where to look."""


def heading(text: str) -> None:
    """Begin a chapter."""
    _console.print(f"\n── {text}", style="bold cyan")


def command(arguments: Sequence[str]) -> None:
    """Show a command as one would type it."""
    _console.print(f"$ {shlex.join(arguments)}", style="bold", soft_wrap=True)


def output(text: str) -> None:
    """Show what a command answered, as it is."""
    if text.strip():
        _console.print(text.rstrip(), soft_wrap=True)


def launch_command(words: Sequence[str]) -> None:
    """Show a long command line over several lines that can be copied."""
    lines = textwrap.wrap(
        shlex.join(words),
        width=max(40, min(_console.width, 110) - 6),
        break_long_words=False,
        break_on_hyphens=False,
    )
    _console.print(" \\\n    ".join(lines), soft_wrap=True)


def until(condition: Callable[[], Found | None], *, what: str, seconds: float, check: Callable[[], None]) -> Found:
    """Return what the condition returns as soon as it is something.

    ``check`` runs between looks and raises when waiting has become useless.

    Raises:
        DemoError: ``seconds`` have passed.
    """
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found is not None:
            return found
        check()
        if time.monotonic() > deadline:
            raise DemoError(f"waited {seconds:.0f} s for {what}")
        time.sleep(POLL_SECONDS)

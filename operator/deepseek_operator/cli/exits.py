"""Exit codes of the command line and how failures reach them; scripts rely on the numbers."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from enum import IntEnum
from typing import TYPE_CHECKING

import typer

from deepseek_operator.api.problems import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from deepseek_operator.api.problems import Problem


class Exit(IntEnum):
    """What the process returns."""

    GOOD = 0
    UNEXPECTED = 1
    INPUT_WRONG = 2
    NOTHING_FITS = 3
    CLUSTER_UNREACHABLE = 4


class ClusterUnreachableError(Exception):
    """The API server could not be asked; the message says which one and what to try."""


def tell(message: str) -> None:
    """Prints a message for a person on stderr, so that stdout stays a document."""
    sys.stderr.write(f"{message}\n")


def tell_problems(problems: Iterable[Problem], *, about: str = "") -> None:
    """Prints each problem on a line of its own; ``about`` names the object they are in."""
    for problem in problems:
        tell(f"error: {about}{problem}")


@contextmanager
def failures_as_exit_codes() -> Iterator[None]:
    """Turns the expected failures of a command into a message and its exit code.

    Anything else propagates: it is a defect, and its traceback and exit code 1 are what a report needs.
    """
    try:
        yield
    except InvalidInputError as error:
        tell_problems(error.problems)
        raise typer.Exit(Exit.INPUT_WRONG) from None
    except ClusterUnreachableError as error:
        tell(f"error: {error}")
        raise typer.Exit(Exit.CLUSTER_UNREACHABLE) from None

"""Starts a program of `e2e.under_stubs` and asks it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

CHECK_SECONDS: Final = 120
PROGRAMS: Final = Path(__file__).parents[1] / "under_stubs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What an engine makes of a command: its refusal, or None, and the parsed values by destination."""

    error: str | None
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A program's answer."""

    flags: dict[str, dict[str, Any]]
    outcomes: tuple[Outcome, ...]


def ask(program: str, sources: Path, commands: Sequence[Sequence[str]] = (), **request: Any) -> Answer:
    """Lets a program judge commands; ``flags=True`` asks for the list of flags.

    Raises:
        RuntimeError: the engine's parser does not run under the stubs.
        subprocess.TimeoutExpired: it did not answer in time.
    """
    done = subprocess.run(
        [sys.executable, "-I", str(PROGRAMS / f"{program}.py"), str(sources)],
        input=json.dumps({"commands": [list(command) for command in commands], **request}),
        capture_output=True,
        text=True,
        timeout=CHECK_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"the parser of {program} in {sources} does not run under stubs: {done.stderr[-4000:]}")
    answer = json.loads(done.stdout)
    return Answer(flags=answer["flags"], outcomes=tuple(Outcome(**each) for each in answer["outcomes"]))


def after(program: Sequence[str], command: Sequence[str]) -> list[str]:
    """The words after the program.

    Raises:
        ValueError: the command starts something else.
    """
    size = len(program)
    if tuple(command[:size]) != tuple(program):
        raise ValueError(f"expected a command that starts with {' '.join(program)}, not {' '.join(command[:size])}")
    return list(command[size:])

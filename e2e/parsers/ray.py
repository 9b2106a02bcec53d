"""Ray's own command line: ``ray start`` and ``ray symmetric-run``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from e2e.parsers.child import Outcome, after, ask
from e2e.parsers.sources import RAY, sources

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM = ("ray",)
VERSION = "2.60.0"
"""Newest release; LMDeploy's image brings it, and one derived from vLLM's would."""


def parse(command: Sequence[str], version: str = VERSION) -> Outcome:
    """What a release makes of ``ray start …`` or ``ray symmetric-run … -- PROGRAM …``."""
    return check([command], version)[0]


def check(commands: Sequence[Sequence[str]], version: str = VERSION) -> tuple[Outcome, ...]:
    """What a release makes of every command, in the order given."""
    words = [after(PROGRAM, command) for command in commands]
    return ask("ray", sources(RAY, version), words).outcomes

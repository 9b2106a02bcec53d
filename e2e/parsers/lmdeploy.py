"""LMDeploy's own parser of ``lmdeploy serve api_server`` and ``lmdeploy serve proxy``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from e2e.parsers.child import Outcome, after, ask
from e2e.parsers.sources import LMDEPLOY, sources

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM = ("lmdeploy", "serve")
READS = ()


def parse(command: Sequence[str], version: str) -> Outcome:
    """What a release makes of ``lmdeploy serve …``."""
    return check([command], version)[0]


def check(commands: Sequence[Sequence[str]], version: str) -> tuple[Outcome, ...]:
    """What a release makes of every command, in the order given."""
    words = [after(PROGRAM, command) for command in commands]
    return ask("lmdeploy", sources(LMDEPLOY, version), words).outcomes


def flags(version: str) -> dict[str, dict[str, Any]]:
    """Every flag of a release's ``lmdeploy serve api_server``."""
    return ask("lmdeploy", sources(LMDEPLOY, version), flags=True).flags

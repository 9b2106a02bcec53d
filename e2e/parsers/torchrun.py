"""torchrun's own parser, and the launch configuration that it makes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from e2e.parsers.child import Outcome, after, ask
from e2e.parsers.sources import TORCH, sources

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM = ("torchrun",)
VERSION = "2.4.1"
"""What DeepSeek-Infer pins: inference/requirements.txt of deepseek-ai/DeepSeek-V3."""


def parse(command: Sequence[str], version: str = VERSION) -> Outcome:
    """What a release makes of ``torchrun …``: its arguments, the fields of its LaunchConfig, and ``program``."""
    return check([command], version)[0]


def check(commands: Sequence[Sequence[str]], version: str = VERSION) -> tuple[Outcome, ...]:
    """What a release makes of every command, in the order given."""
    words = [after(PROGRAM, command) for command in commands]
    return ask("torchrun", sources(TORCH, version), words).outcomes

"""vLLM's own parser of ``vllm serve``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from e2e.parsers.child import Outcome, after, ask
from e2e.parsers.sources import VLLM, sources

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM = ("vllm", "serve")
READS = ("nested", "underscores")
"""What vLLM's parser does beyond argparse: utils/argparse_utils.py, FlexibleArgumentParser."""


def parse(command: Sequence[str], version: str) -> Outcome:
    """What a release makes of ``vllm serve …``."""
    return check([command], version)[0]


def check(commands: Sequence[Sequence[str]], version: str) -> tuple[Outcome, ...]:
    """What a release makes of every command, in the order given."""
    requests = [{"argv": after(PROGRAM, command)} for command in commands]
    return ask("vllm", sources(VLLM, version), requests).outcomes


def parallel(commands: Sequence[Sequence[str]], version: str) -> tuple[Outcome, ...]:
    """How a release would spread the ranks of every command: its ParallelConfig, or why it refuses to."""
    requests = [{"argv": after(PROGRAM, command)} for command in commands]
    return ask("vllm", sources(VLLM, version), requests, parallel=True).outcomes


def flags(version: str) -> dict[str, dict[str, Any]]:
    """Every flag of a release's ``vllm serve``."""
    return ask("vllm", sources(VLLM, version), flags=True).flags

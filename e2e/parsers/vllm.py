"""vLLM's own parser of ``vllm serve``, and its own checks of the configuration that follows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from e2e.parsers.child import Outcome, after, ask
from e2e.parsers.sources import VLLM, sources
from e2e.sglang_parser import DEEPSEEK_V3

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PROGRAM = ("vllm", "serve")
READS = ("nested", "underscores")
"""What vLLM's parser does beyond argparse: utils/argparse_utils.py, FlexibleArgumentParser."""


def parse(
    command: Sequence[str],
    version: str,
    *,
    vendor: str = "nvidia",
    devices: int = 8,
    model: Mapping[str, Any] = DEEPSEEK_V3,
) -> Outcome:
    """What a release makes of ``vllm serve …``, and whether the engine's configuration passes its own checks.

    Args:
        command: the whole of it, program included.
        version: of vLLM; for vLLM-Ascend the one that it pairs with.
        vendor: nvidia, amd, ascend or cpu.
        devices: of a node.
        model: the checkpoint's config.json.
    """
    return check([command], version, vendor=vendor, devices=devices, model=model)[0]


def check(
    commands: Sequence[Sequence[str]],
    version: str,
    *,
    vendor: str = "nvidia",
    devices: int = 8,
    model: Mapping[str, Any] = DEEPSEEK_V3,
) -> tuple[Outcome, ...]:
    """What a release makes of every command, in the order given: see `parse`."""
    words = [after(PROGRAM, command) for command in commands]
    node = {"vendor": vendor, "devices": devices}
    return ask("vllm", sources(VLLM, version), words, model=dict(model), **node).outcomes


def parallel(commands: Sequence[Sequence[str]], version: str) -> tuple[Outcome, ...]:
    """How a release would spread the ranks of every command: its ParallelConfig, or why it refuses to."""
    words = [after(PROGRAM, command) for command in commands]
    node: dict[str, Any] = {"vendor": "nvidia", "devices": 8, "model": dict(DEEPSEEK_V3)}
    return ask("vllm", sources(VLLM, version), words, parallel=True, **node).outcomes


def flags(version: str) -> dict[str, dict[str, Any]]:
    """Every flag of a release's ``vllm serve``."""
    return ask("vllm", sources(VLLM, version), flags=True, vendor="nvidia", devices=8).flags

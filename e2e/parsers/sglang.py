"""SGLang's own parser, resolution and validation of arguments, in the form of the other engines' (`sglang_parser`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from e2e import sglang_parser
from e2e.parsers.child import Outcome, after

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM = ("python3", "-m", "sglang.launch_server")
READS = ()
flags = sglang_parser.flags


def parse(command: Sequence[str], version: str, *, vendor: str = "nvidia") -> Outcome:
    """What a release makes of ``python3 -m sglang.launch_server …`` for DeepSeek-V3."""
    words = sglang_parser.Command(argv=tuple(after(PROGRAM, command)), vendor=vendor)
    (outcome,) = sglang_parser.check(version, [words])
    return Outcome(error=outcome.error, values=outcome.values)

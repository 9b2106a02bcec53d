"""DeepSeek-Infer's ``generate.py`` as argparse would read it, by the catalogue's list of its flags.

The package registry has no sources of it, so this is not its own parser: spellings, types and switches are those that
it defines (engines/deepseek-infer-flags); two flags are required, and one of two modes, as it asserts.
"""

from __future__ import annotations

import argparse
import contextlib
import io
from typing import TYPE_CHECKING

from deepseek_operator.engines.flags import known_versions, release_flags
from e2e.parsers.child import Outcome, after

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM = ("generate.py",)
REQUIRED = {"--ckpt-path", "--config"}
TYPES = {"int": int, "float": float}


def parse(command: Sequence[str], version: str | None = None) -> Outcome:
    """What ``generate.py …`` means: the part of a torchrun command that starts with it."""
    parser = argparse.ArgumentParser(prog="generate.py")
    known = release_flags("deepseek-infer", version or known_versions("deepseek-infer")[-1])
    for name, flag in known.by_spelling.items():
        if flag.values == "0":
            parser.add_argument(name, action="store_true")
        else:
            parser.add_argument(name, type=TYPES.get(flag.type, str), required=name in REQUIRED)
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            found = vars(parser.parse_args(after(PROGRAM, command)))
    except SystemExit:
        return Outcome(error=complaint.getvalue().strip().splitlines()[-1], values={})
    if not (found["input_file"] or found["interactive"]):
        return Outcome(error="Either input-file or interactive mode must be specified", values=found)
    return Outcome(error=None, values=found)

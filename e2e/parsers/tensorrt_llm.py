"""``trtllm-serve`` as click would read it, by the catalogue's list of its options.

The package registry has no sources of TensorRT-LLM, so this is not its own parser: spellings, types, switches and
choices are those that its command module defines (engines/tensorrt-llm-flags), read by click as TensorRT-LLM does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from deepseek_operator.engines.flags import Flag, release_flags
from e2e.parsers.child import Outcome, after

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM = ("trtllm-serve",)
TYPES = {"int": click.INT, "float": click.FLOAT}


def parse(command: Sequence[str], version: str) -> Outcome:
    """What ``trtllm-serve MODEL …`` means."""
    flags = {flag.name: flag for flag in release_flags("tensorrt-llm", version).by_spelling.values()}
    options = [_option(flag) for flag in flags.values()]
    program = click.Command("trtllm-serve", params=[click.Argument(["model"]), *options], callback=lambda **_: None)
    try:
        found = program.make_context(program.name, after(PROGRAM, command)).params
    except click.ClickException as error:
        return Outcome(error=error.format_message(), values={})
    return Outcome(error=None, values=found)


def _option(flag: Flag) -> click.Option:
    spellings = [flag.name, *flag.aliases]
    # click names the value by the first of them.
    name = flag.name.removeprefix("--").replace("-", "_")
    if flag.values == "0":
        return click.Option([*spellings, name], is_flag=True)
    kind = click.Choice(flag.choices) if flag.choices else TYPES.get(flag.type, click.STRING)
    return click.Option([*spellings, name], type=kind)

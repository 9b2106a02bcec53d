"""Ray's own command line, click's: see `answer`.

``python ray.py SOURCE``; a command is what follows ``ray``: ``start …`` or ``symmetric-run … -- PROGRAM …``. The words
between ``symmetric-run`` and ``--`` are judged as Ray itself judges them and then by ``ray start``, which gets them.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import click

from e2e.under_stubs.answer import PLAIN, Outcome, asked, quiet, respond
from e2e.under_stubs.stubs import install

if TYPE_CHECKING:
    from collections.abc import Sequence

EXECUTED = (
    "ray._common.constants",
    "ray._common.network_utils",
    "ray._common.utils",
    "ray._private.label_utils",
    "ray._private.ray_constants",
    "ray.autoscaler._private.cli_logger",
    "ray.scripts",
)


def main() -> None:
    """Answers the request on standard input."""
    quiet()
    install(Path(sys.argv[1]), ("ray",), EXECUTED, absent=("colorful",))
    commands = importlib.import_module("ray.scripts.scripts").cli.commands
    symmetric = importlib.import_module("ray.scripts.symmetric_run")

    def understood(name: str, words: Sequence[str]) -> dict[str, Any]:
        return dict(commands[name].make_context(name, list(words)).params)

    def parse(argv: Sequence[str]) -> dict[str, Any]:
        name, *words = argv
        if name not in commands:
            raise click.UsageError(f"No such command '{name}'.")
        if name != "symmetric-run":
            return understood(name, words)
        if "--" not in words:
            raise click.UsageError("No separator '--' found in arguments")
        at = words.index("--")
        if not words[at + 1 :]:
            raise click.UsageError("No entrypoint command provided.")
        found = understood(name, words)
        started = symmetric.curate_and_validate_ray_start_args(words[:at])
        return {**understood("start", ["--address", found["address"], "--block", *started]), **found}

    def judge(command: list[str]) -> Outcome:
        try:
            found = parse(command)
        except click.ClickException as error:
            return {"error": error.format_message(), "values": {}}
        return {"error": None, "values": {key: value for key, value in found.items() if isinstance(value, PLAIN)}}

    respond(asked(), judge, dict)


if __name__ == "__main__":
    main()

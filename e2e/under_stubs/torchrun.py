"""torchrun's own parser, and the launch configuration it makes of the words: see `answer`.

``python torchrun.py SOURCE``; a command is what follows ``torchrun``. Values contain the launch configuration's too.
"""

from __future__ import annotations

import dataclasses
import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from e2e.under_stubs.answer import Outcome, asked, flags_of, parsed, quiet, respond
from e2e.under_stubs.stubs import install

if TYPE_CHECKING:
    from collections.abc import Mapping

EXECUTED = (
    "torch.distributed.argparse_util",
    "torch.distributed.elastic.multiprocessing.api",
    "torch.distributed.elastic.rendezvous.utils",
    "torch.distributed.elastic.utils",
    "torch.distributed.launcher.api",
    "torch.distributed.run",
)


def main() -> None:
    """Answers the request on standard input."""
    quiet()
    install(Path(sys.argv[1]), ("torch",), EXECUTED)
    run = importlib.import_module("torch.distributed.run")

    def parse(argv: list[str]) -> Mapping[str, Any]:
        arguments = run.parse_args(argv)
        config, _, words = run.config_from_args(arguments)
        fields = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
        return {**vars(arguments), **fields, "program": words}

    def judge(command: list[str]) -> Outcome:
        return parsed(lambda: parse(command))

    respond(asked(), judge, lambda: flags_of(run.get_args_parser()))


if __name__ == "__main__":
    main()

"""LMDeploy's own parser of ``lmdeploy serve``: see `answer`. A command is what follows ``lmdeploy serve``.

``python lmdeploy.py SOURCE``; its flags are those of ``api_server``.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from e2e.under_stubs.answer import Outcome, asked, flags_of, parsed, quiet, respond
from e2e.under_stubs.stubs import install

EXECUTED = (
    "lmdeploy.cli",
    "lmdeploy.messages",
    "lmdeploy.pytorch.disagg.config",
    "lmdeploy.pytorch.disagg.conn.protocol",
    "lmdeploy.serve.parsers",
    "lmdeploy.utils",
    "lmdeploy.version",
)


def main() -> None:
    """Answers the request on standard input."""
    quiet()
    install(Path(sys.argv[1]), ("lmdeploy",), EXECUTED)
    top = importlib.import_module("lmdeploy.cli.cli").CLI
    serve = importlib.import_module("lmdeploy.cli.serve").SubCliServe
    serve.add_parsers()

    def judge(command: list[str]) -> Outcome:
        return parsed(lambda: vars(top.parser.parse_args(["serve", *command])))

    respond(asked(), judge, lambda: flags_of(serve.subparsers.choices["api_server"]))


if __name__ == "__main__":
    main()

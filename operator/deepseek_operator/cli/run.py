"""``deepseek-operator run``: the operator."""

from __future__ import annotations

from typing import Annotated

import typer

from deepseek_operator.cli.documents import read_config
from deepseek_operator.cli.exits import ClusterUnreachableError, failures_as_exit_codes
from deepseek_operator.cli.options import ConfigFile


def run(
    *,
    namespace: Annotated[
        list[str] | None,
        typer.Option("--namespace", "-n", metavar="NS", help="Serve only this namespace; repeatable. Default: all."),
    ] = None,
    config: ConfigFile = None,
) -> None:
    """Run the operator until it is told to stop (SIGTERM)."""
    with failures_as_exit_codes():
        settings = read_config(config)
        # Imported here: kopf and the API client would triple the start of every offline command.
        from deepseek_operator.control import process  # noqa: PLC0415
        from deepseek_operator.control.client import UnreachableError  # noqa: PLC0415

        try:
            raise typer.Exit(process.run(settings, tuple(namespace or ())))
        except UnreachableError as error:
            raise ClusterUnreachableError(str(error)) from None

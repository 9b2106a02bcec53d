"""The executable ``deepseek-operator``, and the part of it that users reach as ``kubectl deepseek``."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from deepseek_operator.cli.cache import cache
from deepseek_operator.cli.crd import crd
from deepseek_operator.cli.fit import fit
from deepseek_operator.cli.plan import plan
from deepseek_operator.cli.render import render
from deepseek_operator.cli.rollout import rollout
from deepseek_operator.cli.run import run
from deepseek_operator.cli.support import support
from deepseek_operator.cli.weights import program as weights

_EXIT_CODES = """Exit codes: 0 good, 1 unexpected failure, 2 the input is wrong, 3 nothing offered fits,
4 the cluster cannot be reached."""


def _tell_version(asked: bool) -> None:  # noqa: FBT001 - typer calls it so
    if asked:
        typer.echo(f"deepseek-operator {version('deepseek-operator')}")
        raise typer.Exit


def _options(
    *,
    _version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """What stands before a command."""


def _program(*, about: str) -> typer.Typer:
    program = typer.Typer(
        help=about,
        epilog=_EXIT_CODES,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    for command in (plan, render, fit, support, crd):
        program.command()(command)
    program.add_typer(rollout, name="rollout")
    program.add_typer(cache, name="cache")
    program.callback(help=about)(_options)
    return program


app = _program(about="DeepSeek-V3/R1-class models over several accelerator nodes of a Kubernetes cluster.")
app.command()(run)
app.add_typer(weights, name="weights")

plugin = _program(about="Plan, render and size DeepSeekDeployments: `kubectl deepseek`.")


def main() -> None:
    """Entry point of ``deepseek-operator``."""
    app(prog_name="deepseek-operator")


def kubectl_plugin() -> None:
    """Entry point of ``kubectl-deepseek``."""
    plugin(prog_name="kubectl deepseek")

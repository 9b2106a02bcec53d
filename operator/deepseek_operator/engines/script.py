"""Renders the launch script: Jinja2 with undefined names refused and unquoted values impossible."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Final

from jinja2 import Environment, FunctionLoader, StrictUndefined

from deepseek_operator.engines.types import Body

RUN_DIRECTORY: Final = "/run/deepseek"
"""Where render mounts an emptyDir: it lives as long as the pod, across restarts of the container."""


class ShellText(str):
    """Text that a shell reads as intended; nothing else leaves the template."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What every engine's launch script depends on, all of it known when a revision is made."""

    interface: str | None
    """None: the script finds the interface that holds the pod's IP."""
    interface_variables: Sequence[tuple[str, str]]
    """Variables that name the interface, and what stands before the name in their value."""
    address_variables: Sequence[str]
    setup_scripts: Sequence[str]
    library_paths: Sequence[str]
    """Put in front of the image's LD_LIBRARY_PATH."""
    unset_proxies: bool
    barrier: bool
    """Whether the group spans nodes."""
    barrier_port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PreflightFrame:
    """What the preflight's script depends on beside the frame of the launch script."""

    backend: str
    """Of torch.distributed."""
    barrier_port: int
    preflight_port: int
    meeting_seconds: int
    preflight_seconds: int


def render_preflight(frame: Frame, own: PreflightFrame) -> str:
    """The script of the preflight, with the launch script's network."""
    template = _environment().get_template("preflight.sh.j2")
    return template.render(
        **{name: getattr(frame, name) for name in Frame.__slots__}
        | {name: getattr(own, name) for name in PreflightFrame.__slots__},
        run_directory=RUN_DIRECTORY,
        barrier_program=program("barrier.py"),
        interface_program=program("interface.py"),
        preflight_program=program("preflight.py"),
    )


def render(frame: Frame, body: Body) -> str:
    """The script for ``bash -c``, the same for every rank and group."""
    template = _environment().get_template("launch.sh.j2")
    return template.render(
        **{name: getattr(frame, name) for name in Frame.__slots__},
        **body.values,
        body=body.template,
        run_directory=RUN_DIRECTORY,
        barrier_program=program("barrier.py"),
        interface_program=program("interface.py"),
    )


@cache
def program(name: str) -> str:
    """The source of a program that runs inside the container."""
    return _text(name).strip()


def _text(name: str) -> str:
    return resources.files(f"{__package__}.launch").joinpath(name).read_text("utf-8")


def _quote(value: str | int) -> ShellText:
    return ShellText(shlex.quote(str(value)))


def _quote_all(values: Sequence[str]) -> ShellText:
    return ShellText(shlex.join(values))


def _embed(source: str, delimiter: str) -> ShellText:
    """Text of a here-document, which the shell passes on as it is up to the delimiter."""
    if delimiter in source.splitlines():
        raise ValueError(f"the program to embed contains a line {delimiter}")
    return ShellText(source)


def _only_shell_text(value: object) -> object:
    if not isinstance(value, ShellText):
        raise TypeError(f"the launch script's template would print {value!r} unquoted")
    return value


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FunctionLoader(_text),
        undefined=StrictUndefined,
        finalize=_only_shell_text,
        autoescape=False,  # noqa: S701 - a shell script; finalize refuses whatever is not quoted for a shell
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"quote": _quote, "quote_all": _quote_all, "embed": _embed}
    return environment

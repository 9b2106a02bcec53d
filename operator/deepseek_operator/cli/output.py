"""What goes to stdout: documents for programs, and the console for people."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, Final

import yaml
from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Iterable


_PLAIN_WIDTH: Final = 100
"""Of boxes and bars, where no terminal says how wide it is."""
_UNBOUNDED: Final = 10_000


class _Dumper(yaml.SafeDumper):
    """Writes equal objects out each time (no anchors) and long texts as blocks, as people read them."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - PyYAML's signature
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def write_json(document: Any) -> None:
    """One JSON document."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def write_yaml(document: Any) -> None:
    """One YAML document."""
    write_yaml_stream([document])


def write_yaml_stream(documents: Iterable[Any]) -> None:
    """A YAML stream, keys in the order they were built."""
    yaml.dump_all(
        documents, sys.stdout, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110, explicit_start=True
    )


def console() -> Console:
    """Where pictures go: colour and the terminal's width in a terminal, plain text whose lines never wrap elsewhere."""
    found = Console(file=sys.stdout, highlight=False)
    if found.is_terminal:
        return found
    # A log or a pipe has no width of its own, and what reads it (grep, a diff) reads lines.
    return Console(file=sys.stdout, highlight=False, width=_UNBOUNDED, color_system=None)


def picture_width(screen: Console) -> int:
    """How wide boxes and bars may be."""
    return screen.width if screen.is_terminal else _PLAIN_WIDTH

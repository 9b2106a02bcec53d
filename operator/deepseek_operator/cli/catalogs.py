"""``--catalog FILE``: what an administrator's ConfigMap adds to the catalogue, tried without a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml

from deepseek_operator.catalog.extend import Document, Extended, extend
from deepseek_operator.catalog.load import load
from deepseek_operator.cli.exits import tell
from deepseek_operator.cli.files import read_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def read_catalog(files: Sequence[str] | None) -> Extended:
    """The catalogue with the entries of files; each wrong entry is a line on stderr and left out.

    A file is a catalogue document, or the ConfigMap that holds some.

    Raises:
        InvalidInputError: a file cannot be read.
    """
    found = extend(load(), [document for path in files or () for document in _documents(path)])
    for warning in warnings_of(found):
        tell(f"warning: {warning}")
    return found


def warnings_of(found: Extended) -> tuple[str, ...]:
    """A line for each entry that was left out."""
    return tuple(f"catalogue: {each.field}: {each.message}; the entry is ignored" for each in found.problems)


def _documents(path: str) -> Iterator[Document]:
    text = read_text(path)
    try:
        manifests = list(yaml.safe_load_all(text))
    except yaml.YAMLError:
        # The catalogue's own reader says what is wrong with it.
        manifests = []
    maps = [each for each in manifests if isinstance(each, dict) and each.get("kind") == "ConfigMap"]
    if not maps:
        yield Document(name=path, text=text)
    for manifest in maps:
        name = (manifest.get("metadata") or {}).get("name", "without a name")
        for key, value in (manifest.get("data") or {}).items():
            yield Document(name=f"{path}, ConfigMap {name}, {key}", text=str(value))

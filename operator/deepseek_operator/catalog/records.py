"""YAML into frozen records: closed files, sources that say something, figures that can be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

Record = TypeVar("Record")


class CatalogError(Exception):
    """The catalogue's files are wrong; the message begins with the file and the key."""

    def __init__(self, file: str, key: str, message: str) -> None:
        self.file = file
        self.key = key
        super().__init__(f"{file}: {key}: {message}" if key else f"{file}: {message}")


def files(folder: Traversable) -> Iterator[tuple[str, Any]]:
    """The YAML files of a folder by name, parsed. Raises CatalogError."""
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if file.name.endswith(".yaml"):
            name = f"{folder.name}/{file.name}"
            yield name, parse(file, name)


def parse(file: Traversable, name: str) -> Any:
    """One YAML file. Raises CatalogError."""
    try:
        return yaml.safe_load(file.read_text("utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise CatalogError(name, "", f"cannot be read: {error}") from error


def mapping(data: Any, name: str) -> Mapping[str, Any]:
    """The data, which must be a mapping. Raises CatalogError."""
    if not isinstance(data, dict):
        raise CatalogError(name, "", "must be a mapping")
    return data


def only(name: str, data: Mapping[str, Any], keys: set[str]) -> None:
    """Exactly these keys, or CatalogError."""
    for key in sorted(keys.symmetric_difference(data)):
        raise CatalogError(name, key, "is missing" if key in keys else "is not a key of this file")


def records(kind: type[Record], data: Any, name: str) -> tuple[Record, ...]:
    """A list of records, not empty. Raises CatalogError."""
    if not isinstance(data, list) or not data:
        raise CatalogError(name, "", "must be a list that is not empty")
    return tuple(record(kind, each, f"{name}[{index}]") for index, each in enumerate(data))


def record(kind: type[Record], data: Any, name: str) -> Record:
    """One record, every key known, every figure positive. Raises CatalogError."""
    adapter = TypeAdapter(kind)
    try:
        made = adapter.validate_python(data)
    except ValidationError as error:
        first = error.errors()[0]
        raise CatalogError(name, ".".join(map(str, first["loc"])), first["msg"]) from error
    for key, message in _flaws(data, adapter.dump_python(made, mode="json")):
        raise CatalogError(name, key, message)
    return made


def _flaws(given: Any, known: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Keys that no record took, figures that are not positive, sources that say nothing."""
    if isinstance(given, dict) and isinstance(known, dict):
        for key, value in given.items():
            inner = f"{path}.{key}" if path else str(key)
            if key not in known:
                yield inner, "is not a key of this file"
            elif key == "source" and not str(value).strip():
                yield inner, "must name where the figures come from"
            else:
                yield from _flaws(value, known[key], inner)
    elif isinstance(given, list) and isinstance(known, list):
        for index, (one, other) in enumerate(zip(given, known, strict=True)):
            yield from _flaws(one, other, f"{path}[{index}]")
    elif isinstance(given, bool) and isinstance(known, int | float) and not isinstance(known, bool):
        yield path, "must be a number"
    elif isinstance(given, int | float) and not isinstance(given, bool) and given <= 0:
        yield path, "must be greater than zero"

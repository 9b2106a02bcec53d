"""Reading YAML and JSON as Kubernetes reads it.

Kubernetes converts YAML to JSON: a bare time stamp stays text, a key that stands twice is an error, and
``null`` means "not set". PyYAML alone does none of these.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from deepseek_operator.api.problems import InvalidInputError, Problem

if TYPE_CHECKING:
    from collections.abc import Hashable

_TIMESTAMP: Final = "tag:yaml.org,2002:timestamp"


class _KubernetesLoader(yaml.CSafeLoader):
    """A safe loader (libyaml's: node lists are long) without time stamps and without silent duplicates."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002 - PyYAML's signature
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"the key {key.value!r} stands there twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


_KubernetesLoader.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
    for letter, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


def read_text(path: str) -> str:
    """The text of a file, or of standard input for ``-``.

    Raises:
        InvalidInputError: the file cannot be read.
    """
    if path == "-":
        return sys.stdin.read()
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InvalidInputError(
            Problem(field=path, reason="FileNotReadable", message=f"cannot be read: {reason}")
        ) from None


def read_documents(path: str) -> list[dict[str, Any]]:
    """The objects of a YAML stream or JSON document; the items of a List stand for themselves.

    Raises:
        InvalidInputError: no file, no YAML, or something other than objects in it.
    """
    text = read_text(path)
    try:
        documents = list(yaml.load_all(text, Loader=_KubernetesLoader))
    except yaml.YAMLError as error:
        raise InvalidInputError(Problem(field=path, reason="NotYAML", message=_one_line(error))) from None
    objects: list[Any] = []
    for document in documents:
        if isinstance(document, dict) and isinstance(document.get("items"), list):
            objects.extend(_typed(item, document) for item in document["items"])
        elif document is not None:
            objects.append(document)
    for item in objects:
        if not isinstance(item, dict):
            message = f"{item!r} is no object; each document needs apiVersion and kind"
            raise InvalidInputError(Problem(field=path, reason="NotAnObject", message=message))
    return [_without_nulls(item) for item in objects]


def _typed(item: Any, listed_in: dict[str, Any]) -> Any:
    """An item of a NodeList may leave out what the list's own kind says already."""
    kind = str(listed_in.get("kind", "")).removesuffix("List")
    if not isinstance(item, dict) or "kind" in item or not kind:
        return item
    return {"apiVersion": listed_in.get("apiVersion"), "kind": kind, **item}


def _one_line(error: yaml.YAMLError) -> str:
    """A parser's message with line and column, which are what one looks for."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}" if mark else problem


def _without_nulls(value: Any) -> Any:
    match value:
        case dict():
            entries: dict[Any, Any] = value
            return {key: _without_nulls(item) for key, item in entries.items() if item is not None}
        case list():
            return [_without_nulls(item) for item in value]
        case _:
            return value

"""End states as text in which only what matters differs: objects under ``mask.yaml``."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import yaml

FILE: Final = Path(__file__).with_name("mask.yaml")
NAMESPACE: Final = "NAMESPACE"
MASKED: Final = "MASKED"

KeyPath = Sequence[str]
Object = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mask:
    """The rules of a mask file; every rule there says why it is one."""

    foreign: Sequence[tuple[str, str]]
    dropped: Sequence[KeyPath]
    masked: Sequence[KeyPath]
    kept: Sequence[KeyPath]
    renamed_paths: Mapping[str, Sequence[KeyPath]]
    renamed_patterns: Mapping[str, str]
    constants: Mapping[str, str]

    @classmethod
    def load(cls, file: Path = FILE) -> Mask:
        """Read a mask file. Raises ValueError for an entry without a reason."""
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
        for section, entries in data.items():
            for entry in entries:
                if not str(entry.get("why", "")).strip():
                    raise ValueError(f"{file.name}: {section}: {entry} does not say why")
        return cls(
            foreign=[(entry["kind"], entry["owner"]) for entry in data["objects"]],
            dropped=[entry["path"] for entry in data["dropped"]],
            masked=[entry["path"] for entry in data["masked"]],
            kept=[entry["path"] for entry in data["kept"]],
            renamed_paths={entry["class"]: entry.get("paths", []) for entry in data["renamed"]},
            renamed_patterns={e["class"]: e["pattern"] for e in data["renamed"] if "pattern" in e},
            constants={entry["pattern"]: entry["text"] for entry in data["constants"]},
        )

    def text(self, objects: Sequence[Mapping[str, Any]], *, namespace: str) -> str:
        """The objects as indented JSON, sorted by kind and name, under the mask."""
        mine = [copy.deepcopy(dict(item)) for item in objects if not self._is_foreign(item)]
        mine.sort(key=lambda item: (item["kind"], item["metadata"]["name"]))
        rooted = [{item["kind"]: item} for item in mine]
        hashes = self._hashes(rooted)
        for item in rooted:
            kept = [(path, value) for path in self.kept for _, _, value in _find(item, path)]
            for path in self.dropped:
                _change(item, path, lambda parent, key: parent.pop(key))
            for path in self.masked:
                _change(item, path, _constant)
            for path, value in kept:
                _change(item, path, partial(_restore, value))
        text = json.dumps(mine, indent=1, sort_keys=True).replace(namespace, NAMESPACE)
        for pattern, constant in self.constants.items():
            text = re.sub(pattern, constant, text)
        for name, pattern in self.renamed_patterns.items():
            text = _renamed(text, pattern, name)
        for name, values in hashes.items():
            if values:
                text = _renamed(text, "|".join(re.escape(value) for value in sorted(values)), name)
        return text

    def _is_foreign(self, item: Mapping[str, Any]) -> bool:
        owners = [owner["kind"] for owner in item["metadata"].get("ownerReferences", ())]
        return any(item["kind"] == kind and owner in owners for kind, owner in self.foreign)

    def _hashes(self, rooted: Sequence[Object]) -> dict[str, set[str]]:
        return {
            name: {value for path in paths for item in rooted for _, _, value in _find(item, path)}
            for name, paths in self.renamed_paths.items()
        }


def _constant(parent: Any, key: Any) -> None:
    parent[key] = MASKED


def _restore(value: Any, parent: Any, key: Any) -> None:
    parent[key] = value


def _change(item: Any, path: KeyPath, change: Callable[[Any, Any], object]) -> None:
    for parent, key, _ in list(_find(item, path)):
        change(parent, key)


def _find(value: Any, path: KeyPath) -> Iterator[tuple[Any, Any, Any]]:
    """Parent, key and value of everything at a path."""
    step, *rest = path
    keys: list[Any]
    if isinstance(value, dict):
        keys = list(value) if step == "*" else [step] if step in value else []
    elif isinstance(value, list):
        keys = list(range(len(value))) if step == "*" else []
    else:
        return
    for key in keys:
        if rest:
            yield from _find(value[key], rest)
        else:
            yield value, key, value[key]


def _renamed(text: str, pattern: str, name: str) -> str:
    numbers: dict[str, int] = {}
    return re.sub(pattern, lambda match: f"{name}-{numbers.setdefault(match[0], len(numbers) + 1)}", text)

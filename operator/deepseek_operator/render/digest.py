"""Whether an object is still as it was applied: hashes of what we want, and what managedFields say we own.

Two questions are kept apart. *Did what we want change?* is answered by ``desired_hash``, written on the
object as an annotation. *Did somebody else change it?* is answered by ``missing_ownership``: when another
writer changes or removes a field, the API server takes that field out of our managedFields entry, so an
entry that still names everything we render proves, without reading the object's spec, that nothing was
touched.

The form of ``fieldsV1`` is that of sigs.k8s.io/structured-merge-diff, ``fieldpath/serialize-pe.go``: ``f:``
a field or map key, ``k:`` an item of a list by its keys, ``v:`` an item of a set, ``.`` the item itself. A
field that is owned as a whole (a scalar, an atomic list or map) has the value ``{}``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from deepseek_operator.api.names import DESIRED_HASH_ANNOTATION, FIELD_MANAGER

_IDENTITY: Final = frozenset(
    {
        "apiVersion",
        "kind",
        "metadata.name",
        "metadata.namespace",
        "metadata.uid",
        "metadata.resourceVersion",
    }
)
"""What managedFields never list: the API server strips it (managedfields/internal/stripmeta.go)."""

_GRANULAR: Final = frozenset(
    {
        "annotations",
        "capacity",
        "containers",
        "env",
        "imagePullSecrets",
        "initContainers",
        "labels",
        "limits",
        "ownerReferences",
        "ports",
        "requests",
        "volumeMounts",
        "volumes",
    }
)
"""Maps and keyed lists of our kinds: there, a bare ``{}`` means that none of the items is ours any more."""


def canonical(value: Any) -> str:
    """One text for equal JSON values: sorted keys, no spaces, ASCII only."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def short_hash(value: Any, *, length: int = 16) -> str:
    """The first hex digits of the SHA-256 of the canonical text."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:length]


def desired_hash(manifest: Mapping[str, Any]) -> str:
    """The hash of a rendered object, its own hash annotation left out."""
    metadata = dict(manifest["metadata"])
    annotations = {k: v for k, v in metadata.pop("annotations", {}).items() if k != DESIRED_HASH_ANNOTATION}
    if annotations:
        metadata["annotations"] = annotations
    return short_hash({**manifest, "metadata": metadata})


def with_desired_hash(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a rendered object that carries its hash."""
    metadata = dict(manifest["metadata"])
    metadata["annotations"] = {
        **metadata.get("annotations", {}),
        DESIRED_HASH_ANNOTATION: desired_hash(manifest),
    }
    return {**manifest, "metadata": metadata}


def owned_fields(managed_fields: Sequence[Mapping[str, Any]], *, manager: str = FIELD_MANAGER) -> dict[str, Any]:
    """The union of a manager's fieldsV1 entries.

    An object that was created by POST and applied later has two entries of ours, one of each operation.
    Entries of subresources are somebody's status and left out.
    """
    union: dict[str, Any] = {}
    for entry in managed_fields:
        if entry.get("manager") == manager and not entry.get("subresource"):
            _merge(union, entry.get("fieldsV1") or {})
    return union


def missing_ownership(desired: Mapping[str, Any], fields_v1: Mapping[str, Any]) -> str | None:
    """The first path of a rendered object that is not ours any more; None when it is untouched.

    ``fields_v1`` is our entry, or the union that :func:`owned_fields` makes. Fields that others added are
    theirs and no drift. A ControllerRevision's data cannot be changed and is owned as one.
    """
    immutable = {"data"} if desired.get("kind") == "ControllerRevision" else set()
    for key, value in desired.items():
        if key in immutable:
            if f"f:{key}" not in fields_v1:
                return key
        elif path := _first_missing(value, fields_v1.get(f"f:{key}"), key):
            return path
    return None


def _first_missing(value: Any, fields: Mapping[str, Any] | None, path: str) -> str | None:
    if path in _IDENTITY:
        return None
    if fields is None:
        return _first_leaf(value, path) if isinstance(value, dict) else path
    if not isinstance(value, dict | list) or not value:
        return None
    if not fields and path.rpartition(".")[2] not in _GRANULAR:
        return None
    children = _members(value, fields, path) if isinstance(value, dict) else _items(value, fields, path)
    return next((missing for child in children if (missing := _first_missing(*child))), None)


_Child = tuple[Any, Mapping[str, Any] | None, str]


def _members(value: Mapping[str, Any], fields: Mapping[str, Any], path: str) -> Iterator[_Child]:
    for key, member in value.items():
        yield member, fields.get(f"f:{key}"), f"{path}.{key}"


def _items(value: Sequence[Any], fields: Mapping[str, Any], path: str) -> Iterator[_Child]:
    keyed = [(json.loads(key[2:]), below) for key, below in fields.items() if key.startswith("k:")]
    members = [json.loads(key[2:]) for key in fields if key.startswith("v:")]
    for position, item in enumerate(value):
        if isinstance(item, dict):
            found = next((below for keys, below in keyed if _same_item(item, keys)), None)
            yield item, found, f"{path}[{_name(item, position)}]"
        else:
            yield item, {} if item in members else None, f"{path}[{item}]"


def _same_item(item: Mapping[str, Any], keys: Mapping[str, Any]) -> bool:
    """Whether keys name this item; a key left to its default (a port's protocol) does not count."""
    shared = [key for key in keys if key in item]
    return bool(shared) and all(item[key] == keys[key] for key in shared)


def _name(item: Mapping[str, Any], position: int) -> str:
    named = (f"{key}={item[key]}" for key in ("name", "uid", "mountPath", "port") if key in item)
    return next(named, str(position))


def _first_leaf(value: Mapping[str, Any], path: str) -> str:
    """A path inside a missing map, so that a message names a field rather than all of ``metadata``."""
    return next((f"{path}.{key}" for key in value if f"{path}.{key}" not in _IDENTITY), path)


def _merge(into: dict[str, Any], fields: Mapping[str, Any]) -> None:
    for key, below in fields.items():
        _merge(into.setdefault(key, {}), below)

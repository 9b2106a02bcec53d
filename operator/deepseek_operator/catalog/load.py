"""Reads the catalogue's YAML into records, once, and refuses what is misspelt, missing, unsourced or impossible.

Every file is closed: a key that no record knows is an error with the file and the key, because a misspelt figure
that is silently ignored would be planned with.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from deepseek_operator.catalog.types import (
    Accelerator,
    Catalog,
    EngineRelease,
    MemoryRules,
    MemoryTier,
    Model,
    Vendor,
)

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

Record = TypeVar("Record")


class CatalogError(Exception):
    """The catalogue's files are wrong; the message begins with the file and the key."""

    def __init__(self, file: str, key: str, message: str) -> None:
        self.file = file
        self.key = key
        super().__init__(f"{file}: {key}: {message}" if key else f"{file}: {message}")


@cache
def load() -> Catalog:
    """The catalogue that comes with the package.

    Raises:
        CatalogError: a file of it is wrong.
    """
    return read(resources.files(__package__))


def read(folder: Traversable) -> Catalog:
    """The catalogue of a folder with ``models/``, ``accelerators/``, ``engines/`` and ``fabrics/``.

    Raises:
        CatalogError: a file is wrong.
    """
    models = [_record(Model, _with_precisions(data), name) for name, data in _files(folder / "models")]
    vendors: dict[str, Vendor] = {}
    accelerators: list[Accelerator] = []
    for name, data in _files(folder / "accelerators"):
        vendor, listed = _vendor_file(name, data)
        vendors[vendor.name] = vendor
        accelerators += listed
    name = "engines/sglang.yaml"
    engine = _mapping(_parse(folder / "engines" / "sglang.yaml", name), name)
    _only(name, engine, {"releases", "memory_tiers", "memory_rules"})
    releases = _records(
        EngineRelease, [{"engine": "sglang", **each} for each in engine["releases"]], f"{name}: releases"
    )
    _check_releases(name, releases, accelerators)
    name = "fabrics/rdma.yaml"
    rdma = _mapping(_parse(folder / "fabrics" / "rdma.yaml", name), name)
    _only(name, rdma, {"source", "shared", "exclusive"})
    return Catalog(
        models={model.name: model for model in models},
        accelerators=tuple(accelerators),
        vendors=vendors,
        releases=releases,
        memory_tiers={
            family: _records(MemoryTier, tiers, f"engines/sglang.yaml: memory_tiers.{family}")
            for family, tiers in engine["memory_tiers"].items()
        },
        memory_rules=_record(MemoryRules, engine["memory_rules"], "engines/sglang.yaml: memory_rules"),
        rdma_resources=(*rdma["shared"], *rdma["exclusive"]),
        shared_rdma_resources=tuple(rdma["shared"]),
    )


def _vendor_file(name: str, data: Any) -> tuple[Vendor, tuple[Accelerator, ...]]:
    content = _mapping(data, name)
    _only(name, content, {"vendor", "accelerators"})
    vendor = _record(Vendor, content["vendor"], f"{name}: vendor")
    listed = [{"vendor": vendor.name, **each} for each in content["accelerators"]]
    return vendor, _records(Accelerator, listed, f"{name}: accelerators")


def _with_precisions(data: Any) -> Any:
    """Checkpoints are a list in the file and a mapping by precision in the record."""
    if (
        isinstance(data, dict)
        and isinstance(data.get("checkpoints"), list)
        and all(isinstance(each, dict) for each in data["checkpoints"])
    ):
        listed = {str(each.get("precision")): each for each in data["checkpoints"]}
        return {**data, "checkpoints": listed}
    return data


def _check_releases(name: str, releases: Iterable[EngineRelease], accelerators: Iterable[Accelerator]) -> None:
    known = {(each.vendor, each.architecture) for each in accelerators}
    for release in releases:
        for architecture in release.architectures:
            if (release.vendor, architecture) not in known:
                message = f"no accelerator of {release.vendor} has the architecture {architecture}"
                raise CatalogError(name, "releases.architectures", message)


def _files(folder: Traversable) -> Iterator[tuple[str, Any]]:
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if file.name.endswith(".yaml"):
            name = f"{folder.name}/{file.name}"
            yield name, _parse(file, name)


def _parse(file: Traversable, name: str) -> Any:
    try:
        return yaml.safe_load(file.read_text("utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise CatalogError(name, "", f"cannot be read: {error}") from error


def _mapping(data: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(data, dict):
        raise CatalogError(name, "", "must be a mapping")
    return data


def _only(name: str, data: Mapping[str, Any], keys: set[str]) -> None:
    for key in sorted(keys.symmetric_difference(data)):
        raise CatalogError(name, key, "is missing" if key in keys else "is not a key of this file")


def _records(record: type[Record], data: Any, name: str) -> tuple[Record, ...]:
    if not isinstance(data, list) or not data:
        raise CatalogError(name, "", "must be a list that is not empty")
    return tuple(_record(record, each, f"{name}[{index}]") for index, each in enumerate(data))


def _record(record: type[Record], data: Any, name: str) -> Record:
    adapter = TypeAdapter(record)
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
    elif isinstance(given, int | float) and not isinstance(given, bool) and given <= 0:
        yield path, "must be greater than zero"


def read_accelerator(data: Mapping[str, Any], name: str) -> Accelerator:
    """One product, ``vendor`` included; ``name`` is where it stands, for messages. Raises CatalogError."""
    return _record(Accelerator, data, name)


def read_model(data: Mapping[str, Any], name: str) -> Model:
    """One model, as a file of ``models/`` has it. Raises CatalogError."""
    return _record(Model, _with_precisions(data), name)


def read_release(data: Mapping[str, Any], name: str) -> EngineRelease:
    """One release, ``engine`` included. Raises CatalogError."""
    return _record(EngineRelease, data, name)

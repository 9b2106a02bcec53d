"""Reads the catalogue's YAML into records, once, and refuses what is misspelt, missing, unsourced or impossible.

Every file is closed: a key that no record knows is an error with the file and the key, because a misspelt figure
that is silently ignored would be planned with.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from deepseek_operator.catalog.memory_types import MemoryRules, MemoryTier, MemoryVersion, VllmMemoryRules
from deepseek_operator.catalog.types import (
    Accelerator,
    Architecture,
    Catalog,
    EngineRelease,
    Model,
    RefusedModel,
    Vendor,
    WeightFormat,
    WeightLayout,
)

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

Record = TypeVar("Record")

_ENGINE_KEYS = {
    "releases",
    "memory_tiers",
    "memory_rules",
    "memory_versions",
    "formats",
    "layouts",
    "refused_models",
}
_LAYOUT_PARTS = ("attention", "latent", "absorbed", "dense", "shared", "routed")
_DEFAULT_PARTS = {"absorbed_amd": "absorbed", "mtp_attention": "attention", "mtp_experts": "routed"}
"""Parts of a layout that are stored like another part where nothing else is said."""


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
    architectures: dict[str, Architecture] = {}
    for name, data in _files(folder / "accelerators"):
        vendor, known, listed = _vendor_file(name, data)
        vendors[vendor.name] = vendor
        architectures |= known
        accelerators += listed
    name = "engines/sglang.yaml"
    engine = _mapping(_parse(folder / "engines" / "sglang.yaml", name), name)
    _only(name, engine, _ENGINE_KEYS)
    releases = _records(
        EngineRelease, [{"engine": "sglang", **each} for each in engine["releases"]], f"{name}: releases"
    )
    _check_releases(name, releases, accelerators)
    layouts = _layouts(name, engine)
    for model in models:
        check_checkpoints(model, layouts, f"models/{model.name}.yaml")
    vllm = _mapping(_parse(folder / "engines" / "vllm.yaml", "engines/vllm.yaml"), "engines/vllm.yaml")
    _only("engines/vllm.yaml", vllm, {"memory_rules"})
    name = "fabrics/rdma.yaml"
    rdma = _mapping(_parse(folder / "fabrics" / "rdma.yaml", name), name)
    _only(name, rdma, {"source", "shared", "exclusive"})
    return Catalog(
        models={model.name: model for model in models},
        accelerators=tuple(accelerators),
        architectures=architectures,
        vendors=vendors,
        releases=releases,
        memory_tiers={
            family: _records(MemoryTier, tiers, f"engines/sglang.yaml: memory_tiers.{family}")
            for family, tiers in engine["memory_tiers"].items()
        },
        memory_rules=_record(MemoryRules, engine["memory_rules"], "engines/sglang.yaml: memory_rules"),
        memory_versions=_records(MemoryVersion, engine["memory_versions"], "engines/sglang.yaml: memory_versions"),
        vllm_memory=_record(VllmMemoryRules, vllm["memory_rules"], "engines/vllm.yaml: memory_rules"),
        layouts=layouts,
        refused_models=_records(RefusedModel, engine["refused_models"], "engines/sglang.yaml: refused_models"),
        rdma_resources=(*rdma["shared"], *rdma["exclusive"]),
        shared_rdma_resources=tuple(rdma["shared"]),
    )


def _vendor_file(name: str, data: Any) -> tuple[Vendor, dict[str, Architecture], tuple[Accelerator, ...]]:
    content = _mapping(data, name)
    _only(name, content, {"vendor", "architectures", "accelerators"})
    vendor = _record(Vendor, content["vendor"], f"{name}: vendor")
    records = _records(Architecture, content["architectures"], f"{name}: architectures")
    known = {each.name: each for each in records}
    listed = []
    for each in content["accelerators"]:
        architecture = known.get(each.get("architecture"))
        if architecture is None:
            message = f"{each.get('architecture')} is none of {', '.join(known)}"
            raise CatalogError(name, f"accelerators.{each.get('product')}.architecture", message)
        gate = {"precisions": architecture.precisions, "kv_precisions": architecture.kv_precisions}
        listed.append({"vendor": vendor.name, **gate, **each})
    return vendor, known, _records(Accelerator, listed, f"{name}: accelerators")


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


def _layouts(name: str, engine: Mapping[str, Any]) -> Mapping[str, WeightLayout]:
    """The layouts; the file names the format of each part, the record holds it."""
    formats = _mapping(engine["formats"], name)
    for key, value in formats.items():
        _record(WeightFormat, value, f"{name}: formats.{key}")
    made: dict[str, WeightLayout] = {}
    for index, given in enumerate(engine["layouts"]):
        where = f"{name}: layouts[{index}]"
        data = {"block": None, "architectures": [], "arguments": [], **_mapping(given, where)}
        for part, like in _DEFAULT_PARTS.items():
            data.setdefault(part, data.get(like))
        for part in (*_LAYOUT_PARTS, *_DEFAULT_PARTS):
            if data.get(part) not in formats:
                raise CatalogError(where, part, f"must be one of {', '.join(formats)}")
        unknown = data.keys() - {each.name for each in fields(WeightLayout)}
        for key in sorted(unknown):
            raise CatalogError(where, key, "is not a key of this file")
        for part in (*_LAYOUT_PARTS, *_DEFAULT_PARTS):
            data[part] = engine["formats"][data[part]]
        made[data["name"]] = _record(WeightLayout, data, where)
    return made


def check_checkpoints(model: Model, layouts: Mapping[str, WeightLayout], name: str) -> None:
    """Published weights must be of a known layout, and of whom the list says. Raises CatalogError."""
    for checkpoint in (*model.checkpoints.values(), *model.variants):
        layout = layouts.get(checkpoint.layout)
        if layout is None:
            raise CatalogError(name, "layout", f"{checkpoint.layout} is not one of {', '.join(layouts)}")
        if layout.precision != checkpoint.precision:
            raise CatalogError(name, "precision", f"{checkpoint.layout} is {layout.precision}")
    publisher = model.repository.partition("/")[0]
    for checkpoint in model.checkpoints.values():
        if checkpoint.publisher != publisher:
            raise CatalogError(name, "checkpoints", f"{checkpoint.repository} is a variant: not of {publisher}")
    for checkpoint in model.variants:
        if checkpoint.publisher == publisher:
            raise CatalogError(name, "variants", f"{checkpoint.repository} is {publisher}'s own")


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
    elif isinstance(given, bool) and isinstance(known, int | float) and not isinstance(known, bool):
        yield path, "must be a number"
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

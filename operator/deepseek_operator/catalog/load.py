"""Reads the catalogue's YAML into records, once, and refuses what is misspelt, missing, unsourced or impossible.

Every file is closed: a key that no record knows is an error with the file and the key, because a misspelt figure
that is silently ignored would be planned with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from deepseek_operator.catalog import records
from deepseek_operator.catalog.load_engines import EngineFiles, read_engines
from deepseek_operator.catalog.load_fabrics import read_presets
from deepseek_operator.catalog.records import CatalogError
from deepseek_operator.catalog.types import (
    Accelerator,
    Architecture,
    Catalog,
    EngineRelease,
    Model,
    Vendor,
    WeightLayout,
)

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

__all__ = ["CatalogError", "check_checkpoints", "load", "read", "read_accelerator", "read_model", "read_release"]


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
    models = [records.record(Model, _with_precisions(data), name) for name, data in records.files(folder / "models")]
    vendors: dict[str, Vendor] = {}
    accelerators: list[Accelerator] = []
    architectures: dict[str, Architecture] = {}
    for name, data in records.files(folder / "accelerators"):
        vendor, known, listed = _vendor_file(name, data)
        vendors[vendor.name] = vendor
        architectures |= known
        accelerators += listed
    engines = read_engines(folder / "engines", accelerators)
    for model in models:
        check_checkpoints(model, engines.layouts, f"models/{model.name}.yaml")
    name = "fabrics/rdma.yaml"
    rdma = records.mapping(records.parse(folder / "fabrics" / "rdma.yaml", name), name)
    records.only(name, rdma, {"source", "shared", "exclusive"})
    fabrics = read_presets(folder / "fabrics" / "presets.yaml", vendors)
    return Catalog(
        models={model.name: model for model in models},
        accelerators=tuple(accelerators),
        architectures=architectures,
        vendors=vendors,
        rdma_resources=(*rdma["shared"], *rdma["exclusive"]),
        shared_rdma_resources=tuple(rdma["shared"]),
        fabrics=fabrics,
        **{each.name: getattr(engines, each.name) for each in fields(EngineFiles)},
    )


def _vendor_file(name: str, data: Any) -> tuple[Vendor, dict[str, Architecture], tuple[Accelerator, ...]]:
    content = records.mapping(data, name)
    records.only(name, content, {"vendor", "architectures", "accelerators"})
    vendor = records.record(Vendor, content["vendor"], f"{name}: vendor")
    known = {
        each.name: each for each in records.records(Architecture, content["architectures"], f"{name}: architectures")
    }
    listed = []
    for each in content["accelerators"]:
        architecture = known.get(each.get("architecture"))
        if architecture is None:
            message = f"{each.get('architecture')} is none of {', '.join(known)}"
            raise CatalogError(name, f"accelerators.{each.get('product')}.architecture", message)
        gate = {"precisions": architecture.precisions, "kv_precisions": architecture.kv_precisions}
        listed.append({"vendor": vendor.name, **gate, **each})
    return vendor, known, records.records(Accelerator, listed, f"{name}: accelerators")


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


def read_accelerator(data: Mapping[str, Any], name: str) -> Accelerator:
    """One product, ``vendor`` included; ``name`` is where it stands, for messages. Raises CatalogError."""
    return records.record(Accelerator, data, name)


def read_model(data: Mapping[str, Any], name: str) -> Model:
    """One model, as a file of ``models/`` has it. Raises CatalogError."""
    return records.record(Model, _with_precisions(data), name)


def read_release(data: Mapping[str, Any], name: str) -> EngineRelease:
    """One release, ``engine`` included. Raises CatalogError."""
    return records.record(EngineRelease, data, name)

"""Reads ``engines/*.yaml``: what each engine serves, its releases, and the memory rules of those that have a model.

Layouts of weights and models that nobody plans stand in ``sglang.yaml``: they were written from SGLang's sources, and
the other engines name the layouts that they serve.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

from deepseek_operator.catalog import records
from deepseek_operator.catalog.engine_types import EngineFacts
from deepseek_operator.catalog.memory_types import MemoryRules, MemoryTier, MemoryVersion, VllmMemoryRules
from deepseek_operator.catalog.records import CatalogError
from deepseek_operator.catalog.types import Accelerator, EngineRelease, RefusedModel, WeightFormat, WeightLayout

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

_KEYS: Final = {"engine", "releases"}
_LAYOUTS_FILE: Final = "sglang"
_MORE_KEYS: Final[Mapping[str, set[str]]] = {
    _LAYOUTS_FILE: {"memory_tiers", "memory_rules", "memory_versions", "formats", "layouts", "refused_models"},
    "vllm": {"memory_rules"},
}
_LAYOUT_PARTS: Final = ("attention", "latent", "absorbed", "dense", "shared", "routed")
_DEFAULT_PARTS: Final = {
    "absorbed_amd": "absorbed",
    "indexer": "attention",
    "mtp_attention": "attention",
    "mtp_experts": "routed",
}
"""Parts of a layout that are stored like another part where nothing else is said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFiles:
    """What the files say, in the fields of the Catalog that they fill."""

    engines: Mapping[str, EngineFacts]
    releases: tuple[EngineRelease, ...]
    layouts: Mapping[str, WeightLayout]
    refused_models: tuple[RefusedModel, ...]
    memory_tiers: Mapping[str, tuple[MemoryTier, ...]]
    memory_rules: MemoryRules
    memory_versions: tuple[MemoryVersion, ...]
    vllm_memory: VllmMemoryRules


def read_engines(folder: Traversable, accelerators: Iterable[Accelerator]) -> EngineFiles:
    """The folder ``engines/``.

    Raises:
        CatalogError: a file is wrong, or speaks of an architecture that no accelerator has.
    """
    contents: dict[str, Mapping[str, Any]] = {}
    for name, data in records.files(folder):
        engine = name.rpartition("/")[2].removesuffix(".yaml")
        contents[engine] = records.mapping(data, name)
        records.only(name, data, _KEYS | _MORE_KEYS.get(engine, set()))
    made = contents[_LAYOUTS_FILE]
    layouts = _layouts(f"engines/{_LAYOUTS_FILE}.yaml", made)
    facts: dict[str, EngineFacts] = {}
    releases: list[EngineRelease] = []
    known = {(each.vendor, each.architecture) for each in accelerators}
    for engine, content in contents.items():
        name = f"engines/{engine}.yaml"
        facts[engine] = records.record(EngineFacts, {"name": engine, **content["engine"]}, f"{name}: engine")
        _check_served(name, facts[engine], layouts, {architecture for _, architecture in known})
        listed = [{"engine": engine, **each} for each in content["releases"]]
        found = records.records(EngineRelease, listed, f"{name}: releases")
        _check_releases(name, found, known)
        releases += found
    where = f"engines/{_LAYOUTS_FILE}.yaml"
    return EngineFiles(
        engines=facts,
        releases=tuple(releases),
        layouts=layouts,
        refused_models=records.records(RefusedModel, made["refused_models"], f"{where}: refused_models"),
        memory_tiers={
            family: records.records(MemoryTier, tiers, f"{where}: memory_tiers.{family}")
            for family, tiers in made["memory_tiers"].items()
        },
        memory_rules=records.record(MemoryRules, made["memory_rules"], f"{where}: memory_rules"),
        memory_versions=records.records(MemoryVersion, made["memory_versions"], f"{where}: memory_versions"),
        vllm_memory=records.record(
            VllmMemoryRules, contents["vllm"]["memory_rules"], "engines/vllm.yaml: memory_rules"
        ),
    )


def _layouts(name: str, engine: Mapping[str, Any]) -> Mapping[str, WeightLayout]:
    """The layouts; the file names the format of each part, the record holds it."""
    formats = records.mapping(engine["formats"], name)
    for key, value in formats.items():
        records.record(WeightFormat, value, f"{name}: formats.{key}")
    made: dict[str, WeightLayout] = {}
    for index, given in enumerate(engine["layouts"]):
        where = f"{name}: layouts[{index}]"
        data = {"block": None, "architectures": [], "arguments": [], **records.mapping(given, where)}
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
        made[data["name"]] = records.record(WeightLayout, data, where)
    return made


def _check_served(
    name: str, facts: EngineFacts, layouts: Mapping[str, WeightLayout], architectures: Iterable[str]
) -> None:
    known = set(architectures)
    for index, row in enumerate(facts.served):
        for layout in row.layouts:
            if layout not in layouts:
                message = f"{layout} is not one of {', '.join(layouts)}"
                raise CatalogError(name, f"engine.served[{index}].layouts", message)
        for architecture in row.architectures:
            if architecture not in known:
                message = f"no accelerator has the architecture {architecture}"
                raise CatalogError(name, f"engine.served[{index}].architectures", message)


def _check_releases(name: str, releases: Iterable[EngineRelease], known: set[tuple[str, str]]) -> None:
    for release in releases:
        for architecture in release.architectures:
            if (release.vendor, architecture) not in known:
                message = f"no accelerator of {release.vendor} has the architecture {architecture}"
                raise CatalogError(name, "releases.architectures", message)

"""What an administrator adds to the catalogue: products, models and engine releases, in the package's own YAML.

A document is a mapping with any of three lists: ``accelerators`` (entries as in accelerators/*.yaml, with their
``vendor``), ``models`` (each as a file of models/) and ``engines`` (entries as in engines/*.yaml's ``releases``, with
their ``engine``). Each entry is checked by the code that checks the package's own, and stands or falls alone: a wrong
one is reported and left out. An entry of a known name takes that one's place, so that an image can come from a mirror.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import yaml

from deepseek_operator.api.problems import Problem
from deepseek_operator.catalog.load import CatalogError, check_checkpoints, read_accelerator, read_model, read_release
from deepseek_operator.catalog.types import Catalog, EngineRelease

_LISTS: Final = ("accelerators", "models", "engines")
"""In the order in which they are read: a release may be for a product of the same document."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A YAML document and where it is from, for messages: a file, or a ConfigMap and its key."""

    name: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Extended:
    """A catalogue with what was added, and what was wrong."""

    catalog: Catalog
    problems: tuple[Problem, ...] = ()
    """``field`` is the place of the entry: document, list and index."""
    added: int = 0
    """Entries that were taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    place: str
    data: Mapping[str, Any]


def extend(base: Catalog, documents: Iterable[Document]) -> Extended:
    """The catalogue with the entries of all documents, in the order of their names; the base is left as it is."""
    problems: list[Problem] = []
    listed: dict[str, list[_Entry]] = {name: [] for name in _LISTS}
    for document in sorted(documents, key=lambda each: each.name):
        for item in _entries(document):
            if isinstance(item, Problem):
                problems.append(item)
            else:
                name, entry = item
                listed[name].append(entry)
    catalog, added = base, 0
    for name, take in _TAKE.items():
        for entry in listed[name]:
            try:
                catalog = take(catalog, entry)
                added += 1
            except CatalogError as error:
                problems.append(_problem(entry.place, error))
            except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
                # A shape that the readers did not think of must not end the operator.
                problems.append(_wrong(entry.place, f"is not of the form of the package's own entries: {error!r:.200}"))
    return Extended(catalog=catalog, problems=tuple(problems), added=added)


def _entries(document: Document) -> Iterator[tuple[str, _Entry] | Problem]:
    try:
        data = yaml.safe_load(document.text)
    except yaml.YAMLError as error:
        yield _wrong(document.name, f"is no YAML: {' '.join(str(error).split())}")
        return
    if not isinstance(data, dict):
        yield _wrong(document.name, f"must be a mapping with {_either(_LISTS)}")
        return
    for key, items in data.items():
        place = f"{document.name}: {key}"
        if key not in _LISTS:
            yield _wrong(place, f"is not a key of a catalogue document; use {_either(_LISTS)}")
        elif not isinstance(items, list):
            yield _wrong(place, "must be a list")
        else:
            for index, item in enumerate(items):
                if not _finite(item):
                    yield _wrong(f"{place}[{index}]", "holds a number that is none (.nan or .inf)")
                elif isinstance(item, dict):
                    yield str(key), _Entry(place=f"{place}[{index}]", data=item)
                else:
                    yield _wrong(f"{place}[{index}]", "must be a mapping")


def _finite(data: Any) -> bool:
    if isinstance(data, dict):
        return all(map(_finite, data.values()))
    if isinstance(data, list):
        return all(map(_finite, data))
    return not isinstance(data, float) or math.isfinite(data)


def _with_accelerator(catalog: Catalog, entry: _Entry) -> Catalog:
    made = read_accelerator({**_gate(catalog, entry), **entry.data}, entry.place)
    if made.vendor not in catalog.vendors:
        raise CatalogError(entry.place, "vendor", f"{made.vendor} is not known; use {_either(catalog.vendors)}")
    others = [each for each in catalog.accelerators if each.product != made.product]
    taken = {name.casefold(): each.product for each in others for name in (each.product, *each.aliases)}
    for name in (made.product, *made.aliases):
        if name.casefold() in taken:
            raise CatalogError(entry.place, "aliases", f"{name} means {taken[name.casefold()]} already; leave it out")
    for key, listed in (("precisions", made.precisions), ("kv_precisions", made.kv_precisions)):
        if not listed:
            raise CatalogError(entry.place, key, "must not be empty")
    if not all(made.labels):
        raise CatalogError(entry.place, "labels", "each must hold a label at least")
    known = {each.architecture for each in catalog.accelerators if each.vendor == made.vendor}
    if made.architecture not in known:
        message = f"{made.architecture} is none of {made.vendor}'s that the engines know; use {_either(sorted(known))}"
        raise CatalogError(entry.place, "architecture", message)
    # In front: the first product whose labels match a node is taken.
    return replace(catalog, accelerators=(made, *others))


def _gate(catalog: Catalog, entry: _Entry) -> Mapping[str, Any]:
    """What the architecture of a product runs, for an entry that does not say it."""
    architecture = catalog.architectures.get(str(entry.data.get("architecture")))
    if architecture is None:
        return {}
    return {"precisions": architecture.precisions, "kv_precisions": architecture.kv_precisions}


def _with_model(catalog: Catalog, entry: _Entry) -> Catalog:
    made = read_model(entry.data, entry.place)
    for key, name in (("name", made.name), ("repository", made.repository)):
        if not name.strip():
            raise CatalogError(entry.place, key, "must not be empty")
    others = [each for each in catalog.models.values() if each.name != made.name]
    taken = {name.casefold(): each.name for each in others for name in (each.name, each.repository, *each.aliases)}
    for name in (made.name, made.repository, *made.aliases):
        if name.casefold() in taken:
            raise CatalogError(entry.place, "aliases", f"{name} means {taken[name.casefold()]} already; leave it out")
    check_checkpoints(made, catalog.layouts, entry.place)
    return replace(catalog, models={**catalog.models, made.name: made})


def _with_release(catalog: Catalog, entry: _Entry) -> Catalog:
    made = read_release(entry.data, entry.place)
    engines = sorted({each.engine for each in catalog.releases})
    if made.engine not in engines:
        raise CatalogError(entry.place, "engine", f"{made.engine} is not known; use {_either(engines)}")
    known = {each.architecture for each in catalog.accelerators if each.vendor == made.vendor}
    if not made.architectures:
        raise CatalogError(entry.place, "architectures", "must not be empty")
    for architecture in made.architectures:
        if architecture not in known:
            message = f"no accelerator of {made.vendor} has the architecture {architecture}"
            raise CatalogError(entry.place, "architectures", message)
    return replace(catalog, releases=tuple(_placed(catalog.releases, made)))


def _placed(releases: Iterable[EngineRelease], made: EngineRelease) -> Iterator[EngineRelease]:
    """In the place of the release that it replaces, else last: the default stays what the package says."""
    waiting = True
    for release in releases:
        same = (release.engine, release.vendor, release.version) == (made.engine, made.vendor, made.version)
        left = tuple(each for each in release.architectures if each not in made.architectures)
        if not same or left == release.architectures:
            yield release
            continue
        if waiting:
            yield made
            waiting = False
        if left:
            yield replace(release, architectures=left)
    if waiting:
        yield made


_TAKE: Final[Mapping[str, Callable[[Catalog, _Entry], Catalog]]] = {
    "accelerators": _with_accelerator,
    "models": _with_model,
    "engines": _with_release,
}


def _problem(place: str, error: CatalogError) -> Problem:
    text = str(error).removeprefix(f"{place}: ")
    return Problem(field=place, reason="CatalogEntryInvalid", message=text)


def _wrong(place: str, message: str) -> Problem:
    return Problem(field=place, reason="CatalogEntryInvalid", message=message)


def _either(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last

"""Volumes that are known to read slowly, by the class that makes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from pydantic import TypeAdapter

from deepseek_operator.catalog.operations.load import Entry, read_entries


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowStorage:
    """What a class's volumes give."""

    provisioner: str
    parameters: Mapping[str, str]
    """That the class must have; an empty value: must not have."""
    mib_per_second: int
    """Reading a volume of about 700 GiB."""
    why: str
    instead: str
    source: str


class _SlowEntry(Entry):
    provisioner: str
    parameters: dict[str, str]
    mib_per_second: int
    why: str
    instead: str
    source: str


def slow_storage(provisioner: str, parameters: Mapping[str, str]) -> SlowStorage | None:
    """What is known of a StorageClass that is slow; None for one that is fast, or not known."""
    # Spelled in several ways by the drivers themselves (skuName, skuname).
    lower = {name.casefold(): value for name, value in parameters.items()}
    for each in _slow():
        wanted = ((lower.get(name.casefold(), ""), value) for name, value in each.parameters.items())
        if each.provisioner == provisioner and all(has == value for has, value in wanted):
            return each
    return None


@cache
def _slow() -> tuple[SlowStorage, ...]:
    entries = read_entries("storage.yaml", TypeAdapter(list[_SlowEntry]))
    return tuple(SlowStorage(**entry.model_dump()) for entry in entries)

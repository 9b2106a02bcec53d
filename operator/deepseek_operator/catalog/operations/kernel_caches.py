"""Environment variables by which compilers are told where to keep kernels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from pydantic import TypeAdapter

from deepseek_operator.catalog.operations.load import Entry, read_entries


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelCacheVariable:
    """One compiler's variable."""

    variable: str
    directory: str
    """Below the engine's cache directory; empty: that directory itself."""
    vendors: tuple[str, ...]
    """Empty: all."""
    source: str


class _VariableEntry(Entry):
    variable: str
    directory: str
    vendors: tuple[str, ...] = ()
    source: str


def kernel_cache_variables(vendor: str) -> tuple[KernelCacheVariable, ...]:
    """The variables of a vendor's compilers."""
    return tuple(each for each in _all() if not each.vendors or vendor in each.vendors)


@cache
def _all() -> tuple[KernelCacheVariable, ...]:
    entries = read_entries("kernel_caches.yaml", TypeAdapter(list[_VariableEntry]))
    return tuple(KernelCacheVariable(**entry.model_dump()) for entry in entries)

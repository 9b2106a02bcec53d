"""What an engine serves on a product: layouts of weights, precisions, key-value caches, and why not.

SGLang's answers come out of the accelerators' and layouts' own figures, which were written for it; every other engine
has rows of its own (``EngineFacts.served``). What is experimental counts only where it is asked for by name.
"""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Final

from deepseek_operator.catalog.engine_types import Configuration, EngineFacts, Served, Unserved
from deepseek_operator.catalog.types import Accelerator, Catalog, Precision, WeightLayout

_PUBLISHED: Final = frozenset({"fp8", "bf16"})
"""Precisions of DeepSeek's own checkpoints, and of casts of them; precision auto chooses among these."""


def served_precisions(engine: str, accelerator: Accelerator, catalog: Catalog) -> tuple[Precision, ...]:
    """Every weight precision that an engine serves on a product, the best first, experimental ones last."""
    facts = catalog.engines[engine]
    if facts.served:
        rows = sorted(_rows(facts, accelerator.architecture), key=lambda row: bool(row.experimental))
        precisions = [catalog.layouts[name].precision for row in rows for name in row.layouts]
    else:
        precisions = [*accelerator.precisions, *_quantised(accelerator, catalog)]
    return tuple(dict.fromkeys(precisions))


def usual_precisions(engine: str, accelerator: Accelerator, catalog: Catalog) -> tuple[Precision, ...]:
    """Those among which precision auto chooses: of DeepSeek's own weights, and not experimental."""
    facts = catalog.engines[engine]
    if not facts.served:
        return accelerator.precisions
    precisions = (
        catalog.layouts[name].precision
        for row in _rows(facts, accelerator.architecture)
        if not row.experimental
        for name in row.layouts
    )
    return tuple(dict.fromkeys(each for each in precisions if each in _PUBLISHED))


def serves(engine: str, layout: WeightLayout, catalog: Catalog, *, architecture: str) -> bool:
    """Whether an engine loads a layout on an architecture."""
    facts = catalog.engines[engine]
    if facts.served:
        return row_of(engine, layout, catalog, architecture=architecture) is not None
    return _loads(engine, layout) and (not layout.architectures or architecture in layout.architectures)


def row_of(engine: str, layout: WeightLayout, catalog: Catalog, *, architecture: str) -> Served | None:
    """What an engine's file says of a layout on an architecture; None: nothing, or SGLang."""
    rows = _rows(catalog.engines[engine], architecture)
    return next((row for row in rows if layout.name in row.layouts), None)


def find_layout(
    precision: str, catalog: Catalog, *, architecture: str, named: str = "", engine: str = "sglang"
) -> WeightLayout | None:
    """The layout that weights of a precision are taken for on an architecture.

    The catalogue's first one that the engine serves there; one whose distinguishing word stands in ``named`` (a
    repository or path, "Channel-INT8") goes before. None: none is served there.
    """
    fitting = [
        each
        for each in catalog.layouts.values()
        if each.precision == precision and serves(engine, each, catalog, architecture=architecture)
    ]
    told = [each for each in fitting if each.name.rpartition("-")[2].rstrip("0123456789") in named.casefold()]
    return next(iter((told if named else []) or fitting), None)


def kv_precisions(engine: str, accelerator: Accelerator, catalog: Catalog) -> tuple[str, ...]:
    """Precisions of the KV cache that an engine offers on a product."""
    return catalog.engines[engine].kv_precisions.get(accelerator.architecture, accelerator.kv_precisions)


def refusal_of(engine: str, catalog: Catalog, *, architecture: str, precision: str, model: str) -> Unserved | None:
    """The engine's own words on what it does not serve, where it has some."""
    return next(
        (
            each
            for each in catalog.engines[engine].unserved
            if _matches(architecture, each.architectures)
            and _matches(precision, each.precisions)
            and _matches(model, each.models)
        ),
        None,
    )


def configuration_of(facts: EngineFacts, model: str) -> Configuration | None:
    """The engine's own description of a catalogue's model; None: it has none."""
    return next((each for each in facts.configurations if _matches(model, each.models)), None)


def products_for(precision: str, catalog: Catalog, *, engine: str) -> str:
    """The names of products on which an engine runs a precision, for messages."""
    return ", ".join(
        each.aliases[0] if each.aliases else each.product
        for each in catalog.accelerators
        if precision in served_precisions(engine, each, catalog)
    )


def _rows(facts: EngineFacts, architecture: str) -> Iterator[Served]:
    return (row for row in facts.served if architecture in row.architectures)


def _quantised(accelerator: Accelerator, catalog: Catalog) -> Iterator[Precision]:
    return (layout.precision for layout in catalog.layouts.values() if accelerator.architecture in layout.architectures)


def _loads(engine: str, layout: WeightLayout) -> bool:
    return not layout.engines or engine in layout.engines


def _matches(value: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(value, pattern) for pattern in patterns)

"""``fit`` for the command line: memory of one device without a cluster, from names and numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from deepseek_operator.api.problems import InvalidInputError, Problem
from deepseek_operator.api.resource import Engine, Hardware
from deepseek_operator.catalog.types import Accelerator, Catalog, Dimensions, WeightLayout
from deepseek_operator.plan import memory
from deepseek_operator.plan.choices import find_model, find_products, find_release
from deepseek_operator.plan.rules import block_of, violations
from deepseek_operator.plan.support import find_layout, products_for, served_precisions
from deepseek_operator.plan.types import MemoryFit, Parallelism

_RELEASED: Final = "sglang"
"""The engine whose releases are in the catalogue."""
_GENERIC_ARCHITECTURE: Final = "sm90"
"""With only free memory given: SGLang's behaviour without Triton's buffers or a cut for AITER."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The device: a product of the catalogue, or the memory that is free on one."""

    product: str | None = None
    free_gib: float | None = None
    """After the engine's communication is up, before weights."""
    engine: Engine = field(default_factory=Engine)
    memory_of: str = "sglang"
    """The engine whose memory model answers, and whose layouts and rules count; for others than sglang no release is
    looked up."""


def fit_for(
    *,
    model: str | Dimensions,
    precision: str,
    target: Target,
    split: Parallelism,
    demand: memory.Demand,
    catalog: Catalog,
) -> MemoryFit:
    """Memory of the fullest device of a group.

    Args:
        model: a name of the catalogue, or the dimensions out of a config.json (``own_model.dimensions_of``).
        precision: fp8, bf16 or a quantised one.
        target: exactly one of product and free memory.
        split: tensor, pipeline, attention data and expert parallelism.
        demand: context, requests, cache precision, MTP, fraction.
        catalog: what is known.

    Raises:
        InvalidInputError: a name is unknown, the split breaks a rule, the context is longer than the model's, or
            the target is not one.
    """
    dimensions = _dimensions(model, catalog)
    if (target.product is None) == (target.free_gib is None):
        raise InvalidInputError(
            Problem(
                field="product",
                reason="TargetUnclear",
                message="give exactly one of a product and the free memory of a device",
            )
        )
    found = (
        _on_free(precision, target, catalog)
        if target.product is None
        else _on_product(precision, target, split, catalog)
    )
    broken = violations(
        split,
        dimensions,
        block=block_of(found.layout, dimensions),
        nodes=1,
        mtp=demand.mtp,
        engine=catalog.engines[target.memory_of],
    )
    wish, limit = demand.context_length or 0, dimensions.max_context
    if wish > limit:
        message = f"{wish:,} tokens are more than the {limit:,} of the model; use at most {limit}"
        broken += (Problem(field="spec.context.maxLength", reason="ContextBeyondModel", message=message),)
    if broken:
        raise InvalidInputError(*broken)
    return memory.fit(
        dimensions=dimensions,
        layout=found.layout,
        split=split,
        device=found.device,
        demand=demand,
        engine=found.engine,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where the model is to fit."""

    device: memory.Device
    layout: WeightLayout
    engine: memory.MemoryModel


def _dimensions(model: str | Dimensions, catalog: Catalog) -> Dimensions:
    if isinstance(model, Dimensions):
        return model
    found = find_model(model, catalog)
    if isinstance(found, Problem):
        raise InvalidInputError(found)
    return found.dimensions


def _on_free(precision: str, target: Target, catalog: Catalog) -> _Place:
    """A device of which only the free memory is known: Hopper's behaviour, or that of what serves the layout."""
    layout = find_layout(precision, catalog, architecture=_GENERIC_ARCHITECTURE, engine=target.memory_of)
    architecture, vendor = _GENERIC_ARCHITECTURE, "nvidia"
    if layout is None:
        with_devices = (each for each in catalog.layouts.values() if each.architectures)
        layout = next((each for each in with_devices if each.precision == precision), None)
        if layout is None:
            raise InvalidInputError(_unknown_precision(precision, catalog))
        architecture = layout.architectures[0]
        vendor = next(each.vendor for each in catalog.accelerators if each.architecture == architecture)
    free = target.free_gib or 0.0
    device = memory.Device(
        vendor=vendor,
        architecture=architecture,
        memory_gib=free + catalog.memory_rules.communication_gib[vendor],
        free_gib=free,
    )
    return _Place(device=device, layout=layout, engine=_engine(target, catalog, vendor=vendor))


def _on_product(precision: str, target: Target, split: Parallelism, catalog: Catalog) -> _Place:
    products = find_products(Hardware(product=target.product), catalog)
    if isinstance(products, Problem):
        raise InvalidInputError(products)
    accelerator = products[0]
    served = served_precisions(target.memory_of, accelerator, catalog)
    layout = find_layout(precision, catalog, architecture=accelerator.architecture, engine=target.memory_of)
    if layout is None or precision not in served:
        raise InvalidInputError(_not_native(accelerator, precision, served, target.memory_of, catalog))
    aiter_fraction, version = 1.0, target.engine.version
    if target.memory_of == _RELEASED:
        found = find_release(target.engine, catalog, vendor=accelerator.vendor, architecture=accelerator.architecture)
        if isinstance(found, Problem):
            raise InvalidInputError(found)
        aiter_fraction, version = found[1].aiter_fraction, version or found[1].version
    world = split.tensor * split.pipeline
    device = memory.device_for(
        vendor=accelerator.vendor,
        architecture=accelerator.architecture,
        memory_gib=accelerator.memory_gib,
        nodes=-(-world // accelerator.devices_per_node),
        rules=catalog.memory_rules,
        ranks=world,
    )
    engine = _engine(target, catalog, vendor=accelerator.vendor, version=version, aiter_fraction=aiter_fraction)
    return _Place(device=device, layout=layout, engine=engine)


def _engine(
    target: Target, catalog: Catalog, *, vendor: str, version: str | None = None, aiter_fraction: float = 1.0
) -> memory.MemoryModel:
    return memory.memory_model(
        target.memory_of,
        catalog,
        vendor=vendor,
        version=version or target.engine.version,
        aiter_fraction=aiter_fraction,
    )


def _unknown_precision(precision: str, catalog: Catalog) -> Problem:
    known = ", ".join(dict.fromkeys(each.precision for each in catalog.layouts.values() if not each.engines))
    return Problem(
        field="precision", reason="UnknownPrecision", message=f"{precision} is not a precision; use one of {known}"
    )


def _not_native(
    accelerator: Accelerator, precision: str, served: Sequence[str], engine: str, catalog: Catalog
) -> Problem:
    ways = [", ".join(served) or "another engine"]
    if products := products_for(precision, catalog, engine=engine):
        ways.append(f"one of {products}")
    return Problem(
        field="precision",
        reason="PrecisionNotNative",
        message=f"{accelerator.product} does not run DeepSeek's {precision} in {engine}; use {', or '.join(ways)}",
    )

"""``fit`` for the command line: memory of one device without a cluster, from names and numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from deepseek_operator.api.problems import InvalidInputError, Problem
from deepseek_operator.api.resource import Engine, Hardware
from deepseek_operator.catalog.types import Accelerator, Catalog, Dimensions
from deepseek_operator.plan import memory
from deepseek_operator.plan.choices import find_model, find_products, find_release, products_for
from deepseek_operator.plan.rules import violations
from deepseek_operator.plan.types import MemoryFit, Parallelism

_CONFIG_KEYS: Final = {
    "hidden": "hidden_size",
    "layers": "num_hidden_layers",
    "dense_layers": "first_k_dense_replace",
    "heads": "num_attention_heads",
    "q_lora_rank": "q_lora_rank",
    "kv_lora_rank": "kv_lora_rank",
    "qk_nope_head_dim": "qk_nope_head_dim",
    "qk_rope_head_dim": "qk_rope_head_dim",
    "v_head_dim": "v_head_dim",
    "dense_intermediate": "intermediate_size",
    "moe_intermediate": "moe_intermediate_size",
    "routed_experts": "n_routed_experts",
    "shared_experts": "n_shared_experts",
    "vocab": "vocab_size",
    "max_context": "max_position_embeddings",
}
_GENERIC_ARCHITECTURE: Final = "sm90"
"""With only free memory given: SGLang's behaviour without Triton's buffers or a cut for AITER."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The device: a product of the catalogue, or the memory that is free on one."""

    product: str | None = None
    free_gib: float | None = None
    """After the engine's communication is up, before weights."""
    engine: Engine = field(default_factory=Engine)


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
        model: a name of the catalogue, or the dimensions out of a config.json (``dimensions_of``).
        precision: fp8 or bf16.
        target: exactly one of product and free memory.
        split: tensor, pipeline, attention data and expert parallelism.
        demand: context, requests, cache precision, MTP, fraction.
        catalog: what is known.

    Raises:
        InvalidInputError: a name is unknown, the split breaks a rule, or the target is not one.
    """
    dimensions = _dimensions(model, catalog)
    broken = violations(split, dimensions, precision=precision, nodes=1, mtp=demand.mtp)
    if broken:
        raise InvalidInputError(*broken)
    if (target.product is None) == (target.free_gib is None):
        raise InvalidInputError(
            Problem(
                field="product",
                reason="TargetUnclear",
                message="give exactly one of a product and the free memory of a device",
            )
        )
    if target.product is None:
        return _on_free(dimensions, precision, target.free_gib or 0.0, split, demand, catalog)
    return _on_product(dimensions, precision, target, split, demand, catalog)


def dimensions_of(config: Mapping[str, Any]) -> Dimensions:
    """The dimensions in a model's config.json.

    Raises:
        InvalidInputError: a key is missing or no whole number; the model is not of DeepSeek-V3's shape.
    """
    sizes: dict[str, int] = {}
    for name, key in _CONFIG_KEYS.items():
        value = config.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise InvalidInputError(
                Problem(
                    field=key,
                    reason="NotDeepSeekShaped",
                    message=f"config.json has no whole number {key}; use the config.json of a model of DeepSeek-V3's "
                    "architecture",
                )
            )
        sizes[name] = value
    quantization = config.get("quantization_config") or {}
    block = quantization.get("weight_block_size") or (128,)
    mtp = config.get("num_nextn_predict_layers") or 0
    return Dimensions(**sizes, mtp_layers=int(mtp), weight_block=int(block[0]))


def _dimensions(model: str | Dimensions, catalog: Catalog) -> Dimensions:
    if isinstance(model, Dimensions):
        return model
    found = find_model(model, catalog)
    if isinstance(found, Problem):
        raise InvalidInputError(found)
    return found.dimensions


def _on_free(
    dimensions: Dimensions,
    precision: str,
    free_gib: float,
    split: Parallelism,
    demand: memory.Demand,
    catalog: Catalog,
) -> MemoryFit:
    rules = catalog.memory_rules
    taken = rules.communication_gib["nvidia"]
    device = memory.Device(
        vendor="nvidia",
        architecture=_GENERIC_ARCHITECTURE,
        memory_gib=free_gib + taken,
        free_gib=free_gib,
    )
    engine = memory.EngineMemory(rules=rules, tiers=catalog.memory_tiers["default"])
    return memory.fit(
        dimensions=dimensions, precision=precision, split=split, device=device, demand=demand, engine=engine
    )


def _on_product(
    dimensions: Dimensions,
    precision: str,
    target: Target,
    split: Parallelism,
    demand: memory.Demand,
    catalog: Catalog,
) -> MemoryFit:
    products = find_products(Hardware(product=target.product), catalog)
    if isinstance(products, Problem):
        raise InvalidInputError(products)
    accelerator = products[0]
    if precision not in accelerator.precisions:
        raise InvalidInputError(_not_native(accelerator, precision, catalog))
    found = find_release(target.engine, catalog, vendor=accelerator.vendor, architecture=accelerator.architecture)
    if isinstance(found, Problem):
        raise InvalidInputError(found)
    world = split.tensor * split.pipeline
    device = memory.device_for(
        vendor=accelerator.vendor,
        architecture=accelerator.architecture,
        memory_gib=accelerator.memory_gib,
        nodes=-(-world // accelerator.devices_per_node),
        rules=catalog.memory_rules,
    )
    family = accelerator.vendor if accelerator.vendor in catalog.memory_tiers else "default"
    engine = memory.EngineMemory(
        rules=catalog.memory_rules,
        tiers=catalog.memory_tiers[family],
        aiter_fraction=found[1].aiter_fraction,
    )
    return memory.fit(
        dimensions=dimensions, precision=precision, split=split, device=device, demand=demand, engine=engine
    )


def _not_native(accelerator: Accelerator, precision: str, catalog: Catalog) -> Problem:
    return Problem(
        field="precision",
        reason="PrecisionNotNative",
        message=f"{accelerator.product} does not run DeepSeek's {precision}; use "
        f"{', '.join(accelerator.precisions)}, or one of {products_for(precision, catalog)}",
    )

"""A model that the user brings: its config.json read into the catalogue's record, checked, errors named."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from deepseek_operator.api.problems import InvalidInputError, Problem
from deepseek_operator.catalog.types import Catalog, Dimensions, Model, Parsers
from deepseek_operator.plan.footprint import checkpoint_gib

_ARCHITECTURES: Final = ("DeepseekV2ForCausalLM", "DeepseekV3ForCausalLM", "DeepseekV32ForCausalLM")
"""Those whose sharding and cache the memory model knows (SGLang models/deepseek_v2.py serves all three)."""
_NEEDED: Final = {
    "hidden": "hidden_size",
    "layers": "num_hidden_layers",
    "dense_layers": "first_k_dense_replace",
    "heads": "num_attention_heads",
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
_BLOCK: Final = 128


def read_config(text: str) -> Mapping[str, Any]:
    """The object in a config.json. Raises InvalidInputError: it is no JSON, or no object."""
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _wrong("config.json", f"is no JSON: {error}") from error
    if not isinstance(config, dict):
        raise _wrong("config.json", "holds no object; use the config.json that lies beside the weights")
    return config


def dimensions_of(config: Mapping[str, Any]) -> Dimensions:
    """The dimensions in the config.json of a model of DeepSeek-V2's, V3's or V3.2's architecture.

    Raises:
        InvalidInputError: another architecture, a key that is missing or no whole number, or figures that cannot be.
    """
    given = config.get("architectures")
    if given is not None and (not isinstance(given, list) or not set(given) & set(_ARCHITECTURES)):
        raise _wrong("architectures", f"{given} is not planned; use a model of {' or '.join(_ARCHITECTURES)}")
    sizes: dict[str, Any] = {name: _whole(config, key) for name, key in _NEEDED.items()}
    query = None if config.get("q_lora_rank") is None else _whole(config, "q_lora_rank")
    sparse = config.get("index_n_heads") is not None
    quantization = config.get("quantization_config")
    block = quantization.get("weight_block_size") if isinstance(quantization, dict) else None
    if block is not None and not (isinstance(block, list) and len(set(block)) == 1 and isinstance(block[0], int)):
        raise _wrong("quantization_config.weight_block_size", f"{block} is not a square block; use one like [128, 128]")
    mtp = config.get("num_nextn_predict_layers") or 0
    if mtp not in {0, 1}:
        raise _wrong("num_nextn_predict_layers", f"{mtp} is not 0 or 1; SGLang drafts with one layer at most")
    try:
        return Dimensions(
            **sizes,
            q_lora_rank=query,
            mtp_layers=mtp,
            weight_block=block[0] if block else _BLOCK,
            index_heads=_whole(config, "index_n_heads") if sparse else None,
            index_head_dim=_whole(config, "index_head_dim") if sparse else 0,
        )
    except ValueError as error:
        raise _wrong("config.json", str(error)) from error


def model_of(name: str, config: Mapping[str, Any], catalog: Catalog) -> Model:
    """A model of the user's own for the catalogue; its weights are to be named in spec.weights.source.

    Args:
        name: what spec.model calls it.
        config: its config.json.
        catalog: for the layouts of weights.

    Raises:
        InvalidInputError: as ``dimensions_of``.
    """
    dimensions = dimensions_of(config)
    return Model(
        name=name,
        repository=name,
        aliases=(),
        dimensions=dimensions,
        checkpoints={},
        bf16_size_gib=checkpoint_gib(dimensions, catalog.layouts["bf16"]),
        parsers=Parsers(reasoning=None, tool_call=None, chat_template=None, source="the user's own model"),
        source="the user's config.json",
    )


def with_model(catalog: Catalog, model: Model) -> Catalog:
    """The catalogue with a model more; one of the same name gives way."""
    return replace(catalog, models={**catalog.models, model.name: model})


def _whole(config: Mapping[str, Any], key: str) -> int:
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise _wrong(
            key,
            f"config.json has no whole number {key}; use the config.json of a model of DeepSeek-V2's, V3's or V3.2's "
            "architecture",
        )
    return value


def _wrong(field: str, message: str) -> InvalidInputError:
    return InvalidInputError(Problem(field=field, reason="NotDeepSeekShaped", message=message))

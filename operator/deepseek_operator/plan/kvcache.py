"""Bytes of one token in the KV cache of a device, as the engine lays it out.

Latent attention (MLA) keeps one latent and one rotary key a layer, whole on every rank. Sparse attention (DSA) adds
the indexer's FP8 key with its scale, and an FP8 latent carries its own scales and a BF16 rotary key, except in
kernels that keep the raw layout (SGLang 0.5.23 mem_cache/kv_cache_configurator.py calculate_mla_kv_cache_dim and
model_executor/pool_configurator.py). Grouped-query attention keeps keys and values of a rank's own heads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from deepseek_operator.catalog.types import Dimensions
from deepseek_operator.plan.footprint import kv_heads_of_a_rank

_QUANT_BLOCK: Final = 128
"""Latent features that share a float32 scale."""
_SCALE_BYTES: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheKind:
    """How the cache is kept on a device."""

    fp8: bool
    raw: bool = False
    """FP8 sparse attention without scales of its own."""
    wide_index: bool = False
    """The indexer's keys are BF16 unless the latent is FP8 (Ascend)."""


def bytes_per_token(dims: Dimensions, *, layers: int, kind: CacheKind, attention_ranks: int, mtp: bool) -> int:
    """Bytes of one token in the cache of a device with ``layers`` layers.

    Args:
        dims: the model's dimensions.
        layers: of the device's pipeline stage.
        kind: precision and layout of the cache.
        attention_ranks: ranks that share the heads of one attention replica.
        mtp: the draft layer has a cache of its own, too.
    """
    cached = layers + (dims.mtp_layers if mtp else 0)
    return cached * _layer_bytes(dims, kind, attention_ranks)


def _layer_bytes(dims: Dimensions, kind: CacheKind, attention_ranks: int) -> int:
    number = 1 if kind.fp8 else 2
    if not dims.latent:
        return 2 * kv_heads_of_a_rank(dims, attention_ranks) * dims.head_dim * number
    latent, rotary = dims.kv_lora_rank or 0, dims.qk_rope_head_dim
    if not dims.sparse:
        return (latent + rotary) * number
    index = dims.index_head_dim + dims.index_head_dim // _QUANT_BLOCK * _SCALE_BYTES
    if kind.wide_index and not kind.fp8:
        index = dims.index_head_dim * 2
    if kind.fp8 and not kind.raw:
        return latent + latent // _QUANT_BLOCK * _SCALE_BYTES + rotary * 2 + index
    return (latent + rotary) * number + index

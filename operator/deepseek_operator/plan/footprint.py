"""Bytes of a DeepSeek-V3-shaped model on one device: weights by part, and KV cache a token.

The parts follow SGLang's own sharding of DeepSeek-V2/V3 (models/deepseek_v2.py): the low-rank down-projections are
whole on every rank, heads are split over the attention ranks, experts over all ranks, the two matrices that absorb
kv_b into attention stay in BF16 beside it. All sizes are GiB unless a name says bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from deepseek_operator.catalog.types import Dimensions
from deepseek_operator.plan.types import Parallelism

GIB = 2**30
_BF16_BYTES = 2.0
_SCALE_BYTES = 4.0
"""One float32 for each block of FP8 weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharding:
    """How the parts of a model are split, beyond what the parallelism itself says."""

    split: Parallelism
    redundant_experts: int = 0
    """Copies of routed experts in each layer, all ranks together."""
    moe_dense_tensor: int | None = None
    """Tensor-parallel size of the dense feed-forward layers; None: as the rest."""

    @property
    def attention_tensor(self) -> int:
        """Ranks that share the heads of one attention replica."""
        return self.split.tensor // self.split.attention_data


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """The layers of one pipeline stage."""

    layers: int
    dense: int
    first: bool
    last: bool


def stages(dimensions: Dimensions, pipeline: int) -> tuple[Stage, ...]:
    """The layers of each pipeline stage; the last ones take what is left over.

    SGLang distributed/utils.py, get_pp_indices.
    """
    base, left = divmod(dimensions.layers, pipeline)
    cut: list[Stage] = []
    start = 0
    for rank in range(pipeline):
        layers = base + (1 if rank >= pipeline - left else 0)
        dense = min(layers, max(0, dimensions.dense_layers - start))
        cut.append(Stage(layers=layers, dense=dense, first=rank == 0, last=rank == pipeline - 1))
        start += layers
    return tuple(cut)


def bytes_per_weight(precision: str, dimensions: Dimensions) -> float:
    """Bytes of one weight of the quantised matrices: FP8 with a scale for each block, or BF16."""
    if precision == "fp8":
        return 1 + _SCALE_BYTES / dimensions.weight_block**2
    return _BF16_BYTES


def kv_bytes_per_token(dimensions: Dimensions, *, layers: int, kv_precision: str, mtp: bool) -> int:
    """Bytes of one token in the KV cache of a device: the latent and the rotary part, whole on every rank."""
    width = dimensions.kv_lora_rank + dimensions.qk_rope_head_dim
    cached = layers + (dimensions.mtp_layers if mtp else 0)
    return cached * width * (1 if kv_precision == "fp8" else 2)


def weights(
    dimensions: Dimensions, stage: Stage, sharding: Sharding, *, precision: str, mtp: bool
) -> Mapping[str, float]:
    """GiB by part on one device of a pipeline stage."""
    each = bytes_per_weight(precision, dimensions)
    moe = stage.layers - stage.dense
    parts = {
        "attention": stage.layers * _attention_bytes(dimensions, sharding, each),
        "denseMlp": stage.dense * _dense_bytes(dimensions, sharding, each),
        "routedExperts": moe * _routed_bytes(dimensions, sharding, each),
        "sharedExperts": moe * _shared_bytes(dimensions, sharding, each),
        "router": moe * _router_bytes(dimensions),
        "embeddings": _embedding_bytes(dimensions, stage, sharding),
    }
    if mtp and stage.last:
        parts["mtp"] = dimensions.mtp_layers * _mtp_bytes(dimensions, sharding, each)
    return {name: size / GIB for name, size in parts.items()}


def _attention_bytes(dims: Dimensions, sharding: Sharding, each: float) -> float:
    replicated = dims.hidden * (dims.q_lora_rank + dims.kv_lora_rank + dims.qk_rope_head_dim)
    absorbed = dims.kv_lora_rank * dims.heads * (dims.qk_nope_head_dim + dims.v_head_dim)
    query = dims.q_lora_rank * dims.heads * (dims.qk_nope_head_dim + dims.qk_rope_head_dim)
    output = dims.heads * dims.v_head_dim * dims.hidden
    by_heads = each * (query + absorbed + output) + _BF16_BYTES * absorbed
    return each * replicated + by_heads / sharding.attention_tensor


def _dense_bytes(dims: Dimensions, sharding: Sharding, each: float) -> float:
    ranks = sharding.moe_dense_tensor or sharding.split.tensor
    return each * 3 * dims.hidden * dims.dense_intermediate / ranks


def _routed_bytes(dims: Dimensions, sharding: Sharding, each: float) -> float:
    experts = dims.routed_experts + sharding.redundant_experts
    return each * 3 * dims.hidden * dims.moe_intermediate * experts / sharding.split.tensor


def _shared_bytes(dims: Dimensions, sharding: Sharding, each: float) -> float:
    ranks = sharding.moe_dense_tensor or sharding.split.tensor
    return each * 3 * dims.hidden * dims.moe_intermediate * dims.shared_experts / ranks


def _router_bytes(dims: Dimensions) -> float:
    return dims.routed_experts * (_BF16_BYTES * dims.hidden + 4)


def _embedding_bytes(dims: Dimensions, stage: Stage, sharding: Sharding) -> float:
    table = _BF16_BYTES * dims.vocab * dims.hidden
    tokens = table / sharding.attention_tensor if stage.first else 0.0
    head = table / sharding.split.tensor if stage.last else 0.0
    return tokens + head


def _mtp_bytes(dims: Dimensions, sharding: Sharding, each: float) -> float:
    """One more MoE layer and the projection of two hidden states into one, which is whole and BF16."""
    projection = _BF16_BYTES * 2 * dims.hidden**2
    return (
        _attention_bytes(dims, sharding, each)
        + _routed_bytes(dims, sharding, each)
        + _shared_bytes(dims, sharding, each)
        + _router_bytes(dims)
        + projection
    )

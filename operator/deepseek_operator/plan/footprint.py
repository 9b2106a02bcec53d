"""Bytes of a model on one device: weights by part, as the engine holds them after loading.

The parts follow SGLang's own sharding (models/deepseek_v2.py, qwen2.py, llama.py): low-rank down-projections and the
indexer are whole on every rank, heads are split over the attention ranks, experts over all ranks, the two matrices
that absorb kv_b into attention stay beside it. Every matrix is counted with its scales, which do not always shrink
with the split: a scale for each output of a row-parallel matrix is whole on each rank. Sizes are GiB unless a name
says bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from deepseek_operator.catalog.types import Dimensions, WeightFormat, WeightLayout
from deepseek_operator.plan.types import Parallelism

GIB = 2**30
_BF16 = WeightFormat(bits=16)
_VOCAB_PADDING = 64
"""Rows of the embeddings are padded to this (layers/vocab_parallel_embedding.py)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharding:
    """How the parts of a model are split, beyond what the parallelism itself says."""

    split: Parallelism
    redundant_experts: int = 0
    """Copies of routed experts in each layer, all ranks together."""
    moe_dense_tensor: int | None = None
    """Tensor-parallel size of the dense feed-forward layers; None: as the rest. 1 with attention data parallelism
    is the recipe of large expert parallelism: DeepEP keeps the shared expert, and --enable-dp-lm-head the output
    head, whole on each attention rank."""
    deepep: bool = False
    """DeepEP keeps the shared expert whole on each rank, whatever attention does (models/deepseek_v2.py)."""
    shared_expert_copies: bool = False
    """Releases that clone the shared expert into the routed ones, once a rank."""
    amd: bool = False
    """Devices whose kernels keep the absorbed matrices smaller."""
    replicas_apart: bool = False
    """Attention replicas share the routed experts alone (vLLM): dense layers, the shared expert and the output head
    are split inside each replica, not over all of them."""

    @property
    def attention_tensor(self) -> int:
        """Ranks that share the heads of one attention replica."""
        return self.split.tensor // self.split.attention_data

    @property
    def _whole(self) -> bool:
        return self.deepep or (self.moe_dense_tensor == 1 and self.split.attention_data > 1)

    @property
    def _joined(self) -> int:
        """Ranks that share what is neither attention nor a routed expert, unless something else is said."""
        return self.attention_tensor if self.replicas_apart else self.split.tensor

    @property
    def dense_ranks(self) -> int:
        """Ranks that share a dense feed-forward layer."""
        return self.moe_dense_tensor or self._joined

    @property
    def shared_ranks(self) -> int:
        """Ranks that share the shared expert.

        On AMD it stays fused into the routed ones under expert parallelism, once in each expert group
        (models/deepseek_v2.py, shared_experts_fusion_disable_reason).
        """
        if self._whole or self.shared_expert_copies:
            return 1
        if self.replicas_apart:
            return self._joined
        return self.split.tensor // self.split.expert if self.amd else self.split.tensor

    @property
    def head_ranks(self) -> int:
        """Ranks that share the output head."""
        return self.attention_tensor if self._whole else self._joined


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """The layers of one pipeline stage."""

    layers: int
    dense: int
    first: bool
    last: bool


@lru_cache(maxsize=1024)
def stages(dimensions: Dimensions, pipeline: int, *, spared: int = 0) -> tuple[Stage, ...]:
    """The layers of each pipeline stage; the last ones take what is left over (SGLang's get_pp_indices).

    ``spared``: stages at the end that take nothing of it (vLLM spares the last one, which has the output head).
    """
    base, left = divmod(dimensions.layers, pipeline)
    cut: list[Stage] = []
    start = 0
    for rank in range(pipeline):
        layers = base + (1 if 0 <= pipeline - spared - 1 - rank < left else 0)
        dense = min(layers, max(0, dimensions.dense_layers - start))
        cut.append(Stage(layers=layers, dense=dense, first=rank == 0, last=rank == pipeline - 1))
        start += layers
    return tuple(cut)


def matrix_bytes(out: int, into: int, stored: WeightFormat, *, out_ranks: int = 1, in_ranks: int = 1) -> float:
    """Bytes of one rank's slice of a matrix of ``out`` x ``into`` weights, scales included."""
    rows, columns = out / out_ranks, into / in_ranks
    size = rows * columns * stored.bits / 8
    if stored.rows:
        across = 1 if stored.columns == 0 else -(-columns // stored.columns)
        size += -(-rows // stored.rows) * across * stored.scale_bytes
    return size


@lru_cache(maxsize=16_384)
def weights(
    dimensions: Dimensions, stage: Stage, sharding: Sharding, *, layout: WeightLayout, mtp: bool
) -> Mapping[str, float]:
    """GiB by part on one device of a pipeline stage; the caller must not change the answer."""
    moe = stage.layers - stage.dense
    parts = {
        "attention": stage.layers * _attention_bytes(dimensions, sharding, layout, layout.attention),
        "denseMlp": stage.dense
        * _mlp_bytes(dimensions.hidden, dimensions.dense_intermediate, layout.dense, sharding.dense_ranks),
        "embeddings": _embedding_bytes(dimensions, stage, sharding),
    }
    if dimensions.sparse:
        parts["indexer"] = stage.layers * _indexer_bytes(dimensions, layout.attention)
    if moe:
        parts["routedExperts"] = moe * _routed_bytes(dimensions, sharding, layout.routed)
        parts["sharedExperts"] = moe * _shared_bytes(dimensions, sharding, layout.shared)
        parts["router"] = moe * _router_bytes(dimensions)
    if mtp and stage.last and dimensions.mtp_layers:
        parts["mtp"] = dimensions.mtp_layers * _mtp_bytes(dimensions, sharding, layout)
    return {name: size / GIB for name, size in parts.items()}


@lru_cache(maxsize=1024)
def checkpoint_gib(dimensions: Dimensions, layout: WeightLayout, *, mtp: bool = True) -> float:
    """GiB of a checkpoint on disk: every matrix once; the absorbed copies are made when it is loaded.

    The MTP layer of a checkpoint brings its own copy of embeddings and output head.
    """
    (stage,) = stages(dimensions, 1)
    alone = Sharding(split=Parallelism(tensor=1))
    held = sum(weights(dimensions, stage, alone, layout=layout, mtp=mtp).values())
    with_mtp = mtp and dimensions.mtp_layers
    copies = dimensions.layers + (dimensions.mtp_layers if with_mtp else 0)
    absorbed = copies * _absorbed_bytes(dimensions, alone, layout) / GIB
    twice = 2 * dimensions.vocab * dimensions.hidden * 2 / GIB if with_mtp else 0.0
    return held - absorbed + twice


def _attention_bytes(dims: Dimensions, sharding: Sharding, layout: WeightLayout, stored: WeightFormat) -> float:
    norms = 2 * dims.hidden * 2
    if not dims.latent:
        return norms + _grouped_bytes(dims, sharding, stored)
    ranks, latent = sharding.attention_tensor, dims.kv_lora_rank or 0
    query_in = dims.q_lora_rank or dims.hidden
    queries = dims.heads * (dims.qk_nope_head_dim + dims.qk_rope_head_dim)
    down = (dims.q_lora_rank or 0) + latent + dims.qk_rope_head_dim
    values = dims.heads * (dims.qk_nope_head_dim + dims.v_head_dim)
    kept = layout.latent if stored is layout.attention else stored
    return (
        norms
        + ((dims.q_lora_rank or 0) + latent) * 2
        + matrix_bytes(down, dims.hidden, stored)
        + matrix_bytes(queries, query_in, stored, out_ranks=ranks)
        + matrix_bytes(values, latent, kept, out_ranks=ranks)
        + _absorbed_bytes(dims, sharding, layout)
        + matrix_bytes(dims.hidden, dims.heads * dims.v_head_dim, stored, in_ranks=ranks)
    )


def _absorbed_bytes(dims: Dimensions, sharding: Sharding, layout: WeightLayout) -> float:
    if not dims.latent:
        return 0.0
    stored = layout.absorbed_amd if sharding.amd else layout.absorbed
    values = dims.heads * (dims.qk_nope_head_dim + dims.v_head_dim)
    return matrix_bytes(values, dims.kv_lora_rank or 0, stored, out_ranks=sharding.attention_tensor)


def _grouped_bytes(dims: Dimensions, sharding: Sharding, stored: WeightFormat) -> float:
    """Grouped-query attention; with fewer key-value heads than ranks, each rank keeps one."""
    ranks = sharding.attention_tensor
    queries = dims.heads * dims.head_dim
    keys = 2 * kv_heads_of_a_rank(dims, ranks) * dims.head_dim
    bias = (queries / ranks + keys) * 2 if dims.qkv_bias else 0
    return (
        bias
        + matrix_bytes(queries, dims.hidden, stored, out_ranks=ranks)
        + matrix_bytes(keys, dims.hidden, stored)
        + matrix_bytes(dims.hidden, queries, stored, in_ranks=ranks)
    )


def kv_heads_of_a_rank(dims: Dimensions, ranks: int) -> int:
    """Key-value heads that one of ``ranks`` attention ranks keeps (model_config.py get_num_kv_heads)."""
    return max(1, (dims.kv_heads or 1) // ranks)


def _indexer_bytes(dims: Dimensions, stored: WeightFormat) -> float:
    """The indexer of sparse attention, whole on every rank; key and head weights stay BF16 (dsa_indexer.py)."""
    heads, width = dims.index_heads or 0, dims.index_head_dim
    return (
        matrix_bytes(heads * width, dims.q_lora_rank or 0, stored)
        + matrix_bytes(width + heads, dims.hidden, _BF16)
        + 2 * width * 4
    )


def _mlp_bytes(hidden: int, width: int, stored: WeightFormat, ranks: int) -> float:
    up = matrix_bytes(2 * width, hidden, stored, out_ranks=ranks)
    return up + matrix_bytes(hidden, width, stored, in_ranks=ranks)


def _routed_bytes(dims: Dimensions, sharding: Sharding, stored: WeightFormat) -> float:
    split = sharding.split
    experts = (dims.routed_experts + sharding.redundant_experts) / split.expert
    return experts * _mlp_bytes(dims.hidden, dims.moe_intermediate, stored, split.tensor // split.expert)


def _shared_bytes(dims: Dimensions, sharding: Sharding, stored: WeightFormat) -> float:
    if not dims.shared_experts:
        return 0.0
    width = dims.moe_intermediate * dims.shared_experts
    return _mlp_bytes(dims.hidden, width, stored, sharding.shared_ranks)


def _router_bytes(dims: Dimensions) -> float:
    """BF16 weights and a float32 correction for each expert."""
    return dims.routed_experts * (2 * dims.hidden + 4)


def _embedding_bytes(dims: Dimensions, stage: Stage, sharding: Sharding) -> float:
    rows = -(-dims.vocab // _VOCAB_PADDING) * _VOCAB_PADDING
    table = 2.0 * rows * dims.hidden
    tokens = table / sharding.attention_tensor if stage.first else 0.0
    head = table / sharding.head_ranks if stage.last else 0.0
    return tokens + head


def _mtp_bytes(dims: Dimensions, sharding: Sharding, layout: WeightLayout) -> float:
    """One more MoE layer and the projection of two hidden states into one, which is whole and BF16.

    Embeddings and output head are the target model's (models/deepseek_nextn.py).
    """
    experts = layout.mtp_experts
    shared = layout.shared if experts is layout.routed else experts
    indexer = _indexer_bytes(dims, layout.mtp_attention) if dims.sparse else 0.0
    return (
        _attention_bytes(dims, sharding, layout, layout.mtp_attention)
        + indexer
        + _routed_bytes(dims, sharding, experts)
        + _shared_bytes(dims, sharding, shared)
        + _router_bytes(dims)
        + matrix_bytes(dims.hidden, 2 * dims.hidden, _BF16)
    )

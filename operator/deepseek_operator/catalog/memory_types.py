"""How engines use a device's memory, as frozen records; each figure has its source in the YAML beside this module."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryTier:
    """SGLang's defaults by device memory (memory_hook.py): the first tier whose ``below_mib`` exceeds the device."""

    below_mib: int
    chunked_prefill: int
    graph_max_batch_small: int
    """tensor parallel < 4."""
    graph_max_batch: int
    """tensor parallel ≥ 4."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryVersion:
    """What changed in SGLang's use of memory with a version; the last one that is not newer counts."""

    since: str
    shared_expert_copies: bool
    """The shared expert is cloned into the routed ones, once a rank."""
    draft_in_budget: bool
    """The draft model is loaded before the cache is sized, and so its weights and its cache count against the
    fraction; before that they came out of the reserve."""
    sparse_scales: bool
    """The cache of sparse attention is sized with the scales of an FP8 latent, where its kernels keep them."""
    sparse_raw_cache: tuple[str, ...]
    """Architectures whose kernels keep none (TRT-LLM's)."""
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryRules:
    """How SGLang uses the memory that weights and KV cache leave; MiB unless the name says otherwise."""

    base_mib: float
    per_chunk_token_mib: float
    smallest_chunk: int
    """Tokens that the activation term counts at least."""
    per_device_mib: float
    """For each device of the world size."""
    per_graph_batch_mib: float
    per_attention_rank_mib: float
    """For each sequence of the largest graph and each attention-data rank."""
    per_attention_rank_large_mib: float
    """More of that above ``large_graph_batch``."""
    large_graph_batch: int
    prefill_graph_mib: float
    floor_mib: float
    """Least reserve on devices larger than ``floor_above_mib``."""
    floor_above_mib: float
    mtp_mib: float
    communication_gib: Mapping[str, float]
    """By vendor: device memory that is gone before weights load, on one node."""
    communication_nodes_gib: Mapping[str, float]
    """By vendor: the same when a group spans nodes."""
    alone_gib: float
    """The same for a device that has nobody to communicate with."""
    weights_refused_share: float
    """Weights above this share of a device are refused."""
    weights_warned_share: float
    triton_splits: Mapping[str, int]
    """Architectures that run DeepSeek's attention on Triton, with the most KV splits of its decode kernel."""
    triton_fallback_splits: Mapping[str, int]
    """Architectures that do so only where AITER does not take the heads of a rank."""
    aiter_heads: tuple[int, ...]
    """Heads a rank that AITER takes."""
    page_sizes: Mapping[str, int]
    """KV page in tokens by architecture, where it is not 1."""
    sparse_page_size: int
    """The same for sparse attention."""
    deepep_mib: float
    """What DeepEP's buffers take beyond the reserve."""
    deepep_prefill_graph_mib: float
    """The same for its prefill graphs."""
    sparse_fp8_cache: tuple[str, ...]
    """Architectures whose cache of sparse attention is FP8 unless asked otherwise."""
    load_overhead_gib: float
    """What loading takes beside the weights themselves: rotary tables, libraries' workspaces."""
    host_gib_per_device: float
    """Host memory of one rank's process while it serves."""
    host_shard_gib: float
    """Host memory for the file of the checkpoint that a rank is reading."""
    source: str

    def __hash__(self) -> int:
        """Fits are kept by rules; the mappings in them have no hash."""
        return hash(self.source)


@dataclass(frozen=True, slots=True, kw_only=True)
class VllmMemoryRules:
    """How vLLM uses a device; its fraction is of the whole device, everything included."""

    default_fraction: float
    large_from_gib: float
    """Devices from here on get the larger defaults, except for ``small_architectures``."""
    small_architectures: tuple[str, ...]
    batched_tokens: int
    """Tokens of the profiling run, max_num_batched_tokens."""
    running: int
    """max_num_seqs."""
    largest_from_gib: float
    """Devices from here on get ``batched_tokens_largest``."""
    batched_tokens_largest: int
    batched_tokens_small: int
    running_small: int
    experts_per_token: int
    visible_share: Mapping[str, float]
    """By vendor: what torch sees of a device's memory; the fraction is of that."""
    context_share: float
    """Of the planned cache, the longest context that is written where none was asked for."""
    non_torch_gib: Mapping[str, float]
    """By vendor: communication buffers and libraries outside torch's allocator."""
    block_size: int
    """KV block in tokens."""
    sparse_block_size: int
    source: str

    def __hash__(self) -> int:
        """Fits are kept by rules; the mappings in them have no hash."""
        return hash(self.source)

"""Memory of the DeepSeek-Infer demo: it allocates the whole cache at its start, for a fixed batch and length.

``inference/model.py`` (deepseek-ai/DeepSeek-V3 9b4e978, class MLA) registers per layer a latent and a rotary buffer of
``max_batch_size`` x ``max_seq_len`` in BF16 on every rank; nothing is paged and nothing is shared out by requests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from deepseek_operator.plan.footprint import GIB, checkpoint_gib
from deepseek_operator.plan.kvcache import CacheKind
from deepseek_operator.plan.memory_case import LONG, SHORT, Case, stage_memory
from deepseek_operator.plan.types import MemoryFit

BATCH: Final = 8
"""ModelArgs.max_batch_size."""
LENGTH: Final = 16_384
"""ModelArgs.max_seq_len."""
_ACTIVATIONS_GIB: Final = 6.0
"""Own estimate: scores of eight prompts of 2,048 tokens in FP32, logits, Triton's and the allocator's own share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InferMemory:
    """Weights, the buffers, and a fixed rest."""

    tensors: tuple[int, ...]
    """Sizes that it runs; no other must be recommended, nor a pipeline."""

    def search(self, case: Case) -> MemoryFit:
        """The fullest stage; batch and length as asked for, else the demo's own."""
        stages = stage_memory(case, case.sharding(), CacheKind(fp8=False), overhead_gib=0.0)
        stage = max(stages, key=lambda stage: stage.weights_gib)
        batch = case.demand.max_running or BATCH
        length = min(case.dimensions.max_context, case.demand.context_length or LENGTH)
        room = stage.tokens(case.device.free_gib - _ACTIVATIONS_GIB, page=1)
        runs = len(stages) == 1 and case.split.tensor in self.tensors
        fits = runs and batch * length <= room
        limit = "kvCache" if case.demand.context_length and room > batch else "weights"
        return MemoryFit(
            fits=fits,
            free_gib=case.device.free_gib,
            mem_fraction=0.0,
            weights_gib=stage.weights_gib,
            kv_bytes_per_token=stage.token_bytes,
            # What is allocated; where that is too much, how long each request could be.
            kv_tokens=batch * length if fits else room // batch,
            kv_gib=batch * length * stage.token_bytes / GIB,
            reserve_gib=_ACTIVATIONS_GIB,
            context_length=length,
            graph_max_batch=0,
            chunked_prefill=0,
            max_running_requests=batch,
            terms={**stage.parts, "activations": _ACTIVATIONS_GIB},
            limited_by=None if fits else limit,
            longest_context=length,
            requests_4k=batch if length >= SHORT else 0,
            requests_32k=batch if length >= LONG else 0,
            disk_gib=checkpoint_gib(case.dimensions, case.layout),
        )

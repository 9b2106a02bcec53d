"""Memory of an engine whose division of a device nobody has written down: its weights, and nothing else.

Weights follow from the model's dimensions and the split, whatever the engine; what is left for the cache does not. So
a plan is refused where weights nearly fill a device, and the KV tokens stay unknown.
"""

from __future__ import annotations

from dataclasses import dataclass

from deepseek_operator.plan.footprint import checkpoint_gib
from deepseek_operator.plan.kvcache import CacheKind
from deepseek_operator.plan.memory_case import Case, stage_memory
from deepseek_operator.plan.types import MemoryFit


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsMemory:
    """The weights of a device."""

    refused_share: float
    """Weights above this share of a device leave too little for anything else (an own rule, as for every engine)."""

    def search(self, case: Case) -> MemoryFit:
        """The fullest stage; fractions and sizes are the engine's own defaults."""
        kind = CacheKind(fp8=case.demand.kv_precision == "fp8")
        stages = stage_memory(case, case.sharding(), kind, overhead_gib=0.0)
        worst = max(stages, key=lambda stage: stage.weights_gib)
        fits = worst.weights_gib <= self.refused_share * case.device.memory_gib
        return MemoryFit(
            fits=fits,
            free_gib=case.device.free_gib,
            mem_fraction=0.0,
            weights_gib=worst.weights_gib,
            kv_bytes_per_token=worst.token_bytes,
            kv_tokens=0,
            kv_gib=0.0,
            reserve_gib=0.0,
            context_length=case.longest,
            graph_max_batch=0,
            chunked_prefill=0,
            max_running_requests=case.demand.max_running,
            terms=dict(worst.parts),
            limited_by=None if fits else "weights",
            disk_gib=checkpoint_gib(case.dimensions, case.layout),
            modelled=False,
        )

"""Memory as vLLM divides it.

``gpu_memory_utilization`` u is a share of the whole device. A profiling run measures what weights, the largest batch
and everything outside torch take; the rest of ``u · total`` is the KV cache, in blocks (v1/worker/gpu_worker.py
determine_available_memory). Decode graphs are captured afterwards, outside the share.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from deepseek_operator.catalog.memory_types import VllmMemoryRules
from deepseek_operator.plan.footprint import GIB, checkpoint_gib
from deepseek_operator.plan.kvcache import CacheKind
from deepseek_operator.plan.memory_case import LONG, SHORT, Case, requests_that_fit, stage_memory
from deepseek_operator.plan.types import MemoryFit

_LARGEST_GRAPH: Final = 512
"""config/compilation.py, the largest captured batch."""
_HOST_GIB: Final = 4.7
"""HabanaAI/vllm-fork issue 809: host memory of one worker while DeepSeek-R1 loads."""
_REFUSED_SHARE: Final = 0.88
"""Own rule, as for every engine: weights above this share of a device leave nothing useful."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VllmMemory:
    """The memory behaviour of vLLM."""

    rules: VllmMemoryRules

    def search(self, case: Case) -> MemoryFit:
        """The cache that is left of the fraction; vLLM has no ladder of sizes to choose from."""
        asked = case.demand.kv_precision
        kind = CacheKind(fp8=asked == "fp8", wide_index=case.device.vendor == "ascend")
        sharding = case.sharding(replicas_apart=True)
        # distributed/utils.py get_pp_indices: the last stage, which has the output head, takes no layer more.
        stages = stage_memory(case, sharding, kind, overhead_gib=0.0, spared_stages=1)
        fraction = case.demand.mem_fraction or self.rules.default_fraction
        needs = {
            "activations": self._activations(case) / GIB,
            "communication": self.rules.non_torch_gib[case.device.vendor],
        }
        visible = self.rules.visible_share[case.device.vendor] * case.device.memory_gib
        static = fraction * visible - sum(needs.values())
        page = self.rules.sparse_block_size if case.dimensions.sparse else self.rules.block_size
        tokens, worst = min(
            ((stage.tokens(static, page=page), stage) for stage in stages),
            key=lambda each: (each[0], -each[1].weights_gib),
        )
        heavy = worst.weights_gib > _REFUSED_SHARE * case.device.memory_gib
        fits = tokens >= case.wanted and not heavy
        large = self._large(case)
        running = case.demand.max_running or (self.rules.running if large else self.rules.running_small)
        ranks = case.split.attention_data
        return MemoryFit(
            fits=fits,
            free_gib=case.device.free_gib,
            mem_fraction=fraction,
            weights_gib=worst.weights_gib,
            kv_bytes_per_token=worst.token_bytes,
            kv_tokens=tokens,
            kv_gib=tokens * worst.token_bytes / GIB,
            reserve_gib=case.device.memory_gib - fraction * visible + sum(needs.values()),
            context_length=self._context(case, tokens),
            graph_max_batch=min(_LARGEST_GRAPH, running),
            chunked_prefill=self._batched_tokens(case),
            max_running_requests=case.demand.max_running,
            terms={**worst.parts, **needs},
            limited_by=None if fits else self._blame(case, tokens, heavy=heavy),
            longest_context=min(case.dimensions.max_context, tokens),
            requests_4k=requests_that_fit(tokens, SHORT, running=running, ranks=ranks),
            requests_32k=requests_that_fit(tokens, LONG, running=running, ranks=ranks),
            host_gib=_HOST_GIB,
            disk_gib=checkpoint_gib(case.dimensions, case.layout),
        )

    def _blame(self, case: Case, tokens: int, *, heavy: bool) -> str:
        if heavy:
            return "weights"
        return "memFraction" if tokens == 0 and case.demand.mem_fraction is not None else "kvCache"

    def _context(self, case: Case, tokens: int) -> int:
        """As long as asked for, else as long as surely fits: vLLM ends when its longest request does not."""
        if case.demand.context_length is not None:
            return min(case.longest, tokens)
        return min(case.longest, int(tokens * self.rules.context_share))

    def _large(self, case: Case) -> bool:
        device = case.device
        return device.memory_gib >= self.rules.large_from_gib and (
            device.architecture not in self.rules.small_architectures
        )

    def _batched_tokens(self, case: Case) -> int:
        if case.device.memory_gib >= self.rules.largest_from_gib:
            return self.rules.batched_tokens_largest
        return self.rules.batched_tokens if self._large(case) else self.rules.batched_tokens_small

    def _activations(self, case: Case) -> float:
        """Bytes of the largest batch: for each token its experts' inputs and widths, and a few hidden states."""
        dims, tensor = case.dimensions, case.split.tensor
        states = 4 * dims.hidden
        widest = 2 * dims.dense_intermediate / tensor
        if dims.routed_experts:
            widest = self.rules.experts_per_token * (2 * dims.moe_intermediate / tensor + dims.hidden)
        return self._batched_tokens(case) * (states + widest) * 2

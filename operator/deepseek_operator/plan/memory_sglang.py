"""Memory as SGLang divides it.

With X GiB free after communication is up and W GiB of weights, a memory fraction f leaves ``f·X - W`` for the KV
cache and ``X·(1 - f)`` for everything else (kv_cache_configurator.py, _profile_available_bytes). SGLang's own
default for f is unusable with attention data parallelism, so the fraction, the largest decode graph and the prefill
chunk are chosen here together: the largest of a short ladder with which the cache still holds the context wanted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from deepseek_operator.catalog.memory_types import MemoryRules, MemoryTier, MemoryVersion
from deepseek_operator.plan.footprint import GIB, checkpoint_gib
from deepseek_operator.plan.kvcache import CacheKind
from deepseek_operator.plan.memory_case import (
    LEAST_TOKENS,
    LONG,
    SHORT,
    Case,
    StageMemory,
    requests_that_fit,
    stage_memory,
)
from deepseek_operator.plan.types import MemoryFit

_GOALS: Final = (131_072, 65_536, LEAST_TOKENS)
"""Contexts to try for in turn, after the model's own."""
_GRAPH_BATCHES: Final = (512, 256, 160, 128, 64, 48, 32, 16, 8, 4, 2, 1)
_GOOD_GRAPH_BATCH: Final = 128
"""Below it decode loses more than a smaller prefill chunk costs."""
_SMALLEST_CHUNK: Final = 2048
_LARGEST_FRACTION: Final = 0.98
_AITER_CUT_ABOVE: Final = 8192
"""Context from which SGLang cuts the fraction under AITER (attention_hook.py)."""
_DISPATCHED_TOKENS: Final = 128
_DRAFT_TOKENS: Final = 4
"""engines/sglang.py writes --speculative-num-draft-tokens 4."""
_MTP_RUNNING: Final = 48
"""SGLang's max_running_requests with speculation, unless set (arg_groups/speculative_hook.py)."""
_RUNNING: Final = 2048
"""SGLang's least estimate of concurrent requests (kv_cache_configurator.py, resolve_max_num_reqs)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sizes:
    """One step of the ladder."""

    chunk: int
    batch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SGLangMemory:
    """The memory behaviour of one SGLang release on one vendor's devices."""

    rules: MemoryRules
    tiers: tuple[MemoryTier, ...]
    version: MemoryVersion
    aiter_fraction: float = 1.0

    def search(self, case: Case) -> MemoryFit:
        """The largest sizes with which the cache holds the context that is wished, or as much of it as can be."""
        wish = case.demand.context_length
        first, *others = (wish,) if wish else (case.dimensions.max_context, *_GOALS)
        stages = self._stages(case)
        steps: list[MemoryFit] = []
        for sizes in self._ladder(case):
            step = self._measure(case, stages, sizes)
            if step.fits and step.kv_tokens >= first:
                return step
            steps.append(step)
        for goal in others:
            for step in steps:
                if step.fits and step.kv_tokens >= goal:
                    return step
        return next((step for step in steps if step.fits), steps[-1])

    def _stages(self, case: Case) -> tuple[StageMemory, ...]:
        sharding = case.sharding(shared_expert_copies=self.version.shared_expert_copies)
        return stage_memory(
            case,
            sharding,
            self._cache_kind(case),
            overhead_gib=self.rules.load_overhead_gib,
            draft_cache=self.version.draft_in_budget,
        )

    def _cache_kind(self, case: Case) -> CacheKind:
        architecture = case.device.architecture
        fp8 = case.demand.kv_precision == "fp8"
        if case.demand.kv_precision == "auto" and case.dimensions.sparse:
            fp8 = architecture in self.rules.sparse_fp8_cache
        # On AMD the kernels of sparse attention take the raw layout, too.
        raw = architecture in self.version.sparse_raw_cache or case.device.vendor == "amd"
        return CacheKind(fp8=fp8, raw=raw or not self.version.sparse_scales, wide_index=case.device.vendor == "ascend")

    def _running(self, case: Case) -> int:
        """Requests that one attention rank may hold; SGLang estimates it for each rank, a wish is for all."""
        wish = case.demand.max_running or (_MTP_RUNNING if case.demand.mtp else None)
        running = max(1, wish // case.split.attention_data) if wish else _RUNNING
        return min(running, dispatched_requests(mtp=case.demand.mtp)) if case.demand.deepep else running

    def _aiter(self, case: Case) -> bool:
        """Whether AITER does attention and cuts the fraction."""
        dims = case.dimensions
        if case.device.architecture not in self.rules.triton_fallback_splits or case.longest <= _AITER_CUT_ABOVE:
            return False
        # Sparse attention has a backend of its own; grouped-query attention always is AITER's.
        return not dims.sparse and (not dims.latent or dims.heads // case.split.tensor in self.rules.aiter_heads)

    def _page(self, case: Case) -> int:
        page = self.rules.page_sizes.get(case.device.architecture, 1) if case.dimensions.latent else 1
        return max(page, self.rules.sparse_page_size) if case.dimensions.sparse else page

    def _ladder(self, case: Case) -> Iterator[_Sizes]:
        mib = case.device.memory_gib * 1024
        tier = next((each for each in self.tiers if mib < each.below_mib), self.tiers[-1])
        largest = tier.graph_max_batch_small if case.split.tensor < 4 else tier.graph_max_batch
        largest = min(largest, self._running(case))
        if case.demand.deepep:
            largest = min(largest, dispatched_requests(mtp=case.demand.mtp))
        chunks = [tier.chunked_prefill]
        while chunks[-1] > _SMALLEST_CHUNK:
            chunks.append(chunks[-1] // 2)
        batches = [largest, *(each for each in _GRAPH_BATCHES if each < largest)]
        good = [each for each in batches if each >= min(_GOOD_GRAPH_BATCH, largest)]
        for some in (good, [each for each in batches if each not in good]):
            for chunk in chunks:
                for batch in some:
                    yield _Sizes(chunk=chunk, batch=batch)

    def _measure(self, case: Case, stages: Sequence[StageMemory], sizes: _Sizes) -> MemoryFit:
        free = case.device.free_gib
        needs = self._reserve_terms(case, stages[-1], sizes)
        needed = max(sum(needs.values()), self._floor(case))
        factor = self.aiter_fraction if self._aiter(case) else 1.0
        if case.demand.mem_fraction is None:
            fraction = _down(min(_LARGEST_FRACTION, max(0.0, (free - needed) / free) / factor))
        else:
            fraction = case.demand.mem_fraction
        static = fraction * factor * free + self._outside_budget(case, stages[-1])
        tokens, worst = min(
            ((stage.tokens(static, page=self._page(case)), stage) for stage in stages),
            key=lambda each: (each[0], -each[1].weights_gib),
        )
        weight = worst.weights_gib
        fits = tokens >= case.wanted and not self._too_heavy(case, weight)
        running = self._running(case)
        ranks = case.split.attention_data
        return MemoryFit(
            fits=fits,
            free_gib=free,
            mem_fraction=fraction,
            weights_gib=weight,
            kv_bytes_per_token=worst.token_bytes,
            kv_tokens=tokens,
            kv_gib=tokens * worst.token_bytes / GIB,
            reserve_gib=free * (1 - fraction * factor),
            context_length=min(case.longest, max(tokens, 0)),
            graph_max_batch=sizes.batch,
            chunked_prefill=sizes.chunk,
            max_running_requests=case.demand.max_running,
            terms={**worst.parts, **needs},
            limited_by=None if fits else self._blame(case, tokens, weight, needed),
            longest_context=min(case.dimensions.max_context, tokens),
            requests_4k=requests_that_fit(tokens, SHORT, running=running, ranks=ranks),
            requests_32k=requests_that_fit(tokens, LONG, running=running, ranks=ranks),
            host_gib=self.rules.host_gib_per_device + self.rules.host_shard_gib,
            disk_gib=checkpoint_gib(case.dimensions, case.layout),
        )

    def _outside_budget(self, case: Case, last: StageMemory) -> float:
        """Weights that are loaded after the cache was sized: the draft model of earlier releases."""
        later = case.demand.mtp and not self.version.draft_in_budget
        return last.parts.get("mtp", 0.0) if later else 0.0

    def _too_heavy(self, case: Case, weight: float) -> bool:
        share = self.rules.weights_refused_share
        return case.demand.mem_fraction is None and weight > share * case.device.memory_gib

    def _blame(self, case: Case, tokens: int, weight: float, needed: float) -> str:
        if self._too_heavy(case, weight) or weight + needed >= case.device.free_gib:
            return "weights"
        if case.demand.mem_fraction is not None and tokens == 0:
            return "memFraction"
        return "kvCache"

    def _floor(self, case: Case) -> float:
        large = case.device.memory_gib * 1024 > self.rules.floor_above_mib
        return self.rules.floor_mib / 1024 if large else 0.0

    def _reserve_terms(self, case: Case, last: StageMemory, sizes: _Sizes) -> Mapping[str, float]:
        """What must stay outside the fraction, in GiB: SGLang's own estimate, the request pool, Triton's buffers."""
        rules, split = self.rules, case.split
        activations = rules.base_mib + rules.per_chunk_token_mib * max(sizes.chunk, rules.smallest_chunk)
        graphs = rules.per_graph_batch_mib * sizes.batch + rules.prefill_graph_mib
        if split.attention_data > 1:
            graphs += rules.per_attention_rank_mib * sizes.batch * split.attention_data
            if sizes.batch > rules.large_graph_batch:
                graphs += rules.per_attention_rank_large_mib * sizes.batch * split.attention_data
        terms = {
            "activations": activations / 1024,
            "graphs": graphs / 1024,
            "communication": rules.per_device_mib * split.tensor * split.pipeline / 1024,
            # One 32-bit slot for each token of each request, memory_pool.py ReqToTokenPool.
            "requestPool": (self._running(case) + 1) * (case.longest + 4) * 4 / GIB,
        }
        if case.demand.deepep:
            terms["expertBuffers"] = (rules.deepep_mib + rules.deepep_prefill_graph_mib) / 1024
        if case.demand.mtp:
            terms["draft"] = rules.mtp_mib / 1024 + self._outside_budget(case, last)
        workspace = self._triton_workspace(case, sizes.batch)
        return {**terms, "attentionWorkspace": workspace} if workspace else terms

    def _triton_workspace(self, case: Case, batch: int) -> float:
        """GiB of the decode kernel's partial results and index lists, triton_backend.py init_cuda_graph_state."""
        rules, dims = self.rules, case.dimensions
        if not dims.latent or dims.sparse:
            return 0.0
        architecture = case.device.architecture
        splits = rules.triton_splits.get(architecture)
        if splits is None and dims.heads // case.split.tensor not in rules.aiter_heads:
            splits = rules.triton_fallback_splits.get(architecture)
        if splits is None:
            return 0.0
        heads = dims.heads // (case.split.tensor // case.split.attention_data)
        partial = batch * heads * splits * ((dims.kv_lora_rank or 0) + 1) * 4
        indices = batch * case.longest * 8
        return (partial + indices) / GIB


def dispatched_requests(*, mtp: bool) -> int:
    """Requests of one attention rank that DeepEP's low-latency buffers hold: each sends its draft tokens, too.

    SGLang's SGLANG_DEEPEP_NUM_MAX_DISPATCH_TOKENS_PER_RANK is 128 (environ.py); a larger decode batch fails.
    """
    return _DISPATCHED_TOKENS // (_DRAFT_TOKENS if mtp else 1)


def _down(fraction: float) -> float:
    return math.floor(fraction * 1000) / 1000

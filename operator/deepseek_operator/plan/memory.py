"""Does a model fit: the memory of the fullest device of a group, as SGLang divides it.

With X GiB free after communication is up and W GiB of weights, a memory fraction f leaves ``f·X - W`` for the KV
cache and ``X·(1 - f)`` for everything else (model_runner.py, profiling of available bytes). SGLang's own default
for f is unusable with attention data parallelism, so the fraction, the largest decode graph and the prefill chunk
are chosen here together: the largest of a short ladder with which the cache still holds the context that is wanted.

What "fits" means is fixed in the command line contract: at those sizes the cache holds ``context.maxLength`` tokens
where given, else 32,768.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from deepseek_operator.api.problems import Problem
from deepseek_operator.catalog.types import Dimensions, MemoryRules, MemoryTier
from deepseek_operator.plan import footprint
from deepseek_operator.plan.footprint import GIB, Sharding
from deepseek_operator.plan.rules import violations
from deepseek_operator.plan.types import MemoryFit, Parallelism

LEAST_TOKENS: Final = 32_768
_GOALS: Final = (131_072, 65_536, LEAST_TOKENS)
"""Contexts to try for in turn, after the model's own."""
_GRAPH_BATCHES: Final = (512, 256, 160, 128, 64, 48, 32, 16, 8, 4, 2, 1)
_GOOD_GRAPH_BATCH: Final = 128
"""Below it decode loses more than a smaller prefill chunk costs."""
_SMALLEST_CHUNK: Final = 2048
_LARGEST_FRACTION: Final = 0.98
_AITER_CUT_ABOVE: Final = 8192
"""Context from which SGLang cuts the fraction under AITER (attention_hook.py)."""
_MTP_RUNNING: Final = 48
"""SGLang's max_running_requests with speculation, unless set (arg_groups/speculative_hook.py)."""
_RUNNING: Final = 2048
"""SGLang's least estimate of concurrent requests (kv_cache_configurator.py, resolve_max_num_reqs)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One accelerator of a group."""

    vendor: str
    architecture: str
    memory_gib: float
    """Total; where only the free memory is known, that."""
    free_gib: float
    """After the engine's communication is up, before weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What a user wants of the memory; None leaves it to the operator."""

    context_length: int | None = None
    max_running: int | None = None
    kv_precision: str = "auto"
    mtp: bool = False
    mem_fraction: float | None = None
    redundant_experts: int = 0
    moe_dense_tensor: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineMemory:
    """The memory behaviour of one engine release."""

    rules: MemoryRules
    tiers: tuple[MemoryTier, ...]
    aiter_fraction: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """Everything that is fixed while the ladder is searched."""

    dimensions: Dimensions
    precision: str
    split: Parallelism
    device: Device
    demand: Demand
    engine: EngineMemory

    @property
    def sharding(self) -> Sharding:
        """The split with the demand's finer choices."""
        return Sharding(
            split=self.split,
            redundant_experts=self.demand.redundant_experts,
            moe_dense_tensor=self.demand.moe_dense_tensor,
        )

    @property
    def running(self) -> int:
        """Requests that one attention rank may hold; SGLang estimates it for each rank, a wish is for all."""
        wish = self.demand.max_running or (_MTP_RUNNING if self.demand.mtp else None)
        return max(1, wish // self.split.attention_data) if wish else _RUNNING

    @property
    def longest(self) -> int:
        """The longest context that could be rendered."""
        return min(self.dimensions.max_context, self.demand.context_length or self.dimensions.max_context)

    @property
    def aiter(self) -> bool:
        """Whether AITER does attention and cuts the fraction."""
        heads = self.dimensions.heads // self.split.tensor
        rules = self.engine.rules
        fallback = self.device.architecture in rules.triton_fallback_splits
        return fallback and heads in rules.aiter_heads and self.longest > _AITER_CUT_ABOVE


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sizes:
    """One step of the ladder."""

    chunk: int
    batch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _StageMemory:
    """A device of one pipeline stage; ``parts`` are GiB of weights and sum to ``weights_gib``."""

    token_bytes: int
    parts: Mapping[str, float]
    weights_gib: float

    def tokens(self, static: float, *, page: int) -> int:
        """Tokens that ``static`` GiB for weights and cache hold, in whole pages."""
        room = max(0.0, static - self.weights_gib)
        return math.floor(room * GIB / self.token_bytes) // page * page


def device_for(*, vendor: str, architecture: str, memory_gib: float, nodes: int, rules: MemoryRules) -> Device:
    """A device of a product, with what communication leaves of it on one node or over several."""
    taken = rules.communication_gib if nodes == 1 else rules.communication_nodes_gib
    return Device(
        vendor=vendor,
        architecture=architecture,
        memory_gib=memory_gib,
        free_gib=memory_gib - taken[vendor],
    )


def fit(
    *,
    dimensions: Dimensions,
    precision: str,
    split: Parallelism,
    device: Device,
    demand: Demand,
    engine: EngineMemory,
) -> MemoryFit:
    """Memory of the fullest device of a group; sizes in GiB.

    ``split`` must obey the engine's rules (``rules.violations``). When the answer is no, ``limited_by`` names the
    term to blame and ``problems`` what would fit.
    """
    case = _Case(
        dimensions=dimensions,
        precision=precision,
        split=split,
        device=device,
        demand=demand,
        engine=engine,
    )
    answer = _search(case)
    if answer.fits:
        return answer
    return replace(answer, problems=(_problem(case, answer),))


def _search(case: _Case) -> MemoryFit:
    wish = case.demand.context_length
    first, *others = (wish,) if wish else (case.dimensions.max_context, *_GOALS)
    stages = _stages(case)
    steps: list[MemoryFit] = []
    for sizes in _ladder(case):
        step = _measure(case, stages, sizes)
        if step.fits and step.kv_tokens >= first:
            return step
        steps.append(step)
    for goal in others:
        for step in steps:
            if step.fits and step.kv_tokens >= goal:
                return step
    return next((step for step in steps if step.fits), steps[-1])


def _ladder(case: _Case) -> Iterator[_Sizes]:
    mib = case.device.memory_gib * 1024
    tiers = case.engine.tiers
    tier = next((each for each in tiers if mib < each.below_mib), tiers[-1])
    largest = tier.graph_max_batch_small if case.split.tensor < 4 else tier.graph_max_batch
    largest = min(largest, case.running)
    chunks = [tier.chunked_prefill]
    while chunks[-1] > _SMALLEST_CHUNK:
        chunks.append(chunks[-1] // 2)
    batches = [largest, *(each for each in _GRAPH_BATCHES if each < largest)]
    good = [each for each in batches if each >= min(_GOOD_GRAPH_BATCH, largest)]
    for some in (good, [each for each in batches if each not in good]):
        for chunk in chunks:
            for batch in some:
                yield _Sizes(chunk=chunk, batch=batch)


def _measure(case: _Case, stages: Sequence[_StageMemory], sizes: _Sizes) -> MemoryFit:
    free = case.device.free_gib
    needs = _reserve_terms(case, sizes)
    needed = max(sum(needs.values()), _floor(case))
    factor = case.engine.aiter_fraction if case.aiter else 1.0
    if case.demand.mem_fraction is None:
        fraction = _down(min(_LARGEST_FRACTION, max(0.0, (free - needed) / free) / factor))
    else:
        fraction = case.demand.mem_fraction
    static = fraction * factor * free
    page = case.engine.rules.page_sizes.get(case.device.architecture, 1)
    tokens, worst = min(
        ((stage.tokens(static, page=page), stage) for stage in stages),
        key=lambda each: (each[0], -each[1].weights_gib),
    )
    weight = worst.weights_gib
    return MemoryFit(
        fits=_fits(case, tokens, weight),
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
        limited_by=None if _fits(case, tokens, weight) else _blame(case, tokens, weight, needed),
    )


def _stages(case: _Case) -> tuple[_StageMemory, ...]:
    """The devices of each pipeline stage."""
    mtp = case.demand.mtp
    found = []
    for stage in footprint.stages(case.dimensions, case.split.pipeline):
        parts = footprint.weights(case.dimensions, stage, case.sharding, precision=case.precision, mtp=mtp)
        token_bytes = footprint.kv_bytes_per_token(
            case.dimensions,
            layers=stage.layers,
            kv_precision=case.demand.kv_precision,
            mtp=mtp and stage.last,
        )
        weights = sum(parts.values())
        found.append(_StageMemory(token_bytes=token_bytes, parts=parts, weights_gib=weights))
    return tuple(found)


def _fits(case: _Case, tokens: int, weight: float) -> bool:
    wanted = case.demand.context_length or LEAST_TOKENS
    return tokens >= wanted and not _too_heavy(case, weight)


def _too_heavy(case: _Case, weight: float) -> bool:
    share = case.engine.rules.weights_refused_share
    return case.demand.mem_fraction is None and weight > share * case.device.memory_gib


def _blame(case: _Case, tokens: int, weight: float, needed: float) -> str:
    if _too_heavy(case, weight) or weight + needed >= case.device.free_gib:
        return "weights"
    if case.demand.mem_fraction is not None and weight + needed < case.device.free_gib and tokens == 0:
        return "memFraction"
    return "kvCache"


def _floor(case: _Case) -> float:
    rules = case.engine.rules
    large = case.device.memory_gib * 1024 > rules.floor_above_mib
    return rules.floor_mib / 1024 if large else 0.0


def _reserve_terms(case: _Case, sizes: _Sizes) -> Mapping[str, float]:
    """What must stay outside the fraction, in GiB: SGLang's own estimate, the request pool, Triton's buffers."""
    rules, split = case.engine.rules, case.split
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
        "requestPool": (case.running + 1) * (case.longest + 4) * 4 / GIB,
    }
    if case.demand.mtp:
        terms["draft"] = rules.mtp_mib / 1024
    workspace = _triton_workspace(case, sizes.batch)
    return {**terms, "attentionWorkspace": workspace} if workspace else terms


def _triton_workspace(case: _Case, batch: int) -> float:
    """GiB of the decode kernel's partial results and index lists, triton_backend.py init_cuda_graph_state."""
    rules, dims = case.engine.rules, case.dimensions
    architecture = case.device.architecture
    splits = rules.triton_splits.get(architecture)
    if splits is None and dims.heads // case.split.tensor not in rules.aiter_heads:
        splits = rules.triton_fallback_splits.get(architecture)
    if splits is None:
        return 0.0
    heads = dims.heads // case.sharding.attention_tensor
    partial = batch * heads * splits * (dims.kv_lora_rank + 1) * 4
    indices = batch * case.longest * 8
    return (partial + indices) / GIB


def _problem(case: _Case, answer: MemoryFit) -> Problem:
    free = case.device.free_gib
    if answer.limited_by == "memFraction":
        needed = math.ceil(answer.weights_gib / free * 1000) / 1000
        return Problem(
            field="memFraction",
            reason="FractionTooSmall",
            message=f"{answer.mem_fraction:g} of {free:.1f} GiB does not hold {answer.weights_gib:.1f} GiB of "
            f"weights; use more than {needed:g}, or leave it out",
        )
    remedy = _remedy(case)
    if answer.limited_by == "weights":
        return Problem(
            field="spec.parallelism",
            reason="WeightsTooLarge",
            message=f"{answer.weights_gib:.1f} GiB of weights a device leave too little of its "
            f"{case.device.memory_gib:.1f} GiB; {remedy}",
        )
    wish = case.demand.context_length
    if wish:
        shorter = f"set spec.context.maxLength to {answer.kv_tokens} or less, or " if answer.kv_tokens else ""
        return Problem(
            field="spec.context.maxLength",
            reason="ContextTooLong",
            message=f"the KV cache holds {answer.kv_tokens:,} tokens, not {wish:,}; {shorter}{remedy}",
        )
    return Problem(
        field="spec.parallelism",
        reason="CacheTooSmall",
        message=f"the KV cache holds {answer.kv_tokens:,} tokens, fewer than {LEAST_TOKENS:,}; {remedy}",
    )


def _remedy(case: _Case) -> str:
    """The smallest larger split that fits the same devices, in words."""
    for split in _larger(case):
        answer = _search(replace(case, split=split, demand=replace(case.demand, mem_fraction=None)))
        if answer.fits:
            stages = f" and pipeline {split.pipeline}" if split.pipeline > 1 else ""
            return f"tensor {split.tensor}{stages} on {split.tensor * split.pipeline} such devices would fit"
    return "use devices with more memory"


def _larger(case: _Case) -> Iterator[Parallelism]:
    world = case.split.tensor * case.split.pipeline
    for factor in (2, 4, 8, 16):
        for stages in (1, 2, 4, 8):
            tensor, left = divmod(world * factor, stages)
            split = replace(case.split, tensor=tensor, pipeline=stages)
            if left == 0 and not violations(
                split, case.dimensions, precision=case.precision, nodes=1, mtp=case.demand.mtp
            ):
                yield split
                break


def _down(fraction: float) -> float:
    return math.floor(fraction * 1000) / 1000

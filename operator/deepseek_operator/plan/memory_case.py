"""What every engine's memory model is asked, and what they share: stages, verdicts, requests that fit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from deepseek_operator.catalog.types import Dimensions, WeightLayout
from deepseek_operator.plan import footprint
from deepseek_operator.plan.footprint import GIB, Sharding
from deepseek_operator.plan.kvcache import CacheKind, bytes_per_token
from deepseek_operator.plan.types import MemoryFit, Parallelism

LEAST_TOKENS: Final = 32_768
"""What "fits" means where no context is asked for (the command line contract)."""
SHORT, LONG = 4096, 32_768
"""Contexts for which concurrent requests are told."""


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
    deepep: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One question: does this model in this layout fit such devices with this split."""

    dimensions: Dimensions
    layout: WeightLayout
    split: Parallelism
    device: Device
    demand: Demand

    @property
    def longest(self) -> int:
        """The longest context that could be rendered."""
        return min(self.dimensions.max_context, self.demand.context_length or self.dimensions.max_context)

    @property
    def wanted(self) -> int:
        """Tokens that the cache must hold."""
        return self.demand.context_length or min(LEAST_TOKENS, self.dimensions.max_context)

    def sharding(self, *, shared_expert_copies: bool = False, replicas_apart: bool = False) -> Sharding:
        """The split with the demand's finer choices and the engine's ways (``footprint.Sharding``)."""
        return Sharding(
            split=self.split,
            redundant_experts=self.demand.redundant_experts,
            moe_dense_tensor=1 if self.demand.deepep else self.demand.moe_dense_tensor,
            deepep=self.demand.deepep,
            shared_expert_copies=shared_expert_copies,
            amd=self.device.vendor == "amd",
            replicas_apart=replicas_apart,
        )


class MemoryModel(Protocol):
    """One engine's use of a device: what its fraction means, its defaults, its reserve."""

    def __hash__(self) -> int:
        """Answers are kept by model."""

    def search(self, case: Case) -> MemoryFit:
        """The best sizes for a case, without problems; ``fits`` and ``limited_by`` say how it went."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageMemory:
    """A device of one pipeline stage; ``parts`` are GiB of weights and sum to ``weights_gib``."""

    token_bytes: int
    parts: Mapping[str, float]
    weights_gib: float

    def tokens(self, static: float, *, page: int) -> int:
        """Tokens that ``static`` GiB for weights and cache hold, in whole pages."""
        room = max(0.0, static - self.weights_gib)
        return math.floor(room * GIB / self.token_bytes) // page * page


def stage_memory(
    case: Case,
    sharding: Sharding,
    kind: CacheKind,
    *,
    overhead_gib: float,
    draft_cache: bool = True,
    spared_stages: int = 0,
) -> tuple[StageMemory, ...]:
    """The devices of each pipeline stage.

    ``overhead_gib`` is what loading takes beside the weights; ``draft_cache``: a token's bytes include the draft
    layer's; ``spared_stages``: see ``footprint.stages``.
    """
    mtp = case.demand.mtp
    found = []
    for stage in footprint.stages(case.dimensions, case.split.pipeline, spared=spared_stages):
        parts = dict(footprint.weights(case.dimensions, stage, sharding, layout=case.layout, mtp=mtp))
        if overhead_gib:
            parts["loading"] = overhead_gib
        token_bytes = bytes_per_token(
            case.dimensions,
            layers=stage.layers,
            kind=kind,
            attention_ranks=sharding.attention_tensor,
            mtp=mtp and draft_cache and stage.last,
        )
        found.append(StageMemory(token_bytes=token_bytes, parts=parts, weights_gib=sum(parts.values())))
    return tuple(found)


def requests_that_fit(tokens: int, context: int, *, running: int, ranks: int) -> int:
    """Requests of ``context`` tokens that a group holds at once; ``running`` is the limit of one attention rank."""
    return min(running, tokens // context) * ranks

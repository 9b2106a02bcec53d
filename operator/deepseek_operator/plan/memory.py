"""Does a model fit: the memory of the fullest device of a group, by the engine's own model.

Each engine divides a device in its own way, and what its memory fraction means differs; ``memory_sglang`` and
its siblings are implementations of one small protocol (``memory_case.MemoryModel``), and an engine without one gets its
weights alone (``memory_weights``), never another engine's figures. What "fits" means is fixed in the command
line contract: at the sizes the operator would set, the cache holds ``context.maxLength`` tokens where given, else
32,768.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

from deepseek_operator.api.problems import Problem
from deepseek_operator.catalog.memory_types import MemoryRules, MemoryVersion
from deepseek_operator.catalog.types import Catalog, Dimensions, WeightLayout
from deepseek_operator.plan.memory_case import LEAST_TOKENS, Case, Demand, Device, MemoryModel
from deepseek_operator.plan.memory_infer import InferMemory
from deepseek_operator.plan.memory_sglang import SGLangMemory
from deepseek_operator.plan.memory_vllm import VllmMemory
from deepseek_operator.plan.memory_weights import WeightsMemory
from deepseek_operator.plan.rules import block_of, violations
from deepseek_operator.plan.types import MemoryFit, Parallelism

__all__ = ["Demand", "Device", "MemoryModel", "device_for", "fit", "memory_model"]


def memory_model(
    engine: str, catalog: Catalog, *, vendor: str, version: str | None = None, aiter_fraction: float = 1.0
) -> MemoryModel:
    """The memory model of an engine release; of an engine that has none, that of its weights.

    Args:
        engine: sglang, vllm, lmdeploy, tensorrt-llm or deepseek-infer.
        catalog: whose rules count.
        vendor: of the devices.
        version: of the engine; None or newer than all known: as the newest.
        aiter_fraction: what the release multiplies even an explicit fraction by under AITER attention.
    """
    if engine == "sglang":
        family = vendor if vendor in catalog.memory_tiers else "default"
        return SGLangMemory(
            rules=catalog.memory_rules,
            tiers=catalog.memory_tiers[family],
            version=_of_version(catalog.memory_versions, version),
            aiter_fraction=aiter_fraction,
        )
    if engine == "vllm":
        return VllmMemory(rules=catalog.vllm_memory)
    if engine == "deepseek-infer":
        return InferMemory(tensors=catalog.engines[engine].splits.tensors)
    return WeightsMemory(refused_share=catalog.memory_rules.weights_refused_share)


def device_for(
    *, vendor: str, architecture: str, memory_gib: float, nodes: int, rules: MemoryRules, ranks: int = 2
) -> Device:
    """A device of a product, with what communication leaves of it: alone, on one node or over several."""
    taken = rules.communication_gib if nodes == 1 else rules.communication_nodes_gib
    return Device(
        vendor=vendor,
        architecture=architecture,
        memory_gib=memory_gib,
        free_gib=memory_gib - (rules.alone_gib if ranks == 1 else taken[vendor]),
    )


@lru_cache(maxsize=65_536)
def fit(
    *,
    dimensions: Dimensions,
    layout: WeightLayout,
    split: Parallelism,
    device: Device,
    demand: Demand,
    engine: MemoryModel,
) -> MemoryFit:
    """Memory of the fullest device of a group; sizes in GiB.

    ``split`` must obey the engine's rules (``rules.violations``). When the answer is no, ``limited_by`` names the
    term to blame and ``problems`` what would fit. Answers are kept: a thousand deployments ask a few questions.
    """
    case = Case(dimensions=dimensions, layout=layout, split=split, device=device, demand=demand)
    answer = engine.search(case)
    if answer.fits:
        return answer
    return replace(answer, problems=(_problem(case, engine, answer),))


def _of_version(versions: tuple[MemoryVersion, ...], version: str | None) -> MemoryVersion:
    """The last behaviour that is not newer; the oldest where all are."""
    if version is None:
        return versions[-1]
    known = [each for each in versions if _numbers(each.since) <= _numbers(version)]
    return known[-1] if known else versions[0]


def _numbers(version: str) -> tuple[int, ...]:
    """0.4.6.post2 as (0, 4, 6)."""
    numbers: list[int] = []
    for part in version.split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)


def _problem(case: Case, engine: MemoryModel, answer: MemoryFit) -> Problem:
    free = case.device.free_gib
    if answer.limited_by == "memFraction":
        needed = math.ceil(answer.weights_gib / free * 1000) / 1000
        return Problem(
            field="memFraction",
            reason="FractionTooSmall",
            message=f"{answer.mem_fraction:g} of {free:.1f} GiB does not hold {answer.weights_gib:.1f} GiB of "
            f"weights; use more than {needed:g}, or leave it out",
        )
    remedy = _remedy(case, engine)
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


def _remedy(case: Case, engine: MemoryModel) -> str:
    """The smallest larger split that fits the same devices, in words."""
    for split in _larger(case):
        answer = engine.search(replace(case, split=split, demand=replace(case.demand, mem_fraction=None)))
        if answer.fits:
            stages = f" and pipeline {split.pipeline}" if split.pipeline > 1 else ""
            return f"tensor {split.tensor}{stages} on {split.tensor * split.pipeline} such devices would fit"
    return "use devices with more memory"


def _larger(case: Case) -> Iterator[Parallelism]:
    world = case.split.tensor * case.split.pipeline
    for factor in (2, 4, 8, 16):
        for stages in (1, 2, 4, 8):
            tensor, left = divmod(world * factor, stages)
            split = replace(case.split, tensor=tensor, pipeline=stages)
            if left == 0 and not violations(
                split,
                case.dimensions,
                block=block_of(case.layout, case.dimensions),
                nodes=1,
                mtp=case.demand.mtp,
            ):
                yield split
                break

"""The engine's own rules for splits, so that a plan never crashes a group on every node at once.

Sources: SGLang 0.5.23 arg_groups/validation_hook.py (topology), arg_groups/parallel_hook.py (attention data),
layers/quantization/fp8.py (blocks), models/qwen2.py (key-value heads), entrypoints/engine.py (ranks on nodes),
arg_groups/speculative_hook.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from deepseek_operator.api.problems import Problem, Suggestion
from deepseek_operator.catalog.engine_types import EngineFacts
from deepseek_operator.catalog.types import Dimensions, WeightLayout
from deepseek_operator.plan.types import ExpertSpread, Parallelism

ANY_ENGINE: Final = EngineFacts(name="", title="the engine", source="the model's own dimensions")
"""An engine that forbids nothing beyond what the model's dimensions do."""
EVEN: Final = ExpertSpread()
"""Experts as the split says."""


def violations(
    split: Parallelism,
    dimensions: Dimensions,
    *,
    block: int | None,
    nodes: int,
    mtp: bool,
    engine: EngineFacts = ANY_ENGINE,
    spread: ExpertSpread = EVEN,
) -> tuple[Problem, ...]:
    """Every rule that a split breaks on ``nodes`` nodes: the model's, then those that the engine adds.

    ``block`` is the edge of the weights' scale blocks (``block_of``), None where any slice will do. With DeepEP every
    expert, the shared one and the dense layers are whole, so that no block is cut.
    """
    return (
        *_violations(split, dimensions, block=None if spread.deepep else block, nodes=nodes, mtp=mtp, engine=engine),
        *_of_engine(split, engine),
        *_of_spread(split, dimensions, spread),
    )


def block_of(layout: WeightLayout, dimensions: Dimensions) -> int | None:
    """The edge of the blocks that a rank's slice must hold whole; FP8's is the model's own."""
    return dimensions.weight_block if layout.precision == "fp8" else layout.block


@lru_cache(maxsize=4096)
def legal_tensors(dimensions: Dimensions, *, block: int | None, most: int) -> tuple[int, ...]:
    """Tensor-parallel sizes up to ``most`` that the model allows by itself, ascending."""
    return tuple(
        tensor
        for tensor in range(1, most + 1)
        if not violations(Parallelism(tensor=tensor), dimensions, block=block, nodes=1, mtp=False)
    )


def _violations(
    split: Parallelism, dims: Dimensions, *, block: int | None, nodes: int, mtp: bool, engine: EngineFacts
) -> Iterator[Problem]:
    yield from _attention(split, dims)
    yield from _experts(split, dims)
    if block is not None:
        yield from _blocks(split, dims, block)
    yield from _ranks(split, dims, nodes)
    if mtp and not dims.mtp_layers:
        yield Problem(
            field="spec.engine.features.mtp",
            reason="MTPWithoutLayer",
            message="this model has no multi-token-prediction layer; turn mtp off",
        )
    if mtp and not engine.splits.mtp:
        yield Problem(
            field="spec.engine.features.mtp",
            reason="MTPNotInEngine",
            message=f"{engine.title} does not draft with the model's multi-token-prediction layer; turn mtp off",
        )
    elif mtp and split.pipeline > 1 and not engine.splits.mtp_pipeline:
        yield Problem(
            field="spec.engine.features.mtp",
            reason="MTPWithPipeline",
            message=f"MTP does not work with pipeline {split.pipeline}; turn mtp off, or use pipeline 1",
        )


def _of_spread(split: Parallelism, dims: Dimensions, spread: ExpertSpread) -> Iterator[Problem]:
    """SGLang 0.5.23 arg_groups/overrides.py (_a2a_ep_size: DeepEP makes EP = TP) and handle_eplb_and_dispatch."""
    if spread.redundant and not spread.deepep:
        yield Problem(
            field="spec.engine.features.redundantExperts",
            reason="RedundantWithoutDeepEP",
            message="copies of experts are placed by the balancer of expert parallelism; set "
            "spec.engine.features.deepep to true, or redundantExperts to 0",
            suggestions=(Suggestion(changes=(("spec.engine.features.redundantExperts", 0),)),),
        )
    if not spread.deepep or not dims.routed_experts:
        return
    if split.expert != split.tensor:
        yield Problem(
            field="spec.parallelism.expert",
            reason="DeepEPNeedsAllRanks",
            message=f"DeepEP spreads experts over all {split.tensor} ranks, not {split.expert}; leave "
            "spec.parallelism.expert out",
            suggestions=(Suggestion(changes=(("spec.parallelism.expert", None),)),),
        )
    elif (dims.routed_experts + spread.redundant) % split.expert:
        fewer = spread.redundant - (dims.routed_experts + spread.redundant) % split.expert
        good = [each for each in (fewer, fewer + split.expert) if each >= 0]
        yield Problem(
            field="spec.engine.features.redundantExperts",
            reason="RedundantNotDivisible",
            message=f"{dims.routed_experts} experts and {spread.redundant} copies do not spread evenly over "
            f"{split.expert} ranks; use {_listed(good)}",
            suggestions=tuple(Suggestion(changes=(("spec.engine.features.redundantExperts", each),)) for each in good),
        )


def _of_engine(split: Parallelism, engine: EngineFacts) -> Iterator[Problem]:
    rules, title = engine.splits, engine.title
    if split.pipeline > 1 and not rules.pipeline:
        yield Problem(
            field="spec.parallelism.pipeline",
            reason="PipelineNotInEngine",
            message=f"{title} has no pipeline stages for these models; use pipeline 1",
        )
    if split.attention_data > 1 and not rules.attention_data:
        yield Problem(
            field="spec.parallelism.attentionData",
            reason="AttentionDataNotInEngine",
            message=f"{title} does not split attention by requests; leave spec.parallelism.attentionData out",
        )
    if rules.expert == "none" and split.expert > 1:
        yield Problem(
            field="spec.parallelism.expert",
            reason="ExpertNotInEngine",
            message=f"{title} spreads experts as the tensors are split; leave spec.parallelism.expert out",
        )
    elif rules.expert == "tensor" and split.expert not in {1, split.tensor}:
        yield Problem(
            field="spec.parallelism.expert",
            reason="ExpertNotTensor",
            message=f"{title} spreads experts over all ranks or over none; use expert 1 or {split.tensor}",
        )
    if rules.tensors and split.tensor not in rules.tensors:
        yield Problem(
            field="spec.parallelism.tensor",
            reason="TensorNotInEngine",
            message=f"{title} runs tensor {_listed(list(rules.tensors))} alone, not {split.tensor}",
        )


def _attention(split: Parallelism, dims: Dimensions) -> Iterator[Problem]:
    if split.tensor % split.attention_data:
        yield Problem(
            field="spec.parallelism.attentionData",
            reason="AttentionDataNotDivisor",
            message=f"attentionData {split.attention_data} does not divide tensor {split.tensor}; "
            f"use one of {_listed(_divisors(split.tensor))}",
        )
        return
    ranks = split.tensor // split.attention_data
    if dims.heads % ranks:
        legal = [each for each in _ranks_of_heads(dims) if each <= 2 * split.tensor]
        yield Problem(
            field="spec.parallelism.tensor",
            reason="HeadsNotDivisible",
            message=f"the {dims.heads} attention heads cannot be split over {ranks} ranks; use tensor {_listed(legal)}",
        )
    elif dims.kv_heads is not None and dims.kv_heads % ranks and ranks % dims.kv_heads:
        legal = _ranks_of_heads(dims)
        yield Problem(
            field="spec.parallelism.tensor",
            reason="KVHeadsNotDivisible",
            message=f"the {dims.kv_heads} key-value heads can be neither split over nor repeated on {ranks} ranks; "
            f"use tensor {_listed(legal)}",
        )


def _ranks_of_heads(dims: Dimensions) -> list[int]:
    """Numbers of ranks over which attention can be split."""
    whole = _divisors(dims.heads)
    if dims.kv_heads is None:
        return whole
    return [each for each in whole if not dims.kv_heads % each or not each % dims.kv_heads]


def _experts(split: Parallelism, dims: Dimensions) -> Iterator[Problem]:
    if not dims.routed_experts:
        yield from _no_experts(split)
        return
    if split.tensor % split.expert or dims.routed_experts % split.expert:
        legal = [each for each in _divisors(split.tensor) if dims.routed_experts % each == 0]
        yield Problem(
            field="spec.parallelism.expert",
            reason="ExpertNotDivisor",
            message=f"expert {split.expert} must divide tensor {split.tensor} and the {dims.routed_experts} "
            f"experts; use one of {_listed(legal)}",
        )


def _no_experts(split: Parallelism) -> Iterator[Problem]:
    """A dense model: DeepSeek's own ways to spread attention and experts are not for it."""
    if split.expert > 1:
        yield Problem(
            field="spec.parallelism.expert",
            reason="NoExperts",
            message="this model has no experts; leave spec.parallelism.expert out",
        )
    if split.attention_data > 1:
        yield Problem(
            field="spec.parallelism.attentionData",
            reason="NoAttentionData",
            message="attention data parallelism is for models with latent attention; leave "
            "spec.parallelism.attentionData out, and raise spec.replicas for more throughput",
        )


def _blocks(split: Parallelism, dims: Dimensions, block: int) -> Iterator[Problem]:
    if split.tensor % split.expert:
        return
    widths = {"a dense layer": (dims.dense_intermediate, split.tensor)} if dims.dense_layers else {}
    if dims.routed_experts:
        widths["an expert"] = (dims.moe_intermediate, split.tensor // split.expert)
    if dims.shared_experts:
        widths["the shared expert"] = (dims.moe_intermediate * dims.shared_experts, split.tensor)
    for part, (width, ranks) in widths.items():
        if width % (ranks * block):
            legal = [
                each
                for each in _divisors(dims.heads)
                if all(whole % (each * block) == 0 for whole, _ in widths.values())
            ]
            tensors = f"use tensor {_listed(legal)} with more pipeline stages, or " if legal else "use "
            yield Problem(
                field="spec.parallelism.tensor",
                reason="BlocksNotDivisible",
                message=f"the weights have scales for blocks of {block}, and {part} of width {width} over {ranks} "
                f"ranks leaves {width / ranks:g}; {tensors}precision bf16",
            )
            return


def _ranks(split: Parallelism, dims: Dimensions, nodes: int) -> Iterator[Problem]:
    if split.pipeline > dims.layers:
        yield Problem(
            field="spec.parallelism.pipeline",
            reason="PipelineTooDeep",
            message=f"the model has {dims.layers} layers, fewer than {split.pipeline} stages; use at most that many",
        )
    world = split.tensor * split.pipeline
    if world % nodes:
        yield Problem(
            field="spec.parallelism.nodes",
            reason="NodesNotDivisor",
            message=f"{world} ranks do not spread evenly over {nodes} nodes; use {_listed(_divisors(world))} nodes",
        )
    elif split.pipeline % nodes and nodes % split.pipeline:
        legal = [each for each in _divisors(world) if each % nodes == 0 or nodes % each == 0]
        yield Problem(
            field="spec.parallelism.pipeline",
            reason="StagesAcrossNodes",
            message=f"{split.pipeline} stages do not map onto {nodes} nodes: a node holds whole stages, or a stage "
            f"whole nodes; use pipeline {_listed(legal)}",
        )


def _divisors(number: int) -> list[int]:
    return [each for each in range(1, number + 1) if number % each == 0]


def _listed(numbers: list[int]) -> str:
    if not numbers:
        return "none, whatever the number"
    if len(numbers) == 1:
        return str(numbers[0])
    return f"{', '.join(map(str, numbers[:-1]))} or {numbers[-1]}"

"""Placements in words: why one was chosen, why another lost, and what to warn of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from deepseek_operator.plan import occupancy
from deepseek_operator.plan.assessment import Option
from deepseek_operator.plan.fabric import HOW_TO_CARRY, unseen_needs
from deepseek_operator.plan.footprint import GIB
from deepseek_operator.plan.grounds import Question
from deepseek_operator.plan.requests import requests
from deepseek_operator.plan.suitability import told
from deepseek_operator.plan.support import row_of
from deepseek_operator.plan.types import Candidate, Inventory, MemoryFit

_VISIBLE: Final = 0.001
"""The smallest step of a memory fraction."""
_SHOWN: Final = 3
"""Nodes that a warning names."""


def accepted(option: Option, best: Option) -> Candidate:
    """One line for a placement that works."""
    layout, fit = option.layout, option.memory
    reason = (
        f"{option.precision}, tensor {layout.split.tensor}, pipeline {layout.split.pipeline}, "
        f"{fit.weights_gib:.1f} GiB of weights{_cache(fit)} a device"
    )
    if layout.split.pipeline > 1 and option.fabric.carrier == "tcp":
        reason += ", pipeline over nodes because nothing is seen to carry tensor parallelism"
    if not option.free and option.hardware.nodes:
        reason += ", busy now"
    if option is not best:
        reason += f"; {_why_not(option, best)}"
    return Candidate(
        product=option.hardware.product,
        nodes_per_group=layout.nodes,
        verdict="chosen" if option is best else "feasible",
        reason=reason,
    )


def _cache(fit: MemoryFit) -> str:
    return f" and {fit.kv_tokens:,} tokens of KV cache" if fit.modelled else ""


def _why_not(option: Option, best: Option) -> str:
    """The first thing in which the choice is better, in the order in which placements are ranked."""
    if best.free and not option.free:
        return "the choice is free now"
    if option.tight and not best.tight:
        return "the choice is not tight"
    if best.startable > option.startable:
        return f"the choice can start {best.startable} groups now, this one {option.startable}"
    if option.layout.nodes > best.layout.nodes:
        return f"the choice takes {best.layout.nodes} node{'s' if best.layout.nodes > 1 else ''}"
    if best.native and not option.native:
        return f"the choice runs {best.precision} natively"
    if option.layout.split.pipeline > best.layout.split.pipeline:
        return "the choice has fewer pipeline stages"
    if option.small and option.layout.devices > best.layout.devices:
        return f"the choice takes {best.layout.devices} device{'s' if best.layout.devices > 1 else ''} of a node"
    if option.memory.kv_tokens < best.memory.kv_tokens:
        return "the choice holds more tokens"
    return "equal to the choice, which comes first by name"


def warnings_of(question: Question, best: Option, inventory: Inventory) -> Iterator[str]:
    """What works but could be better, or was assumed."""
    yield from _of_nodes(question, best)
    yield from _of_engine(question, best)
    yield from _of_memory(question, best)
    yield from _of_weights(question, best)
    yield from told(inventory.skipped)


def _of_nodes(question: Question, best: Option) -> Iterator[str]:
    hardware = best.hardware
    if hardware.nodes:
        yield from _waiting(question, best)
        yield from _of_host(best)
    else:
        yield (
            f"NodesExpected: no node of {hardware.product} exists yet; planned with the catalogue's figures "
            f"({hardware.accelerators_per_node} devices of {hardware.memory_gib:g} GiB a node)"
        )


def _waiting(question: Question, best: Option) -> Iterator[str]:
    """What keeps groups of a plan that fits from starting now."""
    hardware, layout, wanted = best.hardware, best.layout, question.spec.replicas
    if best.startable >= wanted:
        return
    there = len(hardware.nodes)
    busy = occupancy.busy_nodes(hardware, question.used, devices=layout.devices)
    if busy:
        nodes = f"{layout.nodes} node{'s' if layout.nodes > 1 else ''} with {layout.devices} free {hardware.product}"
        more = f" and {len(busy) - _SHOWN} more" if len(busy) > _SHOWN else ""
        yield (
            f"NodesBusy: it fits, but a group takes {nodes}, and {there - len(busy)} of {there} have them now: other "
            f"pods request the devices of {', '.join(busy[:_SHOWN])}{more}; {best.startable} of {wanted} groups can "
            "start now, the rest wait until others end, or until nodes are added"
        )
    else:
        yield (
            f"NodesExpected: {wanted} groups take {wanted * layout.nodes} nodes of {hardware.product}, and those that "
            f"exist hold {best.startable}; add nodes, or set spec.replicas to {best.startable}"
        )


def _of_host(best: Option) -> Iterator[str]:
    """Ranks that load need host memory, too; of nodes that do not exist yet nothing is known."""
    if not best.hardware.memory_bytes:
        return
    wanted = requests(best.hardware, devices=best.layout.devices)
    given = (wanted.memory_bytes - wanted.shm_bytes) / GIB
    needed = best.layout.devices * best.memory.host_gib
    if given < needed:
        yield (
            f"each pod gets {given:.0f} GiB of host memory beside /dev/shm, and its {best.layout.devices} ranks take "
            f"about {needed:.0f} GiB while they load; use nodes with more memory"
        )


def _of_engine(question: Question, best: Option) -> Iterator[str]:
    yield from unseen_needs(best.fabric, question.spec.pod_template.annotations, question.catalog)
    if not best.engine.image_verified:
        yield f"image {best.engine.image} was not seen published: {best.engine.image_source}"
    row = row_of(best.engine.name, best.located.layout, question.catalog, architecture=best.hardware.architecture)
    if row is not None and row.experimental:
        where = f"{best.precision} on {best.hardware.architecture} in {question.engine.title}"
        yield f"experimental: {where}: {row.experimental}"
    if question.spec.engine.image is not None and best.engine.version != best.release.version:
        yield f"memory is planned as for version {best.release.version}: {best.engine.version} is not in the catalogue"
    if best.fabric.carrier == "tcp" and best.layout.split.pipeline > 1:
        yield (
            f"tensor parallelism stays inside the node, with {best.layout.split.pipeline} pipeline stages over "
            f"nodes: no RDMA resource is seen; {HOW_TO_CARRY}"
        )


def _of_memory(question: Question, best: Option) -> Iterator[str]:
    spec, fit, hardware = question.spec, best.memory, best.hardware
    rules = question.catalog.memory_rules
    if best.tight:
        yield f"tight, and accepted because spec.hardware.allowTight is true: {best.tight}"
    if not fit.modelled:
        yield (
            f"{question.engine.title} has no memory model here: weights are counted, and how many tokens its cache "
            "holds shows in its log"
        )
    elif best.release.aiter_fraction < 1 and fit.mem_fraction - (kept := 1 - fit.reserve_gib / fit.free_gib) > _VISIBLE:
        yield (
            f"{best.engine.name} {best.engine.version} cuts the memory fraction under AITER attention: "
            f"{fit.mem_fraction:g} becomes {kept:.3f}"
        )
    limit = question.model.dimensions.max_context
    if spec.context.max_length is None and fit.context_length < limit:
        why = "what the KV cache holds" if fit.mem_fraction else "the engine's own; spec.context.maxLength raises it"
        yield f"the context is cut from {limit:,} to {fit.context_length:,} tokens, {why}"
    if fit.weights_gib > rules.weights_warned_share * hardware.memory_gib:
        share = fit.weights_gib / hardware.memory_gib
        yield f"weights take {share:.0%} of each device: little is left for requests; more nodes would hold more"


def _of_weights(question: Question, best: Option) -> Iterator[str]:
    spec, weights = question.spec, best.located.weights
    better = "fp8" in question.model.checkpoints
    if best.precision == "bf16" and spec.precision == "auto" and better and not best.native:
        yield "precision auto chose bf16: no usable fp8 weights for this hardware"
    if not weights.fetched and spec.precision == "auto":
        yield f"precision auto took the weights in {weights.source} for {best.precision}; set precision"
    if weights.fetched and weights.volume == "perRank" and best.layout.nodes > 1:
        had = weights.conversion.source_gib if weights.conversion else weights.size_gib
        yield f"each of the {best.layout.nodes} ranks fetches {had:.0f} GiB of its own"
    yield from best.located.warnings

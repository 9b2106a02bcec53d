"""Where a deployment runs: the cheapest class that fits, or the user's choice checked.

Every class is asked for its own best layout (``assessment``); among the answers, classes with free devices come
first, then fewest nodes, native precision, and most KV cache. All groups of a deployment use the chosen class.
The answer is a Plan, or a Refusal whose messages name the field, what is wrong and what would work.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from deepseek_operator.api.problems import Problem
from deepseek_operator.api.resource import Parallelism as ParallelismWish
from deepseek_operator.api.resource import Spec
from deepseek_operator.catalog.types import Catalog, Model
from deepseek_operator.plan import occupancy, weights
from deepseek_operator.plan.assessment import Assessment, Option, Question, assess
from deepseek_operator.plan.choices import find_model, find_products
from deepseek_operator.plan.fabric import HOW_TO_CARRY
from deepseek_operator.plan.offers import Offers, offers
from deepseek_operator.plan.requests import requests, startup_seconds
from deepseek_operator.plan.rules import violations
from deepseek_operator.plan.suitability import told
from deepseek_operator.plan.types import Candidate, Facts, HardwareClass, Inventory, Parallelism, Plan, Refusal

_WAITING = frozenset({"NodesMissing", "NoVolume"})
"""Reasons that the cluster itself may cure."""
_OTHER_HARDWARE = frozenset({"PrecisionNotNative", "SparseAttentionMissing"})
"""Reasons that other hardware would cure, where the spec does not pin it."""
_SHOWN_SKIPPED = 3
_GIB = 2**30
_VISIBLE = 0.001
"""The smallest step of a memory fraction."""


def make_plan(
    spec: Spec, inventory: Inventory, catalog: Catalog, facts: Facts, *, namespace: str, name: str
) -> Plan | Refusal:
    """Plans a deployment.

    Args:
        spec: what the user wrote.
        inventory: what the cluster offers.
        catalog: what is known of models, accelerators and engines.
        facts: what else the cluster and its administrator decide.
        namespace: of the deployment; directories of weights are kept apart by it.
        name: of the deployment, for messages.
    """
    model = find_model(spec.model, catalog)
    if isinstance(model, Problem):
        return _refuse(model)
    problems = tuple(_static_problems(spec, model, facts))
    if problems:
        working = _without_wishes(spec, inventory, catalog, facts, namespace=namespace, name=name)
        return _with_suggestion(_refuse(*problems), working)
    products = find_products(spec.hardware, catalog)
    if isinstance(products, Problem):
        return _refuse(products)
    offered = offers(spec.hardware, products, inventory, catalog, topology_key=spec.scheduling.topology_key)
    if not offered.classes:
        return _nothing_there(spec, inventory, offered, name)
    question = Question(
        spec=_with_precision(spec, model, catalog),
        model=model,
        catalog=catalog,
        sources=weights.Sources(spec=spec, model=model, catalog=catalog, facts=facts, namespace=namespace),
        used=facts.used,
    )
    assessments = [assess(question, each) for each in offered.classes]
    options = sorted((each.option for each in assessments if each.option), key=_rank)
    if options:
        return _plan(question, options, assessments, offered, inventory)
    refusal = _refusal(question, assessments, offered, inventory)
    working = _without_wishes(spec, inventory, catalog, facts, namespace=namespace, name=name)
    return _with_suggestion(refusal, working)


def _static_problems(spec: Spec, model: Model, facts: Facts) -> Iterator[Problem]:
    """What no node could change."""
    limit = model.dimensions.max_context
    if spec.context.max_length is not None and spec.context.max_length > limit:
        yield Problem(
            field="spec.context.maxLength",
            reason="ContextBeyondModel",
            message=f"{spec.context.max_length:,} tokens are more than the {limit:,} of {model.repository}; "
            f"use at most {limit}",
        )
    yield from _split_problems(spec, model)
    if spec.fabric.mode == "host" and not facts.allow_host_network:
        yield Problem(
            field="spec.fabric.mode",
            reason="HostNetworkNotAllowed",
            message="the operator's configuration does not allow the node's network; use mode pod, or ask the "
            "administrator for allow.hostNetwork",
        )
    for index, volume in enumerate(spec.pod_template.volumes):
        if volume.host_path is not None and not facts.allow_host_path:
            yield Problem(
                field=f"spec.podTemplate.volumes[{index}].hostPath",
                reason="HostPathNotAllowed",
                message=f"the operator's configuration does not allow directories of nodes ({volume.host_path}); use "
                "a persistentVolumeClaim, or ask the administrator for allow.hostPath",
            )


def _split_problems(spec: Spec, model: Model) -> Iterator[Problem]:
    """What the model itself says of a tensor-parallel size, on whatever hardware."""
    wish = spec.parallelism
    if wish.tensor is None:
        return
    split = Parallelism(
        tensor=wish.tensor,
        pipeline=wish.pipeline or 1,
        attention_data=wish.attention_data or 1,
        expert=wish.expert or 1,
    )
    # With precision auto only hardware tells whether the blocks of FP8 count.
    block = model.dimensions.weight_block if spec.precision == "fp8" else None
    mtp = spec.engine.features.mtp
    yield from violations(split, model.dimensions, block=block, nodes=1, mtp=mtp)


def _with_precision(spec: Spec, model: Model, catalog: Catalog) -> Spec:
    """With precision auto and a source of the user's own, the source decides."""
    if spec.precision != "auto":
        return spec
    told = weights.precision_of_source(spec, model, catalog)
    return spec if told is None else spec.model_copy(update={"precision": told})


def _rank(option: Option) -> tuple[int, int, bool, int, str]:
    capacity = option.memory.kv_tokens * option.layout.split.attention_data
    return (
        -option.startable,
        option.layout.nodes,
        not option.native,
        -capacity,
        option.hardware.product,
    )


def _plan(
    question: Question,
    options: Sequence[Option],
    assessments: Sequence[Assessment],
    offered: Offers,
    inventory: Inventory,
) -> Plan:
    best = options[0]
    spec, layout = question.spec, best.layout
    located = best.located
    return Plan(
        model=question.model.name,
        served_name=spec.served_name or question.model.repository.rpartition("/")[2],
        precision=best.precision,
        hardware=best.hardware,
        nodes_per_group=layout.nodes,
        accelerators_per_node=layout.devices,
        parallelism=layout.split,
        engine=best.engine,
        weights=located.weights,
        memory=best.memory,
        fabric=best.fabric,
        requests=requests(best.hardware, devices=layout.devices),
        mtp=spec.engine.features.mtp,
        torch_compile=spec.engine.features.torch_compile,
        kv_cache_precision=spec.context.kv_cache_precision,
        startup_seconds=startup_seconds(located.weights.size_gib),
        considered=(
            *(_accepted(option, best) for option in options),
            *(line for each in assessments for line in each.lines),
            *offered.refused,
        ),
        warnings=tuple(_warnings(question, best, inventory)),
    )


def _accepted(option: Option, best: Option) -> Candidate:
    layout, fit = option.layout, option.memory
    reason = (
        f"{option.precision}, tensor {layout.split.tensor}, pipeline {layout.split.pipeline}, "
        f"{fit.weights_gib:.1f} GiB of weights and {fit.kv_tokens:,} tokens of KV cache a device"
    )
    if layout.split.pipeline > 1 and option.fabric.carrier == "tcp":
        reason += ", pipeline over nodes because nothing is seen to carry tensor parallelism"
    if not option.startable and option.hardware.nodes:
        reason += ", busy now"
    return Candidate(
        product=option.hardware.product,
        nodes_per_group=layout.nodes,
        verdict="chosen" if option is best else "feasible",
        reason=reason,
    )


def _warnings(question: Question, best: Option, inventory: Inventory) -> Iterator[str]:
    spec, fit, hardware = question.spec, best.memory, best.hardware
    rules = question.catalog.memory_rules
    if not hardware.nodes:
        yield (
            f"NodesExpected: no node of {hardware.product} exists yet; planned with the catalogue's figures "
            f"({hardware.accelerators_per_node} devices of {hardware.memory_gib:g} GiB a node)"
        )
    yield from _busy(question, best)
    if not best.engine.image_verified:
        yield f"image {best.engine.image} was not seen published: {best.engine.image_source}"
    if spec.engine.image is not None and best.engine.version != best.release.version:
        yield f"memory is planned as for version {best.release.version}: {best.engine.version} is not in the catalogue"
    if best.fabric.carrier == "tcp" and best.layout.split.pipeline > 1:
        yield (
            f"tensor parallelism stays inside the node, with {best.layout.split.pipeline} pipeline stages over "
            f"nodes: no RDMA resource is seen; {HOW_TO_CARRY}"
        )
    kept = 1 - fit.reserve_gib / fit.free_gib
    if fit.mem_fraction - kept > _VISIBLE:
        yield (
            f"{best.engine.name} {best.engine.version} cuts the memory fraction under AITER attention: "
            f"{fit.mem_fraction:g} becomes {kept:.3f}"
        )
    limit = question.model.dimensions.max_context
    if spec.context.max_length is None and fit.context_length < limit:
        yield f"the context is cut from {limit:,} to {fit.context_length:,} tokens, what the KV cache holds"
    if fit.weights_gib > rules.weights_warned_share * hardware.memory_gib:
        share = fit.weights_gib / hardware.memory_gib
        yield f"weights take {share:.0%} of each device: little is left for requests; more nodes would hold more"
    better = "fp8" in question.model.checkpoints
    if best.precision == "bf16" and spec.precision == "auto" and better and not best.native:
        yield "precision auto chose bf16: no usable fp8 weights for this hardware"
    if best.located.weights.repository is None and spec.precision == "auto":
        yield f"precision auto took the weights in {best.located.weights.source} for {best.precision}; set precision"
    if best.located.weights.volume == "perRank" and best.layout.nodes > 1:
        yield f"each of the {best.layout.nodes} ranks fetches {best.located.weights.size_gib:.0f} GiB of its own"
    yield from _host_warning(best)
    yield from best.located.warnings
    yield from told(inventory.skipped)


def _busy(question: Question, best: Option) -> Iterator[str]:
    """What keeps groups of a plan that fits from starting now."""
    hardware, layout, wanted = best.hardware, best.layout, question.spec.replicas
    if not hardware.nodes or best.startable >= wanted:
        return
    busy = occupancy.busy_nodes(hardware, question.used, devices=layout.devices)
    if busy:
        more = f" and {len(busy) - _SHOWN_SKIPPED} more" if len(busy) > _SHOWN_SKIPPED else ""
        yield (
            f"NodesBusy: it fits, but {best.startable} of {wanted} groups can start now: other pods request the "
            f"devices of {', '.join(busy[:_SHOWN_SKIPPED])}{more}; a group waits until {layout.nodes} nodes have "
            f"{layout.devices} free"
        )
    else:
        yield (
            f"NodesExpected: {wanted} groups take {wanted * layout.nodes} nodes of {hardware.product}, and those that "
            f"exist hold {best.startable}; add nodes, or set spec.replicas to {best.startable}"
        )


def _host_warning(best: Option) -> Iterator[str]:
    """Ranks that load need host memory, too; of nodes that do not exist yet nothing is known."""
    if not best.hardware.nodes or not best.hardware.memory_bytes:
        return
    wanted = requests(best.hardware, devices=best.layout.devices)
    given = (wanted.memory_bytes - wanted.shm_bytes) / _GIB
    needed = best.layout.devices * best.memory.host_gib
    if given < needed:
        yield (
            f"each pod gets {given:.0f} GiB of host memory beside /dev/shm, and its {best.layout.devices} ranks take "
            f"about {needed:.0f} GiB while they load; use nodes with more memory"
        )


def _refusal(question: Question, assessments: Sequence[Assessment], offered: Offers, inventory: Inventory) -> Refusal:
    problems = list(
        dict.fromkeys(
            _explained(each.problem, each.hardware, assessments, inventory) for each in assessments if each.problem
        )
    )
    # Missing nodes first: the class works and waits; then what only the user can change.
    problems.sort(key=lambda problem: problem.reason not in _WAITING)
    pinned = question.spec.hardware.product is not None or question.spec.hardware.vendor is not None
    waits = any(each.reason in _WAITING or (each.reason in _OTHER_HARDWARE and not pinned) for each in problems)
    return Refusal(
        problems=tuple(problems),
        considered=(*(line for each in assessments for line in each.lines), *offered.refused),
        warnings=told(inventory.skipped),
        waits_for_cluster=waits,
    )


def _explained(
    problem: Problem, hardware: HardwareClass, assessments: Sequence[Assessment], inventory: Inventory
) -> Problem:
    """The problem of a class; where nodes are missing, with those that did not count and why."""
    if problem.reason != "NodesMissing":
        return problem
    message = problem.message
    alike = sum(each.hardware.product == hardware.product for each in assessments)
    if alike > 1:
        message += f". Its nodes form {alike} classes, because driver, devices, RDMA resource or labels differ"
    if inventory.skipped:
        message += f". Not counted: {_skipped(inventory)}"
    return replace(problem, message=message)


def _skipped(inventory: Inventory) -> str:
    shown = "; ".join(each.message for each in inventory.skipped[:_SHOWN_SKIPPED])
    more = len(inventory.skipped) - _SHOWN_SKIPPED
    return f"{shown}; and {more} more" if more > 0 else shown


def _nothing_there(spec: Spec, inventory: Inventory, offered: Offers, name: str) -> Refusal:
    hardware = spec.hardware
    wanted = hardware.product or hardware.vendor or "known accelerators"
    selector = ", ".join(f"{key}={value}" for key, value in sorted(hardware.node_selector.items()))
    labelled = f" with {selector}" if selector else ""
    seen = ", ".join(sorted({each.product for each in offered.refused})) or "none"
    reasons = f". Not counted: {_skipped(inventory)}" if inventory.skipped else ""
    field = "spec.hardware"
    if hardware.product is not None and not hardware.node_selector:
        field = "spec.hardware.product"
    elif hardware.vendor is not None and hardware.product is None:
        field = "spec.hardware.vendor"
    problem = Problem(
        field=field,
        reason="NodesMissing",
        message=f"{name} finds no usable node of {wanted}{labelled} (accelerators that count: {seen}); add such nodes, "
        f"or widen spec.hardware{reasons}",
    )
    return Refusal(
        problems=(offered.problem or problem,),
        considered=offered.refused,
        warnings=told(inventory.skipped),
        waits_for_cluster=True,
    )


def _without_wishes(
    spec: Spec, inventory: Inventory, catalog: Catalog, facts: Facts, *, namespace: str, name: str
) -> Plan | None:
    """The plan that the deployment would get if the operator chose the split; None: none either."""
    if spec.parallelism == ParallelismWish():
        return None
    free = spec.model_copy(update={"parallelism": ParallelismWish()})
    outcome = make_plan(free, inventory, catalog, facts, namespace=namespace, name=name)
    return outcome if isinstance(outcome, Plan) else None


def _with_suggestion(refusal: Refusal, working: Plan | None) -> Refusal:
    if working is None:
        return refusal
    split = working.parallelism
    first, *others = refusal.problems
    better = replace(
        first,
        message=f"{first.message}. Without spec.parallelism it would be nodes {working.nodes_per_group}, tensor "
        f"{split.tensor}, pipeline {split.pipeline} on {working.hardware.product}",
    )
    return replace(refusal, problems=(better, *others))


def _refuse(*problems: Problem) -> Refusal:
    return Refusal(problems=problems, considered=(), waits_for_cluster=False)

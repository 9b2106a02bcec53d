"""No plan: every problem with the field to blame, those first that the cluster itself may cure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from deepseek_operator.api.problems import Problem, Suggestion
from deepseek_operator.api.resource import Spec
from deepseek_operator.catalog.engine_types import EngineFacts
from deepseek_operator.catalog.types import Model
from deepseek_operator.plan.assessment import Assessment, Option
from deepseek_operator.plan.blame import NODES_MISSING
from deepseek_operator.plan.grounds import Question
from deepseek_operator.plan.offers import Offers
from deepseek_operator.plan.rules import violations
from deepseek_operator.plan.suitability import told
from deepseek_operator.plan.types import ExpertSpread, Facts, Inventory, Parallelism, Refusal

LABELS_MISSING: Final = "LabelsMissing"
_WAITING: Final = frozenset({NODES_MISSING, LABELS_MISSING, "NoVolume", "StorageClassUnknown"})
"""Reasons that the cluster itself may cure."""
_OTHER_HARDWARE: Final = frozenset({"PrecisionNotNative", "SparseAttentionMissing", "NotServedByEngine"})
"""Reasons that other hardware would cure, where the spec does not pin it."""
_SHOWN_SKIPPED: Final = 3


def refuse(*problems: Problem) -> Refusal:
    """Only the user can help."""
    return Refusal(problems=problems, considered=(), waits_for_cluster=False)


def static_problems(spec: Spec, model: Model, facts: Facts, engine: EngineFacts) -> Iterator[Problem]:
    """What no node could change."""
    limit = model.dimensions.max_context
    if spec.context.max_length is not None and spec.context.max_length > limit:
        yield Problem(
            field="spec.context.maxLength",
            reason="ContextBeyondModel",
            message=f"{spec.context.max_length:,} tokens are more than the {limit:,} of {model.repository}; "
            f"use at most {limit}",
            suggestions=(Suggestion(changes=(("spec.context.maxLength", limit),)),),
        )
    yield from _split_problems(spec, model, engine)
    if spec.fabric.mode == "host" and not facts.allow_host_network:
        yield Problem(
            field="spec.fabric.mode",
            reason="HostNetworkNotAllowed",
            message="the operator's configuration does not allow the node's network; use mode pod, or ask the "
            "administrator for allow.hostNetwork",
            suggestions=(Suggestion(changes=(("spec.fabric.mode", "pod"),)),),
        )
    for index, volume in enumerate(spec.pod_template.volumes):
        if volume.host_path is not None and not facts.allow_host_path:
            yield Problem(
                field=f"spec.podTemplate.volumes[{index}].hostPath",
                reason="HostPathNotAllowed",
                message=f"the operator's configuration does not allow directories of nodes ({volume.host_path}); use "
                "a persistentVolumeClaim, or ask the administrator for allow.hostPath",
            )


def refusal(question: Question, assessments: Sequence[Assessment], offered: Offers, inventory: Inventory) -> Refusal:
    """Classes were asked, and none has a layout that works."""
    problems = list(
        dict.fromkeys(_explained(each.problem, each, assessments, inventory) for each in assessments if each.problem)
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


def nothing_there(spec: Spec, inventory: Inventory, offered: Offers, name: str) -> Refusal:
    """No class is left to ask: no such nodes, or what keeps those that are there from being offered."""
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
        reason=NODES_MISSING,
        message=f"{name} finds no usable node of {wanted}{labelled} (accelerators that count: {seen}); add such nodes, "
        f"or widen spec.hardware{reasons}",
    )
    return Refusal(
        problems=(offered.problem or problem,),
        considered=offered.refused,
        warnings=told(inventory.skipped),
        waits_for_cluster=True,
    )


def with_examples(refusal: Refusal, examples: Sequence[Option]) -> Refusal:
    """The refusal of an empty cluster with nodes that would do: the cheapest of each vendor."""
    cheapest: dict[str, Option] = {}
    for option in examples:
        cheapest.setdefault(option.hardware.vendor, option)
    if not cheapest:
        return refusal
    words = [
        f"{each.layout.nodes} node{'s' if each.layout.nodes > 1 else ''} of {each.layout.devices} "
        f"{each.hardware.product}"
        for each in cheapest.values()
    ]
    first, *others = refusal.problems
    return replace(
        refusal, problems=(replace(first, message=f"{first.message}. Would do: {', or '.join(words)}"), *others)
    )


def _split_problems(spec: Spec, model: Model, engine: EngineFacts) -> Iterator[Problem]:
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
    features = spec.engine.features
    spread = ExpertSpread(deepep=features.deepep, redundant=features.redundant_experts)
    if spread.deepep and wish.expert is None:
        split = replace(split, expert=split.tensor)
    yield from violations(split, model.dimensions, block=block, nodes=1, mtp=features.mtp, engine=engine, spread=spread)


def _explained(problem: Problem, one: Assessment, assessments: Sequence[Assessment], inventory: Inventory) -> Problem:
    """The problem of a class; where nodes are missing, with those that did not count and why."""
    if problem.reason != NODES_MISSING:
        return problem
    message, hardware = problem.message, one.hardware
    alike = sum(each.hardware.product == hardware.product for each in assessments)
    if alike > 1:
        message += f". Its nodes form {alike} classes, because driver, devices, RDMA resource or labels differ"
    if inventory.skipped:
        message += f". Not counted: {_skipped(inventory)}"
    nameless = sum(hardware.resource in node.allocatable for node in inventory.unlabelled)
    return replace(problem, message=message, reason=LABELS_MISSING if nameless >= one.lacking else problem.reason)


def _skipped(inventory: Inventory) -> str:
    shown = "; ".join(each.message for each in inventory.skipped[:_SHOWN_SKIPPED])
    more = len(inventory.skipped) - _SHOWN_SKIPPED
    return f"{shown}; and {more} more" if more > 0 else shown

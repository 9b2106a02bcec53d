"""Status from entries and planning: built whole each time, compared before it is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from deepseek_operator.api.names import LEADER_INDEX, PAUSED_ANNOTATION, POD_INDEX_LABEL, UID_LABEL, group_name
from deepseek_operator.lifecycle.batch import WHERE, completed_condition, is_complete
from deepseek_operator.lifecycle.conditions import Condition, Truth, write_conditions
from deepseek_operator.lifecycle.devices import devices_healthy
from deepseek_operator.lifecycle.entries import GroupEntry, write_entries
from deepseek_operator.lifecycle.fabric import fabric_ready
from deepseek_operator.lifecycle.groups import StartWith, given_up
from deepseek_operator.lifecycle.objects import REVISIONS_KEPT
from deepseek_operator.lifecycle.outcome import Outcome
from deepseek_operator.lifecycle.preparation import preparation, weights_ready
from deepseek_operator.lifecycle.records import DeploymentRecord, Snapshot
from deepseek_operator.lifecycle.reported import memory_as_planned
from deepseek_operator.lifecycle.rollout import outdated
from deepseek_operator.lifecycle.runtime import runtime_supported
from deepseek_operator.plan.types import MemoryFit, Plan


def build_status(
    snapshot: Snapshot,
    outcome: Outcome,
    entries: Sequence[GroupEntry],
    *,
    target: StartWith | None,
    time: str,
) -> dict[str, Any]:
    """The whole of status. Without a target, what the last accepted spec left behind stays visible."""
    deployment = snapshot.deployment
    before = deployment.status
    active = [entry for entry in entries if entry.intent != "Remove"]
    updated = [entry for entry in active if target and not outdated(entry, target)]
    conditions = _conditions(snapshot, outcome, active, updated)
    status: dict[str, Any] = {
        "observedGeneration": deployment.generation,
        "replicas": len(active),
        "readyReplicas": sum(entry.ready for entry in active),
        "updatedReplicas": len(updated),
        "selector": f"{UID_LABEL}={deployment.uid},{POD_INDEX_LABEL}={LEADER_INDEX}",
        "conditions": write_conditions(
            conditions, before=before.get("conditions", ()), generation=deployment.generation, time=time
        ),
        "groups": write_entries(entries),
        "servedRevisions": _served(before.get("servedRevisions", ()), active),
    }
    if snapshot.name_taken:
        kind, name = snapshot.name_taken
        status["nameTaken"] = {"kind": kind, "name": name}
    if outcome.plan is not None and target is not None:
        status |= _chosen(outcome.plan) | {"currentRevision": target.revision}
    else:
        kept = ("plan", "engine", "hardware", "precision", "image", "currentRevision")
        status |= {key: before[key] for key in kept if key in before}
    return status


def _served(before: Sequence[str], active: Sequence[GroupEntry]) -> list[str]:
    """Revisions whose plan is settled because a group has served or answered a batch with it, the latest last."""
    now = {entry.revision for entry in active if entry.formed}
    return [*before, *sorted(now - set(before))][-REVISIONS_KEPT:]


def paused_status(deployment: DeploymentRecord, *, time: str) -> dict[str, Any]:
    """What was there, with the condition that says that nothing moves. ``observedGeneration`` stays behind."""
    before = deployment.status
    paused = Condition(
        type="Reconciling",
        status="False",
        reason="Paused",
        message=f"hands off, as annotation {PAUSED_ANNOTATION} asks: nothing is mended, started or stopped",
    )
    kept = before.get("conditions", ())
    (written,) = write_conditions([paused], before=kept, generation=deployment.generation, time=time)
    conditions = [written if old["type"] == paused.type else old for old in kept]
    if not any(old["type"] == paused.type for old in kept):
        conditions.append(written)
    return {**before, "conditions": conditions}


def _chosen(plan: Plan) -> dict[str, Any]:
    return {
        "precision": plan.precision,
        "engine": f"{plan.engine.name} {plan.engine.version}",
        "hardware": f"{plan.nodes_per_group}x{plan.accelerators_per_node} {plan.hardware.product}",
        "image": plan.engine.image,
        "plan": plan_summary(plan),
    }


def _conversion(plan: Plan) -> str | None:
    conversion = plan.weights.conversion
    if conversion is None:
        return None
    return " → ".join((conversion.source_layout, *(step.layout for step in conversion.steps)))


def plan_summary(plan: Plan) -> dict[str, Any]:
    """``status.plan``: what was chosen and why, without the figures that only planning needs."""
    weights = {
        "repository": plan.weights.repository,
        "revision": plan.weights.revision,
        "layout": plan.weights.layout,
        "sizeGiB": round(plan.weights.size_gib),
        "volume": plan.weights.volume,
        "claim": plan.weights.claim,
        "conversion": _conversion(plan),
    }
    return {
        "vendor": plan.hardware.vendor,
        "product": plan.hardware.product,
        "architecture": plan.hardware.architecture,
        "nodesPerGroup": plan.nodes_per_group,
        "acceleratorsPerNode": plan.accelerators_per_node,
        "tensor": plan.parallelism.tensor,
        "pipeline": plan.parallelism.pipeline,
        "attentionData": plan.parallelism.attention_data,
        "expert": plan.parallelism.expert,
        "precision": plan.precision,
        "engine": plan.engine.name,
        "engineVersion": plan.engine.version,
        "image": plan.engine.image,
        "collective": plan.fabric.collective,
        "contextLength": plan.memory.context_length,
        **_of_memory(plan.memory),
        "weights": {key: value for key, value in weights.items() if value is not None},
        "considered": [
            {
                "product": candidate.product,
                "nodesPerGroup": candidate.nodes_per_group,
                "verdict": candidate.verdict,
                "reason": candidate.reason[:512],
            }
            for candidate in plan.considered[:16]
        ],
        "warnings": [warning[:512] for warning in plan.warnings[:16]],
    }


def _conditions(
    snapshot: Snapshot,
    outcome: Outcome,
    active: Sequence[GroupEntry],
    updated: Sequence[GroupEntry],
) -> list[Condition]:
    serving = sum(entry.ready for entry in active)
    blocked = _blocked(snapshot, outcome, active)
    ready = _ready(outcome, active, updated, blocked)
    settled = ready.status == "True" or ready.reason == "Suspended"
    batch = outcome.spec is not None and outcome.spec.batch is not None
    done = batch and ready.reason == "Completed"
    available: Truth = "True" if serving else "False"
    # A refused spec may have left fewer groups than it asks for, or none.
    wanted = outcome.spec.replicas if outcome.spec else max(1, len(active))
    complete = done or serving == wanted == len(active)
    groups_reason = "Completed" if done else "AllServing" if complete else "NotAllServing"
    return [
        *([completed_condition(updated)] if batch else []),
        _accepted(outcome),
        _planned(outcome),
        weights_ready(snapshot, outcome, active, preparation(snapshot, outcome)),
        Condition(
            type="GroupsReady",
            status="True" if complete and not blocked else "False",
            reason=blocked.reason if blocked else groups_reason,
            message="the batch is completed" if done else f"{serving} of {wanted} groups serve",
        ),
        Condition(
            type="Available",
            status=available,
            reason="Serving" if serving else "Completed" if done else "NoGroupServes",
            message=f"{serving} of {len(active)} groups serve",
        ),
        ready,
        _reconciling(snapshot, settled=settled or blocked is not None, ready=ready),
        Condition(
            type="Stalled",
            status="True" if blocked else "False",
            reason=blocked.reason if blocked else "NotStalled",
            message=f"{_sentence(blocked.message)} The deployment is {'still' if serving else 'not'} available."
            if blocked
            else "",
        ),
        fabric_ready(outcome, active),
        _network_isolated(snapshot, outcome, active),
        runtime_supported(outcome),
        memory_as_planned(outcome, active),
        devices_healthy((snapshot.pods.get(entry.index, ()) for entry in active), snapshot.nodes),
    ]


def _reconciling(snapshot: Snapshot, *, settled: bool, ready: Condition) -> Condition:
    if failure := snapshot.troubles.get(snapshot.deployment.uid):
        return Condition(type="Reconciling", status="True", reason="ApplyFailed", message=failure)
    if settled:
        return Condition(type="Reconciling", status="False", reason="Settled")
    return Condition(type="Reconciling", status="True", reason="Progressing", message=ready.message)


def _blocked(snapshot: Snapshot, outcome: Outcome, active: Sequence[GroupEntry]) -> Condition | None:
    """What only the user can resolve."""
    if snapshot.name_taken:
        kind, name = snapshot.name_taken
        return Condition(
            type="Stalled",
            status="True",
            reason="NameTaken",
            message=f"{kind} {name} exists and is not ours: delete or rename it, or rename this object.",
        )
    if outcome.invalid or (outcome.refusal and not outcome.refusal.waits_for_cluster):
        return Condition(type="Stalled", status="True", reason=outcome.problems[0].reason, message=_told(outcome))
    if broken := [entry for entry in active if entry.warm_up and entry.warm_up.state == "Failed"]:
        told = "; ".join(f"group {entry.index}: {entry.warm_up.message}" for entry in broken[:8] if entry.warm_up)
        return Condition(
            type="Stalled",
            status="True",
            reason="ImagePullFailed",
            message=f"{told}. Correct the image or its pull secrets; spec.rollout.warmUpSeconds 0 goes on without.",
        )
    lost = [entry for entry in active if given_up(entry)]
    if lost and all(entry.ready or given_up(entry) for entry in active):
        told = "; ".join(f"group {entry.index}: {entry.message}" for entry in lost[:8])
        return Condition(
            type="Stalled",
            status="True",
            reason="RestartBudgetExhausted",
            message=f"{told}. Change the spec, or set spec.restartedAt, to start again.",
        )
    return None


def _accepted(outcome: Outcome) -> Condition:
    if outcome.invalid or (outcome.refusal and not outcome.refusal.waits_for_cluster):
        return Condition(type="Accepted", status="False", reason=outcome.problems[0].reason, message=_told(outcome))
    return Condition(type="Accepted", status="True", reason="Accepted")


def _planned(outcome: Outcome) -> Condition:
    plan = outcome.plan
    if plan is None:
        return Condition(type="Planned", status="False", reason=outcome.problems[0].reason, message=_told(outcome))
    split = plan.parallelism
    expected = len(plan.hardware.nodes) < plan.nodes_per_group
    return Condition(
        type="Planned",
        status="True",
        reason="NodesExpected" if expected else "Planned",
        message=(
            f"{plan.nodes_per_group} x {plan.accelerators_per_node} {plan.hardware.product} a group, "
            f"tensor {split.tensor}, pipeline {split.pipeline}, {plan.precision}{_tokens(plan.memory)}"
        ),
    )


def _tokens(memory: MemoryFit) -> str:
    return f", {memory.kv_tokens} KV tokens" if memory.modelled else ""


def _of_memory(memory: MemoryFit) -> dict[str, Any]:
    return {"kvTokens": memory.kv_tokens, "memFraction": str(memory.mem_fraction)} if memory.modelled else {}


def _ready(
    outcome: Outcome,
    active: Sequence[GroupEntry],
    updated: Sequence[GroupEntry],
    blocked: Condition | None,
) -> Condition:
    def verdict(status: Truth, reason: str, message: str) -> Condition:
        return Condition(type="Ready", status=status, reason=reason, message=message)

    if blocked:
        return verdict("False", blocked.reason, blocked.message)
    if outcome.problems:
        return verdict("False", outcome.problems[0].reason, _told(outcome))
    if updated and is_complete(active) and len(updated) == len(active):
        return verdict("True", "Completed", f"the batch ended at {is_complete(active)}; {WHERE}")
    if outcome.spec is not None and outcome.spec.suspend:
        return verdict("False", "Suspended", "spec.suspend is true")
    waiting = [entry for entry in active if not (entry.ready and entry in updated)]
    if waiting:
        first = waiting[0]
        reason = first.stage if not first.ready else "RollingOut"
        told = "; ".join(f"group {e.index}: {e.stage} {e.message}".rstrip() for e in waiting[:8])
        return verdict("False", reason, told)
    if not active:
        return verdict("True", "ScaledToZero", "spec.replicas is 0")
    return verdict("True", "Serving", f"all {len(active)} groups serve")


def _network_isolated(snapshot: Snapshot, outcome: Outcome, active: Sequence[GroupEntry]) -> Condition:
    def verdict(status: Truth, reason: str, message: str) -> Condition:
        return Condition(type="NetworkIsolated", status=status, reason=reason, message=message)

    if outcome.plan is None:
        return verdict("Unknown", "NotPlanned", "")
    if outcome.plan.fabric.mode == "host":
        return verdict("False", "HostNetwork", "network policies do not apply to pods on the host's network")
    name = snapshot.deployment.name
    own = [name] if outcome.plan.engine.api else []
    wanted = [*own, *(group_name(name, entry.index) for entry in active)]
    if missing := [policy for policy in wanted if ("NetworkPolicy", policy) not in snapshot.children]:
        return verdict("False", "PolicyMissing", f"NetworkPolicies {', '.join(missing[:4])} do not exist yet")
    return verdict(
        "True",
        "PolicyApplied",
        "ranks accept only their own group; the cluster's network must enforce policies",
    )


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _told(outcome: Outcome) -> str:
    return "; ".join(f"{problem.field}: {problem.message}" for problem in outcome.problems)

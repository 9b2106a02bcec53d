"""How patient the operator is with the groups of one deployment, in one record."""

from __future__ import annotations

from dataclasses import dataclass

from deepseek_operator.api.operation import Recovery, Rollout, Scheduling
from deepseek_operator.api.resource import Spec
from deepseek_operator.render.revision import RevisionContent, Workload

STARTUP_SECONDS = 3600
"""For a group whose revision was lost; as the least that a plan gives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Limits; times in seconds."""

    max_unavailable: int
    max_surge: int
    warm_up: int
    """0: none."""
    max_restarts: int
    node_lost_after: int
    unready_after: int
    rendezvous_after: int
    hold_timeout: int
    startup_deadline: int | None
    """None: the plan's."""


def read_policy(spec: Spec | None) -> Policy:
    """The policy of a spec; of one that cannot be read, the defaults."""
    recovery = spec.recovery if spec else Recovery()
    rollout = spec.rollout if spec else Rollout()
    scheduling = spec.scheduling if spec else Scheduling()
    return Policy(
        max_unavailable=rollout.max_unavailable,
        max_surge=rollout.max_surge,
        warm_up=rollout.warm_up_seconds,
        max_restarts=recovery.max_restarts,
        node_lost_after=recovery.node_lost_after_seconds,
        unready_after=recovery.unready_after_seconds,
        rendezvous_after=recovery.rendezvous_after_seconds,
        hold_timeout=scheduling.hold_timeout_seconds,
        startup_deadline=spec.startup.deadline_seconds if spec else None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What the stored revision says about the group that runs it."""

    size: int
    """Pods of the group."""
    startup_seconds: int = STARTUP_SECONDS
    """From the start of the engines to serving."""
    weights_gib: float = 0.0
    """What every node reads."""
    workload: Workload = "StatefulSet"
    spare_nodes: int = 0
    """Nodes of the class beyond those that a group needs; so many can be avoided."""


def shape_of(content: RevisionContent) -> Shape:
    """The shape of the groups of a stored revision."""
    plan = content.plan
    return Shape(
        size=content.nodes_per_group,
        workload=content.workload,
        startup_seconds=plan["startup_seconds"],
        weights_gib=plan["weights"]["size_gib"],
        spare_nodes=max(0, len(plan["hardware"]["nodes"]) - content.nodes_per_group),
    )

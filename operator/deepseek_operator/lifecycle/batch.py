"""Groups that answer a batch and end: how far they are, and when they are done.

Nothing starts a completed one again but a changed revision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from deepseek_operator.api.status import Stage
from deepseek_operator.lifecycle.clock import stamp
from deepseek_operator.lifecycle.conditions import Condition
from deepseek_operator.lifecycle.entries import GroupEntry
from deepseek_operator.lifecycle.policy import Shape
from deepseek_operator.lifecycle.records import BatchRecord, PodRecord, WorkloadRecord
from deepseek_operator.lifecycle.stages import stage_of

WHERE: Final = "the answers are in rank 0's log, and in spec.batch.answers where it is set"


def finished_ranks(pods: Sequence[PodRecord], shape: Shape) -> frozenset[str]:
    """UIDs of the pods that have done their work; ranks that serve never have."""
    return frozenset(pod.uid for pod in pods if pod.finished) if shape.workload == "Job" else frozenset()


def has_completed(entry: GroupEntry, workload: WorkloadRecord | None) -> bool:
    """The Job of the entry's own incarnation is complete."""
    return isinstance(workload, BatchRecord) and workload.completed and workload.incarnation == entry.incarnation


def complete(entry: GroupEntry, *, now: datetime) -> GroupEntry:
    """The entry of a batch that has ended well: its pods may go, and its plan is settled."""
    return replace(entry, completed=stamp(now), ready=False, formed=True, members=(), restarts=0, stable_since="")


def batch_stage(pods: Sequence[PodRecord], *, size: int) -> tuple[Stage, str]:
    """The stage of a batch that runs. A rank that has ended well waits for nothing."""
    finished = [pod for pod in pods if pod.finished]
    if len(finished) == size:
        return "Running", "all ranks have ended; waiting for the Job to be complete"
    going = [pod for pod in pods if not pod.finished]
    stage, message = stage_of(going, size=size - len(finished)) if not finished else ("Serving", "")
    if stage != "Serving":
        return stage, message
    ended = f"{len(finished)} of {size} ranks have ended" if finished else ""
    return "Running", ended


def completed_condition(active: Sequence[GroupEntry]) -> Condition:
    """Condition Completed, for ``kubectl wait``."""
    if done := is_complete(active):
        return Condition(type="Completed", status="True", reason="Completed", message=f"since {done}; {WHERE}")
    told = "; ".join(f"group {entry.index}: {entry.stage} {entry.message}".rstrip() for entry in active)
    return Condition(type="Completed", status="False", reason="NotCompleted", message=told)


def is_complete(active: Sequence[GroupEntry]) -> str:
    """When the batch ended well; empty while it has not."""
    return max((entry.completed for entry in active), default="") if all(entry.completed for entry in active) else ""

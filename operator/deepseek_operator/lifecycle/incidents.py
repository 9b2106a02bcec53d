"""What ends a group's incarnation: the first thing that makes its ranks unable to serve together again.

No engine lets a lost rank rejoin a live group (docs/architecture.md, "Groups"), so each of these is one incident of
the whole group: a rank's engine ended or was restarted, a pod is being deleted, failed, vanished or was replaced,
or its node is gone. Restarts of init containers are not: downloads retry on their own.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from deepseek_operator.lifecycle.entries import GroupEntry, Incident
from deepseek_operator.lifecycle.records import PodRecord

BACKOFF_BASE_SECONDS = 10
BACKOFF_LIMIT_SECONDS = 600
STABLE_SECONDS = 600
"""Serving for so long forgives earlier incidents."""


def find_incident(
    entry: GroupEntry, pods: Sequence[PodRecord], *, dead_nodes: Collection[str], time: str
) -> Incident | None:
    """The incident that the pods of a running incarnation show, or None.

    Ends of engines come first: they carry the exit code, and what happens to the other pods follows from them.
    """
    current = [pod for pod in pods if pod.incarnation == entry.incarnation]
    for check in (_engine_ended, _pod_failed, _node_lost, _pod_deleted):
        for pod in current:
            if found := check(pod, dead_nodes):
                reason, message = found
                return Incident(
                    time=time,
                    reason=reason,
                    message=message,
                    rank=pod.rank,
                    pod=pod.name,
                    node=pod.node,
                    exit_code=pod.engine.exit_code,
                )
    return _membership_broken(entry, current, time)


def _engine_ended(pod: PodRecord, _dead: Collection[str]) -> tuple[str, str] | None:
    engine = pod.engine
    if engine.state != "terminated" and engine.restarts == 0:
        return None
    code = "" if engine.exit_code is None else f" with exit code {engine.exit_code}"
    detail = f": {engine.message.strip()}" if engine.message.strip() else ""
    cause = engine.reason if engine.reason not in ("", "Error", "Completed") else "EngineExited"
    return cause, f"The engine of rank {pod.rank} ended{code}{detail}"


def _pod_failed(pod: PodRecord, _dead: Collection[str]) -> tuple[str, str] | None:
    if pod.phase not in ("Failed", "Succeeded"):
        return None
    return pod.phase_reason or "PodFailed", f"The pod of rank {pod.rank} ended in phase {pod.phase}"


def _node_lost(pod: PodRecord, dead: Collection[str]) -> tuple[str, str] | None:
    if not pod.node or pod.node not in dead:
        return None
    return "NodeLost", f"Node {pod.node} of rank {pod.rank} is gone or marked out of service"


def _pod_deleted(pod: PodRecord, _dead: Collection[str]) -> tuple[str, str] | None:
    if not pod.deleting:
        return None
    return "PodDeleted", f"The pod of rank {pod.rank} is being deleted"


def _membership_broken(entry: GroupEntry, pods: Sequence[PodRecord], time: str) -> Incident | None:
    present = {pod.uid for pod in pods}
    for member in entry.members:
        if member.uid not in present:
            return Incident(
                time=time,
                reason="PodLost",
                message=f"The pod of rank {member.rank} vanished",
                rank=member.rank,
                node=member.node,
            )
    return None


def backoff_seconds(restarts: int, *, seed: str) -> float:
    """Seconds before the start that follows incident number `restarts` in a row.

    The first restart waits for nothing; later ones 10 s, 20 s … 10 min, stretched by up to a fifth, so that groups
    that failed together do not start together. The stretch follows from `seed`: a repeated decision is the same.
    """
    if restarts <= 1:
        return 0.0
    delay = min(BACKOFF_LIMIT_SECONDS, BACKOFF_BASE_SECONDS * 2 ** min(restarts - 2, 16))
    stretch = sum(seed.encode()) * 7919 % 1000 / 5000
    return float(delay) * (1 + stretch)

"""What ends a group's incarnation: the first thing that makes its ranks unable to serve together again.

No engine lets a lost rank rejoin a live group (docs/architecture.md, "Groups"), so each of these is one incident of
the whole group: a rank's engine ended or was restarted, a pod is being deleted, failed, vanished or was replaced,
or its node is gone. So is a preflight that failed: one rank alone cannot try it again. Restarts of other init
containers are none: downloads retry on their own. What ends a group because it
lasts too long is in ``watchdogs``.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta

from deepseek_operator.catalog.operations.load import Operations
from deepseek_operator.lifecycle.clock import moment
from deepseek_operator.lifecycle.devices import UNHEALTHY
from deepseek_operator.lifecycle.entries import GroupEntry, Incident
from deepseek_operator.lifecycle.exits import signal_of, told_exit
from deepseek_operator.lifecycle.masking import masked
from deepseek_operator.lifecycle.records import PodRecord

BACKOFF_BASE_SECONDS = 10
BACKOFF_LIMIT_SECONDS = 600
STABLE_SECONDS = 600
"""Serving for so long forgives earlier incidents."""
AVOIDED_LIMIT = 4

PREFLIGHT_FAILED = "PreflightFailed"
UNCOUNTED = frozenset({"EvictionByEvictionAPI", "PreemptionByScheduler", "HoldTimeout"})
"""Nobody's fault: the group restarts without a word about its budget."""
BROKEN_GRACE_SECONDS = 10
"""For what is left of a group that lost a rank: enough to write last words."""
_MAY_DRAIN = UNCOUNTED | {"PodDeleted"}
"""Ends that were asked for: until they come, all ranks are there and requests can be finished."""
_DISRUPTIONS = {
    "EvictionByEvictionAPI": "was evicted: somebody drains its node",
    "PreemptionByScheduler": "was preempted by pods of higher priority",
    "DeletionByTaintManager": "was evicted by a taint of its node",
    "TerminationByKubelet": "was ended by its kubelet",
}
"""Reasons of the pod condition DisruptionTarget
(https://kubernetes.io/docs/concepts/workloads/pods/disruptions/#pod-disruption-conditions)."""
_OF_NODES = frozenset(
    {
        "NodeLost",
        "EngineExited",
        "OOMKilled",
        "PodFailed",
        "RankUnready",
        "StartupDeadlineExceeded",
        UNHEALTHY,
        PREFLIGHT_FAILED,
    }
)
"""Reasons that may lie in the node; twice on the same node and the group avoids it."""


def find_incident(
    entry: GroupEntry,
    pods: Sequence[PodRecord],
    *,
    dead_nodes: Collection[str],
    time: str,
    finished: Collection[str] = (),
) -> Incident | None:
    """The incident that the pods of a running incarnation show, or None.

    ``finished`` are the UIDs of ranks of a batch that have done their work: how they go is no incident.

    Ends of engines come first, the earliest of them: it carries the exit code, and what happens to the other pods
    follows from it.
    """
    current = [pod for pod in pods if pod.incarnation == entry.incarnation]
    working = [pod for pod in current if pod.uid not in finished]
    if ended := first_to_end([pod for pod in working if engine_ended(pod)]):
        return of_engine(ended, time)
    if failed := _first_to_fail([pod for pod in working if pod.preflight.exit_code]):
        return Incident(
            time=time,
            reason=PREFLIGHT_FAILED,
            message=f"The preflight of rank {failed.rank} failed: {masked(failed.preflight.message.strip())}",
            rank=failed.rank,
            pod=failed.name,
            node=failed.node,
            exit_code=failed.preflight.exit_code,
            ended=failed.preflight.since,
        )
    checks = [_failed, _node_lost, _deleted] if all(pod.ready for pod in working) else _CHECKS_UNREADY
    for check in checks:
        for pod in working:
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


def engine_ended(pod: PodRecord) -> bool:
    """The engine's container has ended, even if it was started again."""
    return pod.engine.state == "terminated" or pod.engine.restarts > 0


def first_to_end(pods: Sequence[PodRecord]) -> PodRecord | None:
    """Of pods whose engines ended the one that was first.

    Ends are told to the second, and a leader that lost a rank may end well in the same one.
    """
    return min(pods, key=lambda pod: (pod.engine.since, pod.engine.exit_code == 0, pod.rank), default=None)


def _first_to_fail(pods: Sequence[PodRecord]) -> PodRecord | None:
    """Of ranks whose preflight failed the one that was first: the others ran into their time limit because of it."""
    return min(pods, key=lambda pod: (pod.preflight.since, pod.rank), default=None)


def of_engine(pod: PodRecord, time: str) -> Incident:
    """The incident of a rank whose engine ended."""
    engine = pod.engine
    words = masked(engine.message.strip())
    return Incident(
        time=time,
        reason=engine.reason if engine.reason not in ("", "Error", "Completed") else "EngineExited",
        message=f"The engine of rank {pod.rank} ended{told_exit(engine.exit_code)}" + (f": {words}" if words else ""),
        rank=pod.rank,
        pod=pod.name,
        node=pod.node,
        exit_code=engine.exit_code,
        signal=signal_of(engine.exit_code),
        ended=engine.since,
    )


def _failed(pod: PodRecord, _dead: Collection[str]) -> tuple[str, str] | None:
    if pod.phase not in ("Failed", "Succeeded"):
        return None
    return pod.phase_reason or "PodFailed", f"The pod of rank {pod.rank} ended in phase {pod.phase}"


def _node_lost(pod: PodRecord, dead: Collection[str]) -> tuple[str, str] | None:
    if not pod.node or pod.node not in dead:
        return None
    return "NodeLost", f"Node {pod.node} of rank {pod.rank} is gone, out of service, or not ready for too long"


def _deleted(pod: PodRecord, _dead: Collection[str]) -> tuple[str, str] | None:
    if not pod.deleting:
        return None
    if told := _DISRUPTIONS.get(pod.disruption):
        return pod.disruption, f"The pod of rank {pod.rank} {told} ({pod.node})"
    return "PodDeleted", f"The pod of rank {pod.rank} is being deleted"


def _device_unhealthy(pod: PodRecord, _dead: Collection[str]) -> tuple[str, str] | None:
    if not pod.unhealthy or pod.engine.state != "running":
        return None
    return UNHEALTHY, f"The group does not serve, and of rank {pod.rank} {pod.unhealthy}"


_CHECKS_UNREADY = (_failed, _node_lost, _deleted, _device_unhealthy)
"""Of a group that does not serve; one that does is not stopped for what is reported of its devices."""


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


def drains_in_vain(entry: GroupEntry, pod: PodRecord) -> bool:
    """Whether a pod sits out its grace period for requests that nobody can finish, since its group lost a rank.

    SGLang's rank 0 drains without limit, and other ranks wait for its order; a restart would be late by all of it.
    """
    if not (pod.deleting and pod.deletion_asked and pod.terminating_until and pod.created and entry.incidents):
        return False
    latest = entry.incidents[0]
    if latest.reason in _MAY_DRAIN or moment(latest.time) < moment(pod.created):
        return False
    grace = moment(pod.terminating_until) - moment(pod.deletion_asked)
    return grace > timedelta(seconds=BROKEN_GRACE_SECONDS)


def avoided_nodes(
    incidents: Sequence[Incident], *, known: Sequence[str], spare: int, operations: Operations
) -> tuple[str, ...]:
    """Nodes that the next start should avoid, those avoided already first, at most ``spare``.

    A node is avoided when two of the incidents that are remembered began there, or one of which the node is known to be
    the cause: its devices are reported broken, or the engine's words say so.
    """
    defects = {diagnosis.name for diagnosis in operations.diagnoses if diagnosis.node}
    blamed = [incident.node for incident in incidents if incident.node and incident.reason in _OF_NODES]
    proven = {i.node for i in incidents if i.node in blamed and (i.trouble or i.diagnosis in defects)}
    repeated = {node for node in blamed if blamed.count(node) > 1}
    return (*known, *sorted((repeated | proven) - set(known)))[: min(spare, AVOIDED_LIMIT)]


def backoff_seconds(restarts: int, *, seed: str) -> float:
    """Seconds before the start that follows incident number `restarts` in a row.

    The first restart waits for nothing; later ones 10 s, 20 s … 10 min, stretched by up to a fifth, so that groups
    that failed together do not start together. The stretch follows from `seed`: a repeated decision is the same.
    """
    if restarts <= 1:
        return 0.0
    delay = min(BACKOFF_LIMIT_SECONDS, BACKOFF_BASE_SECONDS * 2 ** min(restarts - 2, 16))
    return float(delay) * (1 + stretch(seed) / 5)


def stretch(seed: str) -> float:
    """From 0 to 1, the same for the same seed."""
    return sum(seed.encode()) * 7919 % 1000 / 1000

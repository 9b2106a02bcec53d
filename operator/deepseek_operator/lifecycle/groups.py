"""The state machine of one group.

A group's entry says what it *should* do (``intent``) and which start it is on (``incarnation``). One call of
``advance`` moves the entry by what the cluster shows; ``decide`` turns entries into actions afterwards.

=========  =====================================  ==========================================================
intent     what is seen                           what follows
=========  =====================================  ==========================================================
Run        no pod, workload absent or older       start: replicas N, label incarnation (decide)
Run        all N pods                             members recorded; stage by the pods; ready when all are
Run        a Job that is complete                 wait: Completed (only another revision starts)
Run        an incident, or a watchdog due         Stop, with evidence, backoff, incarnation unchanged
Stop       pods, or replicas not at 0, or a Job   replicas 0, Job deleted (decide); wait: Draining
Stop       nothing left, restarts used up         wait: Failed (a changed revision starts anew)
Stop       nothing left, backoff not over         wait: BackingOff (a changed revision does not wait)
Stop       nothing left, deployment suspended     wait: Suspended
Stop       nothing left, a revision to start      Run, incarnation + 1
Remove     the same                               the same, wait, then delete the group's objects (decide)
=========  =====================================  ==========================================================

An incarnation never starts before every pod of the last one is gone: a rank must not dial its old group.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from deepseek_operator.api.status import Stage
from deepseek_operator.catalog.operations.load import Operations
from deepseek_operator.lifecycle.batch import batch_stage, complete, finished_ranks, has_completed
from deepseek_operator.lifecycle.clock import NEVER, moment, overdue, seconds_until, stamp
from deepseek_operator.lifecycle.entries import INCIDENTS_KEPT, GroupEntry, Incident, LastLines, Member
from deepseek_operator.lifecycle.evidence import completed, diagnosed, hopeless
from deepseek_operator.lifecycle.incidents import (
    STABLE_SECONDS,
    UNCOUNTED,
    avoided_nodes,
    backoff_seconds,
    find_incident,
    stretch,
)
from deepseek_operator.lifecycle.policy import Policy, Shape
from deepseek_operator.lifecycle.records import BatchRecord, PodRecord, WorkloadRecord
from deepseek_operator.lifecycle.stages import stage_of
from deepseek_operator.lifecycle.watchdogs import watchdogs


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What the cluster shows of one group."""

    workload: WorkloadRecord | None
    pods: tuple[PodRecord, ...]
    dead_nodes: Collection[str] = frozenset()
    trouble: str = ""
    """Why pods or containers do not come, where an event tells."""
    troubles: Mapping[str, str] = field(default_factory=dict)
    """What is reported of the devices and the node of each pod, by its UID."""
    last_lines: LastLines | None = None
    """The end of the log of the rank that failed, once it was read."""
    preparing: str = ""
    """What must be complete before the incarnation may start, where it has not started."""

    @property
    def stopped(self) -> bool:
        """Nothing runs, and the workload's controller has seen that nothing should."""
        return not self.pods and (self.workload is None or self.workload.stopped)


@dataclass(frozen=True, slots=True, kw_only=True)
class StartWith:
    """The revision that the next incarnation gets."""

    revision: str
    template_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What an entry is judged by besides what is seen."""

    shape: Shape
    """Of the incarnation that runs."""
    policy: Policy
    operations: Operations
    seed: str
    """Makes jitter differ between deployments."""


def advance(
    entry: GroupEntry,
    observed: Observed,
    *,
    limits: Limits,
    start_with: StartWith | None,
    suspended: bool,
    now: datetime,
) -> GroupEntry:
    """The entry after what is seen now."""
    entry = _evidence_completed(entry, observed, limits)
    if entry.intent == "Run":
        if entry.completed:
            return _staged(entry, "Completed", "", now=now)
        # Ranks beyond the group's size were scaled up by hand: they are taken back, and nobody waits for or on them.
        ranks = tuple(pod for pod in observed.pods if pod.rank < limits.shape.size)
        return _advance_running(entry, replace(observed, pods=ranks), limits=limits, now=now)
    if not observed.stopped:
        return _staged(entry, "Draining", _draining(observed, now=now), now=now)
    if entry.intent == "Remove":
        return _staged(entry, "Draining", "removing the group's objects", now=now)
    if suspended:
        return _staged(replace(entry, members=()), "Suspended", "", now=now)
    changed = start_with is not None and start_with.revision != entry.revision
    if given_up(entry) and not changed:
        return _staged(entry, "Failed", _exhausted(entry), now=now)
    if seconds_until(entry.not_before, now=now) > 0 and not changed:
        return _staged(entry, "BackingOff", f"next start at {entry.not_before}", now=now)
    if start_with is None:
        return _staged(entry, "Failed", "no revision to start: see condition Accepted", now=now)
    return _started(entry, start_with, forget=changed, limits=limits, now=now)


def _started(entry: GroupEntry, start_with: StartWith, *, forget: bool, limits: Limits, now: datetime) -> GroupEntry:
    """The next incarnation; a changed revision gets a fresh budget and every node again."""
    avoided = (
        ()
        if forget
        else avoided_nodes(
            entry.incidents, known=entry.avoided_nodes, spare=limits.shape.spare_nodes, operations=limits.operations
        )
    )
    started = replace(
        entry,
        intent="Run",
        incarnation=entry.incarnation + 1,
        revision=start_with.revision,
        template_hash=start_with.template_hash,
        members=(),
        ready=False,
        formed=False,
        completed="",
        stable_since="",
        not_before="",
        restarts=0 if forget else entry.restarts,
        avoided_nodes=avoided,
    )
    message = "starting" + (f", away from {', '.join(avoided)}" if avoided else "")
    return _staged(started, "Pending", message, now=now)


def given_up(entry: GroupEntry) -> bool:
    """Only a changed spec starts the group again."""
    return entry.not_before == NEVER


def _exhausted(entry: GroupEntry) -> str:
    last = entry.incidents[0] if entry.incidents else None
    words = f"{last.message} {last.remedy}".strip() if last else ""
    return f"given up after {entry.restarts} incidents in a row, the last: {words}"


def stop(entry: GroupEntry, *, why: str, now: datetime) -> GroupEntry:
    """Our own decision to stop a group (rollout, suspend): no incident, no backoff."""
    stopping = replace(entry, intent="Stop", ready=False, stable_since="", not_before="", restarts=0)
    return _staged(stopping, "Draining", why, now=now)


def remove(entry: GroupEntry, *, now: datetime) -> GroupEntry:
    """Scale down: stop the group and delete its objects."""
    return _staged(replace(entry, intent="Remove", ready=False, stable_since=""), "Draining", "scaled down", now=now)


def fail(entry: GroupEntry, incident: Incident, *, limits: Limits, now: datetime) -> GroupEntry:
    """Stop a group because of an incident, with the evidence and the time of the next start.

    An incident that is nobody's fault costs no restart. One that must recur, or one too many, ends the attempts.
    """
    incident = diagnosed(incident, limits.operations)
    forgiven = bool(entry.stable_since and (now - moment(entry.stable_since)).total_seconds() >= STABLE_SECONDS)
    restarts = (0 if forgiven else entry.restarts) + (incident.reason not in UNCOUNTED)
    stopping = replace(
        entry,
        intent="Stop",
        ready=False,
        stable_since="",
        restarts=restarts,
        not_before=_next_start(entry, incident, restarts=restarts, limits=limits, now=now),
        incidents=(incident, *entry.incidents)[:INCIDENTS_KEPT],
    )
    return _staged(stopping, "Draining", incident.message, now=now)


def _evidence_completed(entry: GroupEntry, observed: Observed, limits: Limits) -> GroupEntry:
    """The entry with what is known by now of its latest incident; that may end the attempts."""
    after = completed(entry, observed.pods, observed.last_lines, limits.operations, troubles=observed.troubles)
    if after is entry or after.intent != "Stop":
        return after
    before = after.restarts - (after.incidents[0].reason not in UNCOUNTED)
    if hopeless(after.incidents, formed=after.formed, restarts=before, operations=limits.operations):
        return replace(after, not_before=NEVER)
    return after


def _next_start(entry: GroupEntry, incident: Incident, *, restarts: int, limits: Limits, now: datetime) -> str:
    seed = f"{limits.seed}/{entry.index}/{entry.incarnation}"
    if incident.reason == "HoldTimeout":
        return stamp(now + timedelta(seconds=limits.policy.hold_timeout * (1 + stretch(seed))))
    if incident.reason in UNCOUNTED:
        return ""
    again = (incident, *entry.incidents)
    if restarts > limits.policy.max_restarts:
        return NEVER
    if hopeless(again, formed=entry.formed, restarts=entry.restarts, operations=limits.operations):
        return NEVER
    wait = backoff_seconds(restarts, seed=seed)
    return stamp(now + timedelta(seconds=wait)) if wait else ""


def _advance_running(entry: GroupEntry, observed: Observed, *, limits: Limits, now: datetime) -> GroupEntry:
    if has_completed(entry, observed.workload):
        return _staged(complete(entry, now=now), "Completed", "", now=now)
    if incident := _incident(entry, observed, limits=limits, now=now):
        trouble = next((observed.troubles.get(pod.uid, "") for pod in observed.pods if pod.rank == incident.rank), "")
        return fail(entry, replace(incident, trouble=trouble), limits=limits, now=now)
    if observed.preparing and not observed.pods:
        return _staged(entry, "FetchingWeights", observed.preparing, now=now)
    size = limits.shape.size
    pods = [pod for pod in observed.pods if pod.incarnation == entry.incarnation]
    older = len(observed.pods) - len(pods)
    if older:
        return _staged(entry, "Draining", f"waiting for {older} pods of an earlier incarnation", now=now)
    batch = limits.shape.workload == "Job"
    stage, message = batch_stage(pods, size=size) if batch else stage_of(pods, size=size)
    works = stage in {"Serving", "Running"}
    if observed.trouble and not works:
        message = f"{message}; {observed.trouble}"
    if known := limits.operations.diagnose(message):
        message = f"{message}; {known.remedy}"
    serving = stage == "Serving"
    members = entry.members
    if (not members and len(pods) == size) or (
        any(not member.node for member in members) and all(pod.node for pod in pods)
    ):
        members = _members(pods)
    moved = replace(
        entry,
        members=members,
        ready=serving,
        formed=entry.formed or works,
        stable_since=(entry.stable_since or stamp(now)) if serving else "",
    )
    return _staged(moved, stage, message, now=now)


def _incident(entry: GroupEntry, observed: Observed, *, limits: Limits, now: datetime) -> Incident | None:
    owner = observed.workload
    time = stamp(now)
    finished = finished_ranks(observed.pods, limits.shape)
    if found := find_incident(entry, observed.pods, dead_nodes=observed.dead_nodes, time=time, finished=finished):
        return found
    if isinstance(owner, BatchRecord) and owner.failed and owner.incarnation == entry.incarnation:
        return Incident(time=time, reason=owner.failed, message=f"The Job failed: {owner.failed_message}")
    running = watchdogs(entry, observed.pods, shape=limits.shape, policy=limits.policy, seed=limits.seed)
    if barking := min((dog for dog in running if dog.due <= now), key=lambda dog: dog.due, default=None):
        return barking.bark()
    if owner is None:
        if entry.members or observed.pods:
            kind = limits.shape.workload
            return Incident(time=time, reason=f"{kind}Deleted", message=f"The {kind} was deleted")
        return None
    if owner.incarnation > entry.incarnation:
        return Incident(
            time=time,
            reason="StatusBehind",
            message=f"The {owner.kind} runs incarnation {owner.incarnation}, later than recorded",
        )
    if owner.incarnation == entry.incarnation and owner.replicas == 0:
        return Incident(time=time, reason="ScaledByHand", message=f"The {owner.kind} was scaled to 0 by hand")
    return None


def _members(pods: Sequence[PodRecord]) -> tuple[Member, ...]:
    return tuple(Member(rank=pod.rank, uid=pod.uid, node=pod.node) for pod in pods)


def _draining(observed: Observed, *, now: datetime) -> str:
    if not observed.pods:
        return "waiting for the workload to settle at 0"
    message = "waiting for the end of ranks " + ", ".join(str(pod.rank) for pod in observed.pods)
    stuck = [
        f"rank {pod.rank} on {pod.node} should have ended at {pod.terminating_until}: look at that node's kubelet"
        for pod in observed.pods
        if pod.deleting and pod.node not in observed.dead_nodes and overdue(pod.terminating_until, now=now)
    ]
    return "; ".join((message, *stuck))


def _staged(entry: GroupEntry, stage: Stage, message: str, *, now: datetime) -> GroupEntry:
    since = entry.since if entry.stage == stage and entry.since else stamp(now)
    return replace(entry, stage=stage, message=message, since=since)

"""The state machine of one group.

A group's entry says what it *should* do (``intent``) and which start it is on (``incarnation``). One call of
``advance`` moves the entry by what the cluster shows; ``decide`` turns entries into actions afterwards.

=========  =====================================  ==========================================================
intent     what is seen                           what follows
=========  =====================================  ==========================================================
Run        no pod, StatefulSet absent or older    start: replicas N, label incarnation (decide)
Run        all N pods                             members recorded; stage by the pods; ready when all are
Run        an incident                            Stop, with evidence, backoff, incarnation unchanged
Stop       pods, or replicas not at 0             replicas 0 (decide); wait: Draining
Stop       nothing left, backoff not over         wait: BackingOff (a changed revision does not wait)
Stop       nothing left, deployment suspended     wait: Suspended
Stop       nothing left, a revision to start      Run, incarnation + 1
Remove     pods, or replicas not at 0             replicas 0, wait, then delete the group's objects (decide)
=========  =====================================  ==========================================================

An incarnation never starts before every pod of the last one is gone: a rank must not dial its old group.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from deepseek_operator.api.status import Stage
from deepseek_operator.lifecycle.clock import moment, seconds_until, stamp
from deepseek_operator.lifecycle.entries import INCIDENTS_KEPT, GroupEntry, Incident, Member
from deepseek_operator.lifecycle.incidents import STABLE_SECONDS, backoff_seconds, find_incident
from deepseek_operator.lifecycle.records import PodRecord, StatefulSetRecord
from deepseek_operator.lifecycle.stages import stage_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What the cluster shows of one group."""

    stateful_set: StatefulSetRecord | None
    pods: tuple[PodRecord, ...]
    dead_nodes: Collection[str] = frozenset()

    @property
    def stopped(self) -> bool:
        """Nothing runs, and the StatefulSet's controller has seen that nothing should."""
        owner = self.stateful_set
        return not self.pods and (
            owner is None or (owner.replicas == 0 and owner.current_replicas == 0 and owner.observed)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StartWith:
    """The revision that the next incarnation gets."""

    revision: str
    template_hash: str


def advance(
    entry: GroupEntry,
    observed: Observed,
    *,
    size: int,
    start_with: StartWith | None,
    suspended: bool,
    seed: str,
    now: datetime,
) -> GroupEntry:
    """The entry after what is seen now. `size` is the number of pods of the incarnation that runs."""
    if entry.intent == "Run":
        return _advance_running(entry, observed, size=size, seed=seed, now=now)
    if not observed.stopped:
        return _staged(entry, "Draining", _draining(observed.pods), now=now)
    if entry.intent == "Remove":
        return _staged(entry, "Draining", "removing the group's objects", now=now)
    if suspended:
        return _staged(replace(entry, members=()), "Suspended", "", now=now)
    changed = start_with is not None and start_with.revision != entry.revision
    if seconds_until(entry.not_before, now=now) > 0 and not changed:
        return _staged(entry, "BackingOff", f"next start at {entry.not_before}", now=now)
    if start_with is None:
        return _staged(entry, "Failed", "no revision to start: see condition Accepted", now=now)
    started = replace(
        entry,
        intent="Run",
        incarnation=entry.incarnation + 1,
        revision=start_with.revision,
        template_hash=start_with.template_hash,
        members=(),
        ready=False,
        formed=False,
        stable_since="",
        not_before="",
    )
    return _staged(started, "Pending", "starting", now=now)


def stop(entry: GroupEntry, *, why: str, now: datetime) -> GroupEntry:
    """Our own decision to stop a group (rollout, suspend): no incident, no backoff."""
    stopping = replace(entry, intent="Stop", ready=False, stable_since="", not_before="", restarts=0)
    return _staged(stopping, "Draining", why, now=now)


def remove(entry: GroupEntry, *, now: datetime) -> GroupEntry:
    """Scale down: stop the group and delete its objects."""
    return _staged(replace(entry, intent="Remove", ready=False, stable_since=""), "Draining", "scaled down", now=now)


def fail(entry: GroupEntry, incident: Incident, *, seed: str, now: datetime) -> GroupEntry:
    """Stop a group because of an incident, with the evidence and the time of the next start."""
    forgiven = bool(entry.stable_since and (now - moment(entry.stable_since)).total_seconds() >= STABLE_SECONDS)
    restarts = 1 if forgiven else entry.restarts + 1
    wait = backoff_seconds(restarts, seed=f"{seed}/{entry.index}/{restarts}")
    stopping = replace(
        entry,
        intent="Stop",
        ready=False,
        stable_since="",
        restarts=restarts,
        not_before=stamp(now + timedelta(seconds=wait)) if wait else "",
        incidents=(incident, *entry.incidents)[:INCIDENTS_KEPT],
    )
    return _staged(stopping, "Draining", incident.message, now=now)


def _advance_running(entry: GroupEntry, observed: Observed, *, size: int, seed: str, now: datetime) -> GroupEntry:
    if incident := _incident(entry, observed, now=now):
        return fail(entry, incident, seed=seed, now=now)
    pods = [pod for pod in observed.pods if pod.incarnation == entry.incarnation]
    older = len(observed.pods) - len(pods)
    if older:
        return _staged(entry, "Draining", f"waiting for {older} pods of an earlier incarnation", now=now)
    stage, message = stage_of(pods, size=size)
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
        formed=entry.formed or serving,
        stable_since=(entry.stable_since or stamp(now)) if serving else "",
    )
    return _staged(moved, stage, message, now=now)


def _incident(entry: GroupEntry, observed: Observed, *, now: datetime) -> Incident | None:
    owner = observed.stateful_set
    time = stamp(now)
    if found := find_incident(entry, observed.pods, dead_nodes=observed.dead_nodes, time=time):
        return found
    if owner is None:
        if entry.members or observed.pods:
            return Incident(time=time, reason="StatefulSetDeleted", message="The StatefulSet was deleted")
        return None
    if owner.incarnation > entry.incarnation:
        return Incident(
            time=time,
            reason="StatusBehind",
            message=f"The StatefulSet runs incarnation {owner.incarnation}, later than recorded",
        )
    if owner.incarnation == entry.incarnation and owner.replicas == 0:
        return Incident(time=time, reason="ScaledByHand", message="The StatefulSet was scaled to 0 by hand")
    return None


def _members(pods: Sequence[PodRecord]) -> tuple[Member, ...]:
    return tuple(Member(rank=pod.rank, uid=pod.uid, node=pod.node) for pod in pods)


def _draining(pods: Sequence[PodRecord]) -> str:
    if not pods:
        return "waiting for the StatefulSet to settle at 0"
    return "waiting for the end of ranks " + ", ".join(str(pod.rank) for pod in pods)


def _staged(entry: GroupEntry, stage: Stage, message: str, *, now: datetime) -> GroupEntry:
    since = entry.since if entry.stage == stage and entry.since else stamp(now)
    return replace(entry, stage=stage, message=message, since=since)

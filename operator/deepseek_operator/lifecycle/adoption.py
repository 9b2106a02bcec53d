"""Groups that exist while status does not know them: after a backup was restored or status was wiped.

A group that visibly works (pods of one incarnation, no engine ever restarted, all ready) is taken over as it is.
A completed batch stays so. Any other is restarted once, since nobody can tell whether its ranks belong together.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from deepseek_operator.lifecycle.batch import complete, has_completed
from deepseek_operator.lifecycle.clock import stamp
from deepseek_operator.lifecycle.entries import GroupEntry, Incident, Member, read_entry
from deepseek_operator.lifecycle.groups import stop
from deepseek_operator.lifecycle.records import PodRecord, Snapshot, WorkloadRecord


def read_entries(snapshot: Snapshot, *, now: datetime) -> tuple[GroupEntry, ...]:
    """The entries of status, completed by what exists without one."""
    entries = {item["index"]: read_entry(item) for item in snapshot.deployment.status.get("groups", ())}
    for index, owner in snapshot.workloads.items():
        if index not in entries:
            entries[index] = _adopt(owner, snapshot.pods.get(index, ()), now=now)
    return tuple(entries[index] for index in sorted(entries))


def _adopt(owner: WorkloadRecord, pods: tuple[PodRecord, ...], *, now: datetime) -> GroupEntry:
    entry = GroupEntry(
        index=owner.group,
        revision=owner.revision,
        template_hash=owner.template_hash,
        incarnation=owner.incarnation,
        stage="Pending",
        since=stamp(now),
    )
    if has_completed(entry, owner):
        return replace(complete(entry, now=now), stage="Completed")
    if _works(owner, pods):
        members = tuple(Member(rank=pod.rank, uid=pod.uid, node=pod.node) for pod in pods)
        return GroupEntry(
            index=entry.index,
            revision=entry.revision,
            template_hash=entry.template_hash,
            incarnation=entry.incarnation,
            stage="Serving",
            since=entry.since,
            members=members,
            ready=True,
            formed=True,
            stable_since=entry.since,
        )
    lost = Incident(
        time=stamp(now),
        reason="StatusLost",
        message="Status was lost and the group was not serving; nobody can tell whether its ranks belong together",
    )
    # At once, and without a word about the budget: the count was lost with the rest.
    stopping = stop(entry, why=lost.message, now=now)
    return replace(stopping, incidents=(lost,))


def _works(owner: WorkloadRecord, pods: tuple[PodRecord, ...]) -> bool:
    return (
        owner.replicas > 0
        and len(pods) == owner.replicas
        and all(
            pod.ready and not pod.deleting and pod.engine.restarts == 0 and pod.incarnation == owner.incarnation
            for pod in pods
        )
    )

"""One decision about one deployment: from what is seen and planned to status and actions. Pure.

The order is the crash safety: the executor writes status first, then carries the actions out; each action is
derived again from status and the cluster on the next pass, so a crash between any two of them changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from deepseek_operator.lifecycle.actions import (
    Action,
    Apply,
    CreateOnce,
    Decision,
    Delete,
    ForceDeletePod,
    StartGroup,
    StopGroup,
)
from deepseek_operator.lifecycle.adoption import read_entries
from deepseek_operator.lifecycle.clock import seconds_until, stamp
from deepseek_operator.lifecycle.entries import GroupEntry
from deepseek_operator.lifecycle.groups import Observed, StartWith, advance
from deepseek_operator.lifecycle.objects import difference, group_children, mend, surplus_revisions
from deepseek_operator.lifecycle.outcome import Outcome
from deepseek_operator.lifecycle.records import Snapshot, StatefulSetRecord
from deepseek_operator.lifecycle.rollout import plan_groups
from deepseek_operator.lifecycle.status import build_status
from deepseek_operator.lifecycle.transitions import transitions
from deepseek_operator.render.apply_order import group_objects, shared_objects
from deepseek_operator.render.digest import with_desired_hash
from deepseek_operator.render.owner import Owner, group_labels
from deepseek_operator.render.revision import RevisionContent, controller_revision
from deepseek_operator.render.secret import keys_secret

CREATED_ONCE_KINDS = frozenset({"PersistentVolume", "PersistentVolumeClaim"})
"""Neither watched nor mended: made before a group starts, shared, and outliving the deployment."""


def decide(snapshot: Snapshot, outcome: Outcome, *, now: datetime) -> Decision:
    """What status should say and what should be done, in that order."""
    target = _target(outcome)
    suspended = outcome.spec.suspend if outcome.spec else False
    entries = plan_groups(
        read_entries(snapshot, now=now),
        desired=_desired_groups(snapshot, outcome),
        suspended=suspended,
        target=target,
        now=now,
    )
    entries = tuple(
        _advance(snapshot, outcome, entry, target=target, suspended=suspended, now=now) for entry in entries
    )
    entries = tuple(entry for entry in entries if not _removed(snapshot, entry))
    status = build_status(snapshot, outcome, entries, target=target, time=stamp(now))
    return Decision(
        status=status,
        actions=tuple(_Work(snapshot=snapshot, outcome=outcome).actions(entries)),
        events=transitions(snapshot.deployment.status, status),
        requeue_seconds=_requeue(entries, now=now),
    )


def _target(outcome: Outcome) -> StartWith | None:
    if outcome.content is None:
        return None
    return StartWith(revision=outcome.content.hash, template_hash=outcome.content.template_hash)


def _desired_groups(snapshot: Snapshot, outcome: Outcome) -> int:
    """Groups wanted. A spec that cannot be read moves nothing, not even the number."""
    if outcome.spec is not None:
        return outcome.spec.replicas
    return len(snapshot.deployment.status.get("groups", ()))


def _advance(
    snapshot: Snapshot,
    outcome: Outcome,
    entry: GroupEntry,
    *,
    target: StartWith | None,
    suspended: bool,
    now: datetime,
) -> GroupEntry:
    observed = _observed(snapshot, entry.index)
    content = _content(outcome, entry)
    own = StartWith(revision=entry.revision, template_hash=entry.template_hash) if content else None
    owner = observed.stateful_set
    size = content.nodes_per_group if content else max(len(entry.members), owner.replicas if owner else 1)
    return advance(
        entry,
        observed,
        size=size,
        start_with=target or own,
        suspended=suspended,
        seed=snapshot.deployment.uid,
        now=now,
    )


def _observed(snapshot: Snapshot, index: int) -> Observed:
    return Observed(
        stateful_set=snapshot.stateful_sets.get(index),
        pods=snapshot.pods.get(index, ()),
        dead_nodes=snapshot.dead_nodes,
    )


def _content(outcome: Outcome, entry: GroupEntry) -> RevisionContent | None:
    """The revision that an entry runs; None when it was lost."""
    candidates = (outcome.content, outcome.contents.get(entry.revision))
    for content in candidates:
        if content and (content.hash, content.template_hash) == (entry.revision, entry.template_hash):
            return content
    return None


def _removed(snapshot: Snapshot, entry: GroupEntry) -> bool:
    name = snapshot.deployment.name
    return entry.intent == "Remove" and not (
        snapshot.pods.get(entry.index) or group_children(snapshot.children, deployment=name, index=entry.index)
    )


def _requeue(entries: Sequence[GroupEntry], *, now: datetime) -> float | None:
    waits = [seconds_until(entry.not_before, now=now) for entry in entries if entry.stage == "BackingOff"]
    return min(waits) + 0.1 if waits else None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """Actions from entries: each a difference between what the entry says and what exists."""

    snapshot: Snapshot
    outcome: Outcome

    @property
    def _owner(self) -> Owner:
        deployment = self.snapshot.deployment
        return Owner(name=deployment.name, namespace=deployment.namespace, uid=deployment.uid)

    def actions(self, entries: Sequence[GroupEntry]) -> Iterator[Action]:
        starting = any(self._starts(entry) for entry in entries)
        yield from self._revision()
        yield from self._shared(starting=starting)
        for entry in entries:
            yield from self._group(entry)
        yield from surplus_revisions(
            self.snapshot.revisions,
            in_use={
                *(entry.revision for entry in entries),
                self.outcome.content.hash if self.outcome.content else "",
            },
        )

    def _revision(self) -> Iterator[Action]:
        content = self.outcome.content
        if content is None or self.outcome.stored:
            return
        replaced = self.snapshot.revisions.get(content.hash)
        if replaced is not None:
            yield Delete(kind=replaced.kind, name=replaced.name, uid=replaced.uid)
        number = 1 + max((record.number for record in self.snapshot.revisions.values()), default=0)
        manifest = with_desired_hash(controller_revision(self._owner, content, number))
        yield Apply(manifest=manifest, uid=None, why="missing")

    def _shared(self, *, starting: bool) -> Iterator[Action]:
        spec, plan = self.outcome.spec, self.outcome.plan
        if spec is None or plan is None:
            return
        if starting and spec.access.keys.mode == "generate":
            api_key, admin_key = self.outcome.keys
            yield CreateOnce(manifest=keys_secret(self._owner, api_key=api_key, admin_key=admin_key))
        manifests = shared_objects(self._owner, spec, plan, config=self.outcome.config)
        if starting:
            yield from (
                CreateOnce(manifest=manifest) for manifest in manifests if manifest["kind"] in CREATED_ONCE_KINDS
            )
        watched = [manifest for manifest in manifests if manifest["kind"] not in CREATED_ONCE_KINDS]
        yield from mend(watched, self.snapshot.children)

    def _group(self, entry: GroupEntry) -> Iterator[Action]:
        owner = self.snapshot.stateful_sets.get(entry.index)
        if entry.intent == "Run":
            yield from self._run(entry, owner)
            return
        if owner is not None and owner.replicas:
            yield StopGroup(name=owner.name, uid=owner.uid, group=entry.index, incarnation=owner.incarnation)
        yield from self._force(entry)
        if entry.intent == "Remove" and _observed(self.snapshot, entry.index).stopped:
            name = self.snapshot.deployment.name
            for child in group_children(self.snapshot.children, deployment=name, index=entry.index):
                yield Delete(kind=child.kind, name=child.name, uid=child.uid)

    def _force(self, entry: GroupEntry) -> Iterator[Action]:
        for pod in self.snapshot.pods.get(entry.index, ()):
            if pod.deleting and pod.node in self.snapshot.dead_nodes:
                yield ForceDeletePod(name=pod.name, uid=pod.uid)
            elif not pod.deleting and entry.index not in self.snapshot.stateful_sets:
                # Their StatefulSet was deleted and left them behind: nobody else will stop them.
                yield Delete(kind="Pod", name=pod.name, uid=pod.uid)

    def _run(self, entry: GroupEntry, owner: StatefulSetRecord | None) -> Iterator[Action]:
        content = _content(self.outcome, entry)
        if content is None:
            return
        *others, stateful_set = group_objects(
            self._owner,
            entry.index,
            content,
            incarnation=entry.incarnation,
            replicas=content.nodes_per_group,
            config=self.outcome.config,
        )
        yield from mend(others, self.snapshot.children)
        if self._starts(entry):
            if owner is not None and owner.immutable_hash != content.immutable_hash:
                yield Delete(kind=owner.kind, name=owner.name, uid=owner.uid)
            elif not self.snapshot.pods.get(entry.index):
                selector = group_labels(self._owner, entry.index)
                yield StartGroup(
                    manifest=with_desired_hash(stateful_set),
                    uid=owner.uid if owner else None,
                    pod_selector=",".join(f"{key}={value}" for key, value in sorted(selector.items())),
                    incarnation=entry.incarnation,
                )
        elif why := difference(stateful_set, owner):
            uid = owner.uid if owner else None
            yield Apply(manifest=with_desired_hash(stateful_set), uid=uid, why=why)

    def _starts(self, entry: GroupEntry) -> bool:
        """The entry's incarnation has not been given to its StatefulSet yet."""
        owner = self.snapshot.stateful_sets.get(entry.index)
        return entry.intent == "Run" and (owner is None or owner.incarnation != entry.incarnation)

"""Entries against what is seen: one deployment's judgement at one moment. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property

from deepseek_operator.catalog.operations.load import load_operations
from deepseek_operator.lifecycle.adoption import read_entries
from deepseek_operator.lifecycle.clock import moment
from deepseek_operator.lifecycle.devices import troubled
from deepseek_operator.lifecycle.entries import GroupEntry
from deepseek_operator.lifecycle.groups import Limits, Observed, StartWith, advance, given_up
from deepseek_operator.lifecycle.nodes import dead_nodes, drained, next_loss
from deepseek_operator.lifecycle.outcome import Outcome
from deepseek_operator.lifecycle.policy import Policy, Shape, read_policy, shape_of
from deepseek_operator.lifecycle.preparation import Preparation, preparation
from deepseek_operator.lifecycle.pulls import next_try
from deepseek_operator.lifecycle.records import BatchRecord, Snapshot, WorkloadRecord
from deepseek_operator.lifecycle.warmup import WarmUps, due, pulling
from deepseek_operator.lifecycle.watchdogs import watchdogs
from deepseek_operator.render.pull import engine_image
from deepseek_operator.render.revision import Workload


@dataclass(frozen=True, kw_only=True)
class Judge:
    """What the snapshot means for the entries of status."""

    snapshot: Snapshot
    outcome: Outcome
    now: datetime

    @cached_property
    def policy(self) -> Policy:
        """The user's patience."""
        return read_policy(self.outcome.spec)

    @cached_property
    def dead_nodes(self) -> frozenset[str]:
        """Nodes of our pods that will not come back."""
        return dead_nodes(self._nodes, self.snapshot.nodes, lost_after=self.policy.node_lost_after, now=self.now)

    @cached_property
    def _nodes(self) -> frozenset[str]:
        return frozenset(pod.node for pods in self.snapshot.pods.values() for pod in pods if pod.node)

    def known(self) -> tuple[GroupEntry, ...]:
        """The entries of status, completed by groups that status does not know.

        Whether a group serves is what is seen now: an exchange must not count on one that failed since status was
        written.
        """
        entries = read_entries(self.snapshot, now=self.now)
        return tuple(replace(entry, ready=self._serves(entry)) for entry in entries)

    def _serves(self, entry: GroupEntry) -> bool:
        return entry.intent == "Run" and self.advance(entry, target=None, suspended=False).ready

    def observed(self, index: int) -> Observed:
        """What is seen of a group."""
        owner, pods = self.snapshot.workloads.get(index), self.snapshot.pods.get(index, ())
        uids = [self.snapshot.deployment.uid, *([owner.uid] if owner else []), *(pod.uid for pod in pods)]
        told = (self.snapshot.troubles[uid] for uid in uids if uid in self.snapshot.troubles)
        return Observed(
            workload=owner,
            pods=pods,
            dead_nodes=self.dead_nodes,
            trouble=next(told, ""),
            troubles={pod.uid: found for pod in pods if (found := troubled(pod, self.snapshot.nodes))},
            last_lines=self.snapshot.last_lines.get(index),
        )

    def advance(self, entry: GroupEntry, *, target: StartWith | None, suspended: bool) -> GroupEntry:
        """The entry after what is seen."""
        content = self.outcome.content_of(entry.revision, entry.template_hash)
        own = StartWith(revision=entry.revision, template_hash=entry.template_hash) if content else None
        return advance(
            entry,
            replace(self.observed(entry.index), preparing=self.held_for_weights(entry)),
            limits=self._limits(entry),
            start_with=target or own,
            # A spec that cannot be read moves nothing, not even out of suspension.
            suspended=suspended or (self.outcome.spec is None and entry.stage == "Suspended"),
            now=self.now,
        )

    def warm_ups(self, target: StartWith | None) -> WarmUps | None:
        """What the images of serving groups are judged by; None where nothing is to replace them."""
        content = self.outcome.content
        if target is None or content is None or (self.outcome.spec and self.outcome.spec.suspend):
            return None
        return WarmUps(
            target=target,
            image=engine_image(content),
            policy=self.policy,
            pulls=self.snapshot.pulls,
            image_of=self._image,
            nodes_of=self.usable_nodes,
        )

    def _image(self, entry: GroupEntry) -> str:
        content = self.outcome.content_of(entry.revision, entry.template_hash)
        return engine_image(content) if content else ""

    def usable_nodes(self, index: int) -> frozenset[str]:
        """Nodes of a group on which it may start again: neither lost nor to be emptied."""
        taints = load_operations().drain_taints
        names = {pod.node for pod in self.snapshot.pods.get(index, ()) if pod.node} - self.dead_nodes
        return frozenset(name for name in names if not drained([name], self.snapshot.nodes, taints=taints))

    @cached_property
    def preparation(self) -> Preparation:
        """What the current revision's weights need before a group starts."""
        return preparation(self.snapshot, self.outcome)

    def held_for_weights(self, entry: GroupEntry) -> str:
        """Why an incarnation of the current revision may not start yet; empty when it may, or has."""
        content, owner = self.outcome.content, self.snapshot.workloads.get(entry.index)
        if content is None or entry.revision != content.hash:
            return ""
        if owner is not None and owner.incarnation == entry.incarnation:
            return ""
        return self.preparation.message

    def opened(self, entries: Sequence[GroupEntry]) -> frozenset[int]:
        """Groups that a drain may take: one of their nodes is to be emptied, and enough others serve.

        Cordoning alone stops nothing: the budget is open, but nobody evicts.
        """
        active = [entry for entry in entries if entry.intent != "Remove"]
        spare = sum(entry.working for entry in active) - (len(active) - max(1, self.policy.max_unavailable))
        opened: set[int] = set()
        for entry in active:
            if not self.draining(entry.index):
                continue
            if entry.working:
                if spare <= 0:
                    continue
                spare -= 1
            opened.add(entry.index)
        return frozenset(opened)

    def draining(self, index: int) -> str:
        """The node of a group that somebody empties, and by which taint; empty when none."""
        names = {pod.node for pod in self.snapshot.pods.get(index, ()) if pod.node}
        return drained(names, self.snapshot.nodes, taints=load_operations().drain_taints)

    def requeue(self, entries: Sequence[GroupEntry]) -> float | None:
        """Seconds until time alone changes the judgement; None when it never does."""
        dues = [
            moment(entry.not_before)
            for entry in entries
            if entry.intent == "Stop" and entry.not_before and not given_up(entry)
        ]
        for entry in entries:
            if pulling(entry) and entry.warm_up:
                dues += [due(entry.warm_up, self.policy), *next_try(self.snapshot.pulls)]
            if entry.intent == "Run":
                limits = self._limits(entry)
                pods = self.snapshot.pods.get(entry.index, ())
                running = watchdogs(entry, pods, shape=limits.shape, policy=self.policy, seed=limits.seed)
                dues += [dog.due for dog in running]
        loss = next_loss(self._nodes, self.snapshot.nodes, lost_after=self.policy.node_lost_after, now=self.now)
        dues += [loss] if loss else []
        waits = [(due - self.now).total_seconds() for due in dues if due > self.now]
        return min(waits) + 0.1 if waits else None

    def _limits(self, entry: GroupEntry) -> Limits:
        content = self.outcome.content_of(entry.revision, entry.template_hash)
        owner = self.snapshot.workloads.get(entry.index)
        shape = shape_of(content) if content else _seen_shape(entry, owner)
        return Limits(
            shape=shape,
            policy=self.policy,
            operations=load_operations(),
            seed=self.snapshot.deployment.uid,
        )


def _seen_shape(entry: GroupEntry, owner: WorkloadRecord | None) -> Shape:
    """For a group whose revision was lost."""
    workload: Workload = "Job" if isinstance(owner, BatchRecord) else "StatefulSet"
    return Shape(size=max(len(entry.members), owner.replicas if owner else 1), workload=workload)

"""One decision about one deployment: from what is seen and planned to status and actions. Pure.

The order is the crash safety: the executor writes status first, then carries the actions out; each action is
derived again from status and the cluster on the next pass, so a crash between any two of them changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any

from deepseek_operator.api.names import pod_name
from deepseek_operator.api.resource import Spec
from deepseek_operator.lifecycle.actions import (
    Action,
    Apply,
    CreateOnce,
    Decision,
    Delete,
    DeletePod,
    DropLostClaims,
    DropPodGroup,
    EnsurePodGroup,
    StartGroup,
    StopGroup,
)
from deepseek_operator.lifecycle.clock import stamp
from deepseek_operator.lifecycle.entries import GroupEntry
from deepseek_operator.lifecycle.fabric import with_fabric
from deepseek_operator.lifecycle.groups import StartWith
from deepseek_operator.lifecycle.incidents import BROKEN_GRACE_SECONDS, drains_in_vain
from deepseek_operator.lifecycle.judge import Judge
from deepseek_operator.lifecycle.objects import group_children, groups_of, mend, surplus_revisions
from deepseek_operator.lifecycle.outcome import Outcome
from deepseek_operator.lifecycle.preparation import with_progress
from deepseek_operator.lifecycle.pulls import work
from deepseek_operator.lifecycle.records import BatchRecord, JobRecord, PodRecord, Snapshot, WorkloadRecord
from deepseek_operator.lifecycle.reported import with_reports
from deepseek_operator.lifecycle.rollout import plan_groups
from deepseek_operator.lifecycle.settled import Question, is_settled, settle
from deepseek_operator.lifecycle.stages import CONFIG_REASONS
from deepseek_operator.lifecycle.status import build_status, paused_status
from deepseek_operator.lifecycle.transitions import transitions
from deepseek_operator.lifecycle.warmup import pulling, without
from deepseek_operator.render.apply_order import CREATED_ONCE_KINDS, POD_GROUP, group_objects, shared_objects
from deepseek_operator.render.digest import with_desired_hash
from deepseek_operator.render.gang import pod_group
from deepseek_operator.render.owner import Owner, group_labels
from deepseek_operator.render.revision import RevisionContent, controller_revision
from deepseek_operator.render.secret import keys_secret, needs_ssh, ssh_secret


def decide(snapshot: Snapshot, outcome: Outcome, *, now: datetime) -> Decision:
    """What status should say and what should be done, in that order."""
    if snapshot.deployment.paused:
        return _hands_off(snapshot, now=now)
    judge = Judge(snapshot=snapshot, outcome=outcome, now=now)
    target = _target(outcome)
    suspended = outcome.spec.suspend if outcome.spec else False
    recorded = judge.known()
    warm_ups = judge.warm_ups(target)
    known = warm_ups.warmed(recorded, now=now) if warm_ups else tuple(without(entry) for entry in recorded)
    entries = plan_groups(
        known,
        desired=_desired_groups(known, outcome),
        suspended=suspended,
        target=target,
        policy=judge.policy,
        held=warm_ups.held(recorded, known) if warm_ups else frozenset(),
        now=now,
        prepared=judge.preparation.complete,
    )
    entries = tuple(judge.advance(entry, target=target, suspended=suspended) for entry in entries)
    entries = tuple(_warm_up_told(entry) for entry in entries if not _removed(snapshot, entry))
    entries = with_reports(entries, snapshot.reports)
    entries = tuple(with_fabric(entry, snapshot.pods.get(entry.index, ())) for entry in entries)
    entries = tuple(with_progress(entry, snapshot, judge.preparation) for entry in entries)
    status = build_status(snapshot, outcome, entries, target=target, time=stamp(now))
    work = _Work(judge=judge, opened=judge.opened(entries))
    return Decision(
        status=status,
        actions=tuple(work.actions(entries)),
        events=transitions(snapshot.deployment.status, status),
        requeue_seconds=judge.requeue(entries),
    )


def _hands_off(snapshot: Snapshot, *, now: datetime) -> Decision:
    """Paused: nothing is written but the condition that says so."""
    status = paused_status(snapshot.deployment, time=stamp(now))
    return Decision(
        status=status, actions=(), events=transitions(snapshot.deployment.status, status), requeue_seconds=None
    )


def _target(outcome: Outcome) -> StartWith | None:
    if outcome.content is None:
        return None
    return StartWith(revision=outcome.content.hash, template_hash=outcome.content.template_hash)


def _desired_groups(known: Sequence[GroupEntry], outcome: Outcome) -> int:
    """Groups wanted. A spec that cannot be read moves nothing, not even the number."""
    if outcome.spec is not None:
        return outcome.spec.replicas
    # Not the number in status: groups that were adopted after status was lost count, too.
    return sum(entry.intent != "Remove" for entry in known)


def _warm_up_told(entry: GroupEntry) -> GroupEntry:
    """A group that serves and waits for an image says so; one that does not serve waits for none."""
    if not (entry.intent == "Run" and entry.ready):
        return without(entry)
    return replace(entry, message=entry.warm_up.message) if pulling(entry) and entry.warm_up else entry


def _removed(snapshot: Snapshot, entry: GroupEntry) -> bool:
    name = snapshot.deployment.name
    return entry.intent == "Remove" and not (
        snapshot.pods.get(entry.index) or group_children(snapshot.children, deployment=name, index=entry.index)
    )


@dataclass(frozen=True, kw_only=True)
class _Work:
    """Actions from entries: each a difference between what the entry says and what exists."""

    judge: Judge
    opened: frozenset[int]
    """Groups whose budget lets a drain through."""

    @property
    def snapshot(self) -> Snapshot:
        """What is seen."""
        return self.judge.snapshot

    @property
    def outcome(self) -> Outcome:
        """What is planned."""
        return self.judge.outcome

    @property
    def _owner(self) -> Owner:
        deployment = self.snapshot.deployment
        return Owner(name=deployment.name, namespace=deployment.namespace, uid=deployment.uid)

    def actions(self, entries: Sequence[GroupEntry]) -> Iterator[Action]:
        """Stops come first: nothing that fails may keep a group from ending as one."""
        starting = any(self._starts_now(entry) or self._lacks_config(entry) for entry in entries)
        for entry in entries:
            yield from self._stop(entry)
        for entry in entries:
            yield from self._end_pods(entry)
        yield from self._pulls(entries)
        yield from self._revision()
        yield from self._shared(starting=starting)
        for entry in entries:
            yield from self._group(entry)
        yield from self._leftovers(known={entry.index for entry in entries})
        yield from surplus_revisions(
            self.snapshot.revisions,
            in_use={
                *(entry.revision for entry in entries),
                self.outcome.content.hash if self.outcome.content else "",
            },
        )

    def _pulls(self, entries: Sequence[GroupEntry]) -> Iterator[Action]:
        waiting = [entry for entry in entries if pulling(entry)]
        nodes = frozenset(node for entry in waiting for node in self.judge.usable_nodes(entry.index))
        content = self.outcome.content if waiting else None
        yield from work(self._owner, nodes, content, self.snapshot.pulls, now=self.judge.now)

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
        if starting and plan.engine.api and spec.access.keys.mode == "generate":
            new = self.outcome.new_secrets
            yield CreateOnce(manifest=keys_secret(self._owner, api_key=new.api_key, admin_key=new.admin_key))
        if starting and self.outcome.content is not None and needs_ssh(self.outcome.content.template):
            yield CreateOnce(manifest=ssh_secret(self._owner, seed=self.outcome.new_secrets.ssh_seed))
        manifests = shared_objects(self._owner, spec, plan, config=self.outcome.config)
        if starting:
            yield from (
                CreateOnce(manifest=manifest) for manifest in manifests if manifest["kind"] in CREATED_ONCE_KINDS
            )
        if not plan.engine.api:
            yield from self._drop_api()
        watched = [manifest for manifest in manifests if manifest["kind"] not in CREATED_ONCE_KINDS]
        yield from mend(watched, self.snapshot.children)
        yield from self._preparation(spec)

    def _preparation(self, spec: Spec) -> Iterator[Action]:
        """The Job of the current weights; those of earlier ones end with what they wrote kept."""
        job = self.judge.preparation.job
        if job is not None and spec.replicas and not spec.suspend:
            yield from mend([job], self.snapshot.children)
        wanted = job["metadata"]["name"] if job else ""
        for child in self.snapshot.children.values():
            # A group's own Job is none of these.
            if isinstance(child, JobRecord) and child.name != wanted:
                yield Delete(kind=child.kind, name=child.name, uid=child.uid)

    def _drop_api(self) -> Iterator[Action]:
        """What an earlier spec's engine served under the deployment's name, once nothing of it runs."""
        content, name = self.outcome.content, self.snapshot.deployment.name
        if content is None or any(owner.revision != content.hash for owner in self.snapshot.workloads.values()):
            return
        for kind in ("Service", "NetworkPolicy"):
            if (child := self.snapshot.children.get((kind, name))) is not None:
                yield Delete(kind=child.kind, name=child.name, uid=child.uid)

    def _leftovers(self, *, known: Collection[int]) -> Iterator[Action]:
        """What is left of groups that neither status nor a workload tells of: status was lost half-way."""
        name = self.snapshot.deployment.name
        for index in sorted(
            (groups_of(self.snapshot.children, deployment=name) | self.snapshot.pods.keys()) - set(known)
        ):
            pods = self.snapshot.pods.get(index, ())
            yield from (self._end(pod) for pod in pods if not pod.deleting or pod.node in self.judge.dead_nodes)
            if not pods:
                yield from self._delete_children(index)

    def _delete_children(self, index: int) -> Iterator[Action]:
        name = self.snapshot.deployment.name
        for child in group_children(self.snapshot.children, deployment=name, index=index):
            yield Delete(kind=child.kind, name=child.name, uid=child.uid)

    def _end(self, pod: PodRecord) -> Action:
        """A kubelet that is gone confirms nothing."""
        lost = pod.deleting and pod.node in self.judge.dead_nodes
        return DeletePod(name=pod.name, uid=pod.uid, grace_seconds=0 if lost else None)

    def _stop(self, entry: GroupEntry) -> Iterator[Action]:
        owner = self.snapshot.workloads.get(entry.index)
        if entry.intent != "Run" and isinstance(owner, BatchRecord):
            # Each start is a Job of its own; its pods go with it.
            yield Delete(kind=owner.kind, name=owner.name, uid=owner.uid)
        elif entry.intent != "Run" and owner is not None and owner.replicas:
            yield StopGroup(name=owner.name, uid=owner.uid, group=entry.index, incarnation=owner.incarnation)

    def _end_pods(self, entry: GroupEntry) -> Iterator[Action]:
        if entry.intent == "Run":
            return
        owner = self.snapshot.workloads.get(entry.index)
        for pod in self.snapshot.pods.get(entry.index, ()):
            stuck = pod.deleting and pod.node in self.judge.dead_nodes
            left_behind = owner is None and not pod.deleting
            if stuck or left_behind:
                yield self._end(pod)
            elif drains_in_vain(entry, pod):
                yield DeletePod(name=pod.name, uid=pod.uid, grace_seconds=BROKEN_GRACE_SECONDS)

    def _group(self, entry: GroupEntry) -> Iterator[Action]:
        owner = self.snapshot.workloads.get(entry.index)
        if entry.intent == "Run":
            yield from self._run(entry, owner)
            return
        if entry.intent == "Remove" and self.judge.observed(entry.index).stopped:
            yield from self._drop_gang(entry)
            yield from self._delete_children(entry.index)

    def _drop_gang(self, entry: GroupEntry) -> Iterator[Action]:
        content = self.outcome.content_of(entry.revision, entry.template_hash)
        if content and (gang := pod_group(self._owner, entry.index, content)):
            yield DropPodGroup(api_version=gang["apiVersion"], name=gang["metadata"]["name"])

    def _run(self, entry: GroupEntry, owner: WorkloadRecord | None) -> Iterator[Action]:
        content = self.outcome.content_of(entry.revision, entry.template_hash)
        if content is None:
            return
        if self._starts(entry):
            yield from self._start(entry, owner, content)
            return
        question = self._question(entry)
        if is_settled(question):
            return
        *others, workload = self._objects(entry, content)
        watched = [each for each in others if each["kind"] != POD_GROUP]
        if not isinstance(owner, BatchRecord) and not entry.completed:
            # A Job's template cannot be changed; what somebody else changes of a Job shows in its pods.
            watched.append(workload)
        mended = mend(watched, self.snapshot.children)
        yield from mended
        if not mended:
            settle(question)

    def _objects(self, entry: GroupEntry, content: RevisionContent) -> list[dict[str, Any]]:
        return group_objects(
            self._owner,
            entry.index,
            content,
            incarnation=entry.incarnation,
            replicas=content.nodes_per_group,
            config=self.outcome.config,
            avoided_nodes=entry.avoided_nodes,
            open_for_drain=entry.index in self.opened,
        )

    def _question(self, entry: GroupEntry) -> Question:
        """Are the objects of a running group as they should be?"""
        name = self.snapshot.deployment.name
        found = group_children(self.snapshot.children, deployment=name, index=entry.index)
        return Question(
            owner=self._owner,
            index=entry.index,
            revision=entry.revision,
            template_hash=entry.template_hash,
            incarnation=entry.incarnation,
            avoided_nodes=entry.avoided_nodes,
            open_for_drain=entry.index in self.opened,
            config=self._config,
            children=tuple((child.kind, child.desired_hash, child.owned_fields) for child in found),
        )

    @cached_property
    def _config(self) -> str:
        return self.outcome.config.model_dump_json()

    def _start(self, entry: GroupEntry, owner: WorkloadRecord | None, content: RevisionContent) -> Iterator[Action]:
        *others, workload = self._objects(entry, content)
        yield from mend((each for each in others if each["kind"] != POD_GROUP), self.snapshot.children)
        if not self._starts_now(entry):
            return
        yield from (EnsurePodGroup(manifest=each) for each in others if each["kind"] == POD_GROUP)
        if owner is not None and owner.immutable_hash != content.immutable_hash:
            yield Delete(kind=owner.kind, name=owner.name, uid=owner.uid)
        elif not self.snapshot.pods.get(entry.index):
            yield from self._lost_claims(entry, content)
            selector = group_labels(self._owner, entry.index)
            yield StartGroup(
                manifest=with_desired_hash(workload),
                uid=owner.uid if owner else None,
                resource_version=owner.resource_version if owner else None,
                group=entry.index,
                pod_selector=",".join(f"{key}={value}" for key, value in sorted(selector.items())),
                incarnation=entry.incarnation,
            )

    def _lost_claims(self, entry: GroupEntry, content: RevisionContent) -> Iterator[Action]:
        """Before a start that is not the first: claims may have stayed on a node that is gone."""
        if entry.incarnation <= 1 or not content.claim_templates:
            return
        name = self.snapshot.deployment.name
        yield DropLostClaims(
            group=entry.index,
            claims=tuple(
                f"{template['metadata']['name']}-{pod_name(name, entry.index, rank)}"
                for template in content.claim_templates
                for rank in range(content.nodes_per_group)
            ),
            lost_nodes=tuple(
                sorted({each.node for each in entry.incidents if each.reason == "NodeLost" and each.node})
            ),
        )

    def _lacks_config(self, entry: GroupEntry) -> bool:
        """An engine cannot start for want of something that is made once: the keys' Secret was deleted."""
        pods = self.snapshot.pods.get(entry.index, ())
        return entry.intent == "Run" and any(pod.engine.reason in CONFIG_REASONS for pod in pods)

    def _starts(self, entry: GroupEntry) -> bool:
        """The entry's incarnation has not been given to its workload yet."""
        owner = self.snapshot.workloads.get(entry.index)
        return (
            entry.intent == "Run" and not entry.completed and (owner is None or owner.incarnation != entry.incarnation)
        )

    def _starts_now(self, entry: GroupEntry) -> bool:
        """And nothing that takes hours comes first: what is made at a start is not asked for until then."""
        return self._starts(entry) and not self.judge.held_for_weights(entry)

"""A cluster in memory that does what decisions ask for: to tell stories over several decisions without I/O.

It is strict where the API server is: what exists cannot be made again, and what is applied or deleted must still have
the UID that was decided upon. Pods come and go when a test says so.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from deepseek_operator.api.config import OperatorConfig
from deepseek_operator.api.names import FIELD_MANAGER
from deepseek_operator.api.problems import Problem
from deepseek_operator.api.resource import Spec
from deepseek_operator.control.projections import project_child, project_job, project_revision, project_stateful_set
from deepseek_operator.lifecycle.actions import (
    Action,
    Apply,
    CreateOnce,
    Decision,
    Delete,
    DeletePod,
    StartGroup,
    StopGroup,
)
from deepseek_operator.lifecycle.decide import decide
from deepseek_operator.lifecycle.outcome import Outcome
from deepseek_operator.lifecycle.records import (
    ChildKey,
    ChildRecord,
    DeploymentRecord,
    NodeRecord,
    PodRecord,
    RevisionRecord,
    Snapshot,
    WorkloadRecord,
)
from deepseek_operator.plan.types import Plan, Refusal
from deepseek_operator.render.owner import Owner
from deepseek_operator.render.revision import RevisionContent, new_revision, parse
from tests.unit.lifecycle.observed import NOW, pod
from tests.unit.render.samples import H100_PLAN, LAUNCH, spec

OWNER = Owner(name="x", namespace="default", uid="cr")
KEYS = ("an api key", "an admin key")
CONFIG = OperatorConfig()
_PROJECT = {"StatefulSet": project_stateful_set, "Job": project_job, "ControllerRevision": project_revision}


def content(from_spec: Spec | None = None, plan: Plan = H100_PLAN) -> RevisionContent:
    return new_revision(owner=OWNER, spec=from_spec or spec(), plan=plan, launch=LAUNCH)


def owned(value: Any) -> dict[str, Any]:
    """The fieldsV1 of a manager that applied all of this."""
    if isinstance(value, Mapping):
        return {f"f:{key}": owned(member) for key, member in value.items()}
    if isinstance(value, list):
        items: dict[str, Any] = {}
        for item in value:
            if not isinstance(item, Mapping):
                items[f"v:{json.dumps(item)}"] = {}
            elif keys := {key: item[key] for key in ("uid", "name", "mountPath", "port") if key in item}:
                first = dict([next(iter(keys.items()))])
                items[f"k:{json.dumps(first)}"] = owned(item)
        return items
    return {}


class PureCluster:
    """One deployment and what became of it."""

    def __init__(self, **fields: Any) -> None:
        self.spec = spec(**fields)
        self.plan: Plan = H100_PLAN
        self.refusal: Refusal | None = None
        self.invalid: tuple[Problem, ...] = ()
        self.contents: dict[str, RevisionContent] = {}
        self.status: dict[str, Any] = {}
        self.objects: dict[ChildKey, dict[str, Any]] = {}
        self.once: dict[ChildKey, dict[str, Any]] = {}
        self.pods: list[PodRecord] = []
        self.dead_nodes: frozenset[str] = frozenset()
        self.name_taken: ChildKey | None = None
        self.generation = 1
        self.now: datetime = NOW
        self._version = 0

    def edit(self, **fields: Any) -> None:
        """A user's edit; what was refused before is forgotten."""
        self.spec = spec(**fields)
        self.refusal, self.invalid = None, ()
        self.generation += 1

    def refuse(self, *, waits_for_cluster: bool = False) -> None:
        """Planning finds nothing for the spec as it is now."""
        problem = Problem(field="spec.parallelism.tensor", reason="HeadsNotDivisible", message="use tensor 8 or 16")
        self.refusal = Refusal(problems=(problem,), considered=(), waits_for_cluster=waits_for_cluster)
        self.generation += 1

    def snapshot(self) -> Snapshot:
        children: dict[ChildKey, ChildRecord] = {
            key: _PROJECT.get(key[0], project_child)(body) for key, body in self.objects.items()
        }
        groups = {found.group for found in self.pods}
        return Snapshot(
            deployment=DeploymentRecord(
                name=OWNER.name,
                namespace=OWNER.namespace,
                uid=OWNER.uid,
                generation=self.generation,
                resource_version=1,
                deleting=False,
                spec={},
                status=self.status,
            ),
            workloads={c.group: c for c in children.values() if isinstance(c, WorkloadRecord)},
            pods={group: tuple(found for found in self.pods if found.group == group) for group in groups},
            children=children,
            revisions={c.revision: c for c in children.values() if isinstance(c, RevisionRecord)},
            nodes={found.node: NodeRecord(name=found.node) for found in self.pods if found.node not in self.dead_nodes},
            name_taken=self.name_taken,
        )

    def outcome(self) -> Outcome:
        if self.invalid:
            return Outcome(config=CONFIG, spec=None, invalid=self.invalid, contents=self.contents)
        if self.refusal:
            return Outcome(config=CONFIG, spec=self.spec, refusal=self.refusal, contents=self.contents)
        made = content(self.spec, self.plan)
        stored = self.snapshot().revisions.get(made.hash)
        return Outcome(
            config=CONFIG,
            spec=self.spec,
            content=made,
            plan=self.plan,
            stored=stored is not None and self.contents[made.hash].template_hash == made.template_hash,
            contents=self.contents,
            keys=KEYS,
        )

    def decide(self) -> Decision:
        """One decision, its status recorded; nothing is carried out."""
        decision = decide(self.snapshot(), self.outcome(), now=self.now)
        self.status = json.loads(json.dumps(decision.status))
        return decision

    def step(self) -> Decision:
        """One decision, carried out."""
        decision = self.decide()
        for action in decision.actions:
            self.carry_out(action)
        return decision

    def settle(self, *, steps: int = 20) -> None:
        """Decide, and let pods come and go, until nothing changes any more."""
        for _ in range(steps):
            before = copy.deepcopy((self.status, self.objects, self.pods))
            self.step()
            self.controllers()
            if (self.status, self.objects, self.pods) == before:
                return
        raise AssertionError(f"not settled after {steps} steps: {self.status['groups']}")

    def carry_out(self, action: Action) -> None:
        match action:
            case CreateOnce(manifest=manifest):
                self.once.setdefault((manifest["kind"], manifest["metadata"]["name"]), dict(manifest))
            case Apply(manifest=manifest, uid=uid):
                self._apply(manifest, uid)
            case StartGroup(manifest=manifest, uid=uid, incarnation=incarnation):
                group = int(manifest["metadata"]["labels"]["serving.deepseek-operator.io/group"])
                left = [found for found in self.pods if found.group == group and found.incarnation != incarnation]
                assert not left, "incarnations mix"
                self._apply(manifest, uid)
            case StopGroup(name=name, uid=uid):
                body = self.objects["StatefulSet", name]
                assert body["metadata"]["uid"] == uid
                body["spec"]["replicas"] = 0
            case Delete(kind=kind, name=name, uid=uid):
                assert self.objects.pop((kind, name))["metadata"]["uid"] == uid
                if kind == "Job":
                    # The garbage collector takes its pods.
                    self.pods = [found for found in self.pods if f"x-g{found.group}" != name]
            case DeletePod(uid=uid):
                self.pods = [found for found in self.pods if found.uid != uid]

    def _apply(self, manifest: Mapping[str, Any], uid: str | None) -> None:
        key = (manifest["kind"], manifest["metadata"]["name"])
        exists = self.objects.get(key)
        assert (exists["metadata"]["uid"] if exists else None) == uid, f"{key} has moved on"
        self._version += 1
        body: dict[str, Any] = copy.deepcopy(dict(manifest))
        entry = {"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": owned(manifest)}
        body["metadata"] |= {
            "uid": uid or f"uid-of-{key[0]}-{key[1]}-{self._version}",
            "resourceVersion": str(self._version),
            "managedFields": [entry],
        }
        body["status"] = exists["status"] if exists else {"replicas": 0}
        self.objects[key] = body
        if key[0] == "ControllerRevision":
            data = body["data"]
            self.contents[data["hash"]] = parse(body)

    def controllers(self) -> None:
        """The workloads' controllers, scheduler and kubelets: pods end, or come up and are ready."""
        for owner in self.snapshot().workloads.values():
            if self.objects[owner.kind, owner.name]["status"].get("conditions"):
                continue
            mine = [found for found in self.pods if found.group == owner.group and not found.deleting]
            present = {found.rank for found in mine}
            others = [found for found in self.pods if found.group != owner.group]
            added = [
                pod(rank, group=owner.group, incarnation=owner.incarnation)
                for rank in range(owner.replicas)
                if rank not in present
            ]
            self.pods = others + [found for found in mine if found.rank < owner.replicas] + added
            self.objects[owner.kind, owner.name]["status"] = {"replicas": owner.replicas}

    def end_job(self, kind: str, *, reason: str = "", message: str = "") -> None:
        """The Job of group 0 gets its last condition: Complete or Failed."""
        condition = {"type": kind, "status": "True", "reason": reason, "message": message}
        self.objects["Job", "x-g0"]["status"] = {"conditions": [condition]}

    def break_rank(self, rank: int, *, group: int = 0, **changes: Any) -> None:
        """One pod changes."""
        self.pods = [
            replace(found, **changes) if (found.group, found.rank) == (group, rank) else found for found in self.pods
        ]

    def group(self, index: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = next(group for group in self.status["groups"] if group["index"] == index)
        return found

    def condition(self, kind: str) -> dict[str, Any]:
        found: dict[str, Any] = next(c for c in self.status["conditions"] if c["type"] == kind)
        return found

    def kinds(self) -> list[str]:
        return sorted(kind for kind, _ in self.objects)


def serving(**fields: Any) -> PureCluster:
    """A deployment whose groups serve."""
    cluster = PureCluster(**fields)
    cluster.settle()
    assert cluster.condition("Ready")["status"] == "True", cluster.status
    return cluster


def told(actions: Iterable[Action]) -> list[str]:
    """Actions as short lines."""
    lines = []
    for action in actions:
        match action:
            case StopGroup(name=name):
                lines.append(f"stop {name}")
            case Delete(kind=kind, name=name):
                lines.append(f"delete {kind} {name}")
            case DeletePod(name=name, force=force):
                lines.append(f"{'force' if force else 'delete'} {name}")
            case CreateOnce(manifest=manifest):
                lines.append(f"create {manifest['kind']} {manifest['metadata']['name']}")
            case Apply(manifest=manifest):
                lines.append(f"apply {manifest['kind']} {manifest['metadata']['name']}")
            case StartGroup(manifest=manifest, incarnation=incarnation):
                lines.append(f"start {manifest['metadata']['name']} incarnation {incarnation}")
    return lines

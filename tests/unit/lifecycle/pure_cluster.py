"""A cluster in memory that does what decisions ask for: to tell stories over several decisions without I/O.

It is strict where the API server is: what exists cannot be made again, what is applied or deleted must still have the
UID, and what is started the resourceVersion, that was decided upon. Pods come and go when a test says so, as
``pure_controllers`` makes them.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from deepseek_operator.api.config import OperatorConfig
from deepseek_operator.api.names import FIELD_MANAGER, GROUP_LABEL, PULL_LABEL, REVISION_COPY_ANNOTATION
from deepseek_operator.api.problems import Problem
from deepseek_operator.api.resource import Spec
from deepseek_operator.control.projections import (
    project_child,
    project_job,
    project_pull,
    project_revision,
    project_stateful_set,
)
from deepseek_operator.lifecycle.actions import (
    Action,
    Apply,
    CreateOnce,
    Decision,
    Delete,
    DeletePod,
    DropLostClaims,
    PullImage,
    StartGroup,
    StopGroup,
)
from deepseek_operator.lifecycle.clock import stamp
from deepseek_operator.lifecycle.decide import decide
from deepseek_operator.lifecycle.entries import Progress
from deepseek_operator.lifecycle.outcome import NewSecrets, Outcome
from deepseek_operator.lifecycle.records import (
    ChildKey,
    ChildRecord,
    DeploymentRecord,
    NodeRecord,
    PodRecord,
    PullRecord,
    RevisionRecord,
    Snapshot,
    WorkloadRecord,
)
from deepseek_operator.plan.types import Plan, Refusal
from deepseek_operator.render.owner import Owner
from deepseek_operator.render.revision import RevisionContent, new_revision, parse, unpack
from tests.unit.lifecycle import pure_controllers
from tests.unit.lifecycle.observed import NOW
from tests.unit.render.samples import H100_PLAN, LAUNCH, spec

OWNER = Owner(name="x", namespace="default", uid="cr")
KEYS = ("an api key", "an admin key")
CONFIG = OperatorConfig()
_PROJECT = {"StatefulSet": project_stateful_set, "Job": project_job, "ControllerRevision": project_revision}


class RefusedError(Exception):
    """The API server refuses: what was decided upon has moved on, or something of the past is still there."""


_MADE: dict[str, RevisionContent] = {}


def content(from_spec: Spec | None = None, plan: Plan = H100_PLAN) -> RevisionContent:
    """The revision of a spec; made once, since stories ask for it at every step."""
    wanted = from_spec or spec()
    key = f"{wanted!r} {plan!r}"
    if key not in _MADE:
        _MADE[key] = new_revision(owner=OWNER, spec=wanted, plan=plan, launch=LAUNCH)
    return _MADE[key]


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
        self.paused = False
        self.status: dict[str, Any] = {}
        self.objects: dict[ChildKey, dict[str, Any]] = {}
        self.once: dict[ChildKey, dict[str, Any]] = {}
        self.pods: list[PodRecord] = []
        self.pod_owners: dict[str, str] = {}
        """UID of a pod's StatefulSet, by the pod's; of a pod that a test made up, there is none."""
        self.pod_templates: dict[str, Mapping[str, Any]] = {}
        """What pods were made from, by UID."""
        self.nodes: tuple[str, ...] = ()
        """Where pods are placed, one a node; without any, rank r is on ``node-r``."""
        self.pulls: list[PullRecord] = []
        self.pull_state: tuple[str, str] = ("pulled", "")
        """State and message of pods that are to bring an image to a node."""
        self.preparing: list[PodRecord] = []
        self.progress: dict[str, Progress] = {}
        self.dead_nodes: frozenset[str] = frozenset()
        self.name_taken: ChildKey | None = None
        self.generation = 1
        self.now: datetime = NOW
        self._seen: tuple[dict[ChildKey, dict[str, Any]], list[PodRecord]] | None = None
        self._parsed: dict[str, RevisionContent] = {}
        self._version = 0

    @property
    def contents(self) -> dict[str, RevisionContent]:
        """Revisions that the operator sees stored, or a copy of in a StatefulSet."""
        objects = self._seen[0] if self._seen else self.objects
        stored = [body["data"] for (kind, _), body in objects.items() if kind == "ControllerRevision"]
        sets = [body for (kind, _), body in objects.items() if kind == "StatefulSet"]
        copies = [unpack(body["metadata"]["annotations"].get(REVISION_COPY_ANNOTATION, "")) for body in sets]
        found = {data["hash"]: data for data in (*copies, *stored) if data}
        return {name: self._parse(data) for name, data in found.items()}

    def _parse(self, data: Mapping[str, Any]) -> RevisionContent:
        text = json.dumps(data, sort_keys=True)
        if text not in self._parsed:
            self._parsed[text] = parse({"data": data})
        return self._parsed[text]

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

    def look_away(self) -> None:
        """The watches fall silent: until ``look`` the operator knows only of what it writes itself."""
        self._seen = copy.deepcopy(self.objects), list(self.pods)

    def look(self) -> None:
        """The watches have caught up."""
        self._seen = None

    def snapshot(self) -> Snapshot:
        """What the operator sees."""
        objects, pods = self._seen or (self.objects, self.pods)
        children: dict[ChildKey, ChildRecord] = {
            key: _PROJECT.get(key[0], project_child)(body) for key, body in objects.items()
        }
        groups = {found.group for found in pods}
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
                paused=self.paused,
            ),
            workloads={c.group: c for c in children.values() if isinstance(c, WorkloadRecord) and c.group >= 0},
            pods={
                group: tuple(sorted((found for found in pods if found.group == group), key=lambda found: found.rank))
                for group in groups
            },
            pulls=tuple(self.pulls),
            children=children,
            revisions={c.revision: c for c in children.values() if isinstance(c, RevisionRecord)},
            nodes={found.node: NodeRecord(name=found.node) for found in pods if found.node not in self.dead_nodes},
            name_taken=self.name_taken,
            preparing=tuple(self.preparing),
            progress=self.progress,
        )

    def outcome(self) -> Outcome:
        if self.invalid:
            return Outcome(config=CONFIG, spec=None, invalid=self.invalid, contents=self.contents)
        if self.refusal:
            return Outcome(config=CONFIG, spec=self.spec, refusal=self.refusal, contents=self.contents)
        made = content(self.spec, self.plan)
        contents = self.contents
        stored = self.snapshot().revisions.get(made.hash)
        return Outcome(
            config=CONFIG,
            spec=self.spec,
            content=made,
            plan=self.plan,
            stored=stored is not None and contents[made.hash].template_hash == made.template_hash,
            contents=contents,
            new_secrets=NewSecrets(api_key=KEYS[0], admin_key=KEYS[1], ssh_seed=bytes(32)),
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
        """Do it. Raises RefusedError where the API server, or the executor's own look at it, would refuse."""
        match action:
            case CreateOnce(manifest=manifest):
                self.once.setdefault((manifest["kind"], manifest["metadata"]["name"]), dict(manifest))
            case Apply(manifest=manifest, uid=uid):
                self._apply(manifest, uid)
            case StartGroup(manifest=manifest, uid=uid, incarnation=incarnation, resource_version=version):
                group = int(manifest["metadata"]["labels"][GROUP_LABEL])
                if any(found.group == group and found.incarnation != incarnation for found in self.pods):
                    raise RefusedError("a pod of an earlier incarnation is left")
                self._apply(manifest, uid, version)
            case StopGroup(name=name, uid=uid, incarnation=incarnation):
                self._stop(name, uid, incarnation)
            case Delete(kind=kind, name=name, uid=uid):
                self._delete((kind, name), uid)
            case PullImage(manifest=manifest):
                self._pull(manifest)
            case DeletePod(uid=uid) if uid.startswith("pull-"):
                self.pulls = [found for found in self.pulls if found.uid != uid]
            case DeletePod(uid=uid, grace_seconds=grace):
                ended = [found.uid for found in self.pods if found.uid == uid]
                pure_controllers.delete_pods(self, ended, force=grace == 0)

    def _pull(self, manifest: Mapping[str, Any]) -> None:
        name = manifest["metadata"]["name"]
        assert name not in {found.name for found in self.pulls}, f"{name} exists"
        self._version += 1
        body = copy.deepcopy(dict(manifest))
        body["metadata"] |= {"uid": f"pull-{self._version}", "creationTimestamp": stamp(self.now)}
        self.pulls.append(replace(project_pull(body), state="waiting"))

    def kubelets_pull(self) -> None:
        """Every pull comes to the state that the test wants."""
        state, message = self.pull_state
        self.pulls = [replace(found, state=state, message=message) for found in self.pulls]  # type: ignore[arg-type]

    def _stop(self, name: str, uid: str, incarnation: int) -> None:
        body = self.objects.get(("StatefulSet", name))
        if body is None:
            return
        if (body["metadata"]["uid"], project_stateful_set(body).incarnation) != (uid, incarnation):
            raise RefusedError(f"StatefulSet {name} has moved on")
        self.scale(name, 0)
        self._answered(("StatefulSet", name))

    def _delete(self, key: ChildKey, uid: str) -> None:
        body = self.objects.get(key)
        if body and body["metadata"]["uid"] != uid:
            raise RefusedError(f"{key} has moved on")
        self.objects.pop(key, None)
        if self._seen:
            # As a watch would tell: the operator's client forgets nothing by itself.
            self._seen[0].pop(key, None)

    def scale(self, name: str, replicas: int) -> None:
        """Set a StatefulSet's replicas."""
        body = self.objects["StatefulSet", name]
        self._version += 1
        body["metadata"]["resourceVersion"] = str(self._version)
        if body["spec"]["replicas"] != replicas:
            body["metadata"]["generation"] += 1
        body["spec"]["replicas"] = replicas

    def _apply(self, manifest: Mapping[str, Any], uid: str | None, version: int | None = None) -> None:
        key = (manifest["kind"], manifest["metadata"]["name"])
        exists = self.objects.get(key)
        if uid is None and exists is not None:
            # The executor finds it to be ours still, and applies.
            uid = exists["metadata"]["uid"]
        if (exists["metadata"]["uid"] if exists else None) != uid:
            raise RefusedError(f"{key} has moved on")
        if exists and version is not None and exists["metadata"]["resourceVersion"] != str(version):
            raise RefusedError(f"{key} has moved on since it was judged")
        self._version += 1
        body: dict[str, Any] = copy.deepcopy(dict(manifest))
        entry = {"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": owned(manifest)}
        before = exists["metadata"].get("generation", 1) if exists else 0
        body["metadata"] |= {
            "uid": uid or f"uid-of-{key[0]}-{key[1]}-{self._version}",
            "resourceVersion": str(self._version),
            "managedFields": [entry],
            "generation": before + (exists is None or exists.get("spec") != body.get("spec")),
        }
        body["status"] = exists["status"] if exists else {"replicas": 0}
        self.objects[key] = body
        self._answered(key)

    def _answered(self, key: ChildKey) -> None:
        """The answer to a write shows the operator the object as it is."""
        if self._seen:
            self._seen[0][key] = copy.deepcopy(self.objects[key])

    def touched(self, key: ChildKey) -> None:
        """A controller wrote the object's status."""
        self._version += 1
        self.objects[key]["metadata"]["resourceVersion"] = str(self._version)

    def controllers(self) -> None:
        """The workloads' controllers, scheduler and kubelets: pods end, or come up and are ready."""
        self.kubelets_pull()
        pure_controllers.everything(self)

    def end_job(self, kind: str, *, reason: str = "", message: str = "") -> None:
        """The Job of group 0 gets its last condition: Complete or Failed."""
        condition = {"type": kind, "status": "True", "reason": reason, "message": message}
        self.objects["Job", "x-g0"]["status"] = {"conditions": [condition]}
        self.touched(("Job", "x-g0"))

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
            case PullImage(manifest=manifest):
                lines.append(f"pull on {manifest['metadata']['annotations'][PULL_LABEL]}")
            case DeletePod(name=name, grace_seconds=grace):
                lines.append(f"{'force' if grace == 0 else 'delete'} {name}")
            case CreateOnce(manifest=manifest):
                lines.append(f"create {manifest['kind']} {manifest['metadata']['name']}")
            case Apply(manifest=manifest):
                lines.append(f"apply {manifest['kind']} {manifest['metadata']['name']}")
            case DropLostClaims(claims=claims):
                lines.append(f"look after claims {', '.join(claims)}")
            case StartGroup(manifest=manifest, incarnation=incarnation):
                lines.append(f"start {manifest['metadata']['name']} incarnation {incarnation}")
    return lines

"""What the operator knows of the cluster: records by owner, kept by watches, lists and our own writes.

Whatever arrives is compared by resourceVersion (comparable since Kubernetes 1.35, integers in every etcd-backed
server), so a late event never overwrites the answer to a write, and the operator reads its own writes.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from deepseek_operator.api import names
from deepseek_operator.control import kinds
from deepseek_operator.control.projections import (
    project_child,
    project_deployment,
    project_job,
    project_node,
    project_pod,
    project_pull,
    project_revision,
    project_stateful_set,
)
from deepseek_operator.lifecycle.entries import Progress, Report
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
from deepseek_operator.plan.counting import Published
from deepseek_operator.plan.inventory import read_node
from deepseek_operator.plan.types import Node

_PROJECTIONS: Final[Mapping[kinds.Kind, Callable[[Mapping[str, Any]], ChildRecord]]] = {
    kinds.STATEFUL_SET: project_stateful_set,
    kinds.JOB: project_job,
    kinds.REVISION: project_revision,
}
Key = tuple[str, str]
"""Namespace and name of a deployment."""
BURIED_SECONDS = 900.0
"""Longer than any answer or list may be late."""


class Cache:
    """Records of everything watched. Each change names the deployments that it concerns."""

    def __init__(self) -> None:
        self._deployments: dict[Key, DeploymentRecord] = {}
        self._keys: dict[str, Key] = {}
        self._children: defaultdict[str, dict[ChildKey, ChildRecord]] = defaultdict(dict)
        self._pods: defaultdict[str, dict[str, PodRecord | PullRecord]] = defaultdict(dict)
        self._nodes: dict[str, Node] = {}
        self._node_records: dict[str, NodeRecord] = {}
        self._node_uids: dict[str, str] = {}
        self._published: Published = {}
        self._versions: dict[tuple[str, str], int] = {}
        self._owners: dict[tuple[str, str], str] = {}
        self._gone: dict[tuple[str, str], tuple[int, float]] = {}
        """Deleted objects with the version and time of their end: a late answer must not bring them back."""
        self.nodes_version = 0
        """Grows when a node changes in a way that planning sees."""

    def put(self, kind: kinds.Kind, body: Mapping[str, Any]) -> set[Key]:
        """Take in an object; returns the deployments to look at. Older than what is known: ignored."""
        metadata = body["metadata"]
        identity = (kind.kind, metadata["uid"])
        version = int(metadata["resourceVersion"])
        if max(self._versions.get(identity, 0), self._gone.get(identity, (0, 0.0))[0]) >= version:
            return set()
        self._gone.pop(identity, None)
        self._versions[identity] = version
        if kind is kinds.NODE:
            return self._put_node(body, metadata["uid"])
        if kind is kinds.DEPLOYMENT:
            record = project_deployment(body)
            key = (record.namespace, record.name)
            self._deployments[key] = record
            self._keys[record.uid] = key
            return {key}
        return self._put_owned(kind, body, identity)

    def put_published(self, published: Published) -> set[Key]:
        """Take in what ResourceSlices tell; returns the deployments to look at."""
        if published == self._published:
            return set()
        self._published = published
        self.nodes_version += 1
        return set(self._deployments)

    def remove(self, kind: kinds.Kind, body: Mapping[str, Any]) -> set[Key]:
        """Forget an object; returns the deployments to look at."""
        metadata = body["metadata"]
        return self.forget(kind, metadata["uid"], version=int(metadata["resourceVersion"]))

    def forget(self, kind: kinds.Kind, uid: str, *, version: int = 0) -> set[Key]:
        """Forget an object by its UID, and all versions of it up to ``version`` or the last one known."""
        identity = (kind.kind, uid)
        self._bury(identity, max(version, self._versions.get(identity, 0)))
        if self._versions.pop(identity, None) is None:
            return set()
        owner = self._owners.pop(identity, "")
        if kind is kinds.NODE:
            return self._forget_node(owner, uid)
        if kind is kinds.DEPLOYMENT:
            key = self._keys.pop(uid, None)
            if key and self._deployments.get(key, None) and self._deployments[key].uid == uid:
                del self._deployments[key]
            self._sweep(uid)
            return {key} if key else set()
        if kind is kinds.POD:
            self._pods[owner].pop(uid, None)
        else:
            gone = [key for key, child in self._children[owner].items() if child.uid == uid]
            for key in gone:
                del self._children[owner][key]
        self._sweep(owner)
        return self._concerned(owner)

    def _bury(self, identity: tuple[str, str], version: int) -> None:
        now = time.monotonic()
        # Taken out first: the oldest stands first, and an older end never takes the place of a newer one.
        earlier, _ = self._gone.pop(identity, (0, now))
        self._gone[identity] = (max(version, earlier), now)
        while self._gone:
            oldest = next(iter(self._gone))
            if now - self._gone[oldest][1] < BURIED_SECONDS:
                break
            del self._gone[oldest]

    def _sweep(self, owner: str) -> None:
        """Drop the empty books of an owner that is gone."""
        if owner not in self._keys:
            for books in (self._pods, self._children):
                if not books.get(owner, True):
                    del books[owner]

    def uids(self, kind: kinds.Kind) -> Iterator[tuple[str, int]]:
        """UID and resourceVersion of everything known of a kind."""
        for (name, uid), version in self._versions.items():
            if name == kind.kind:
                yield uid, version

    def knows(self, kind: kinds.Kind, uid: str, version: int) -> bool:
        """Whether the cache has an object at least as new as this."""
        return self._versions.get((kind.kind, uid), 0) >= version

    @property
    def keys(self) -> Iterable[Key]:
        """All deployments."""
        return tuple(self._deployments)

    @property
    def nodes(self) -> Mapping[str, Node]:
        """All nodes by name."""
        return self._nodes

    @property
    def published(self) -> Published:
        """Devices in ResourceSlices, by node."""
        return self._published

    def deployment(self, key: Key) -> DeploymentRecord | None:
        """A deployment as last seen."""
        return self._deployments.get(key)

    def child(self, owner: str, key: ChildKey) -> ChildRecord | None:
        """An object of ours."""
        return self._children[owner].get(key)

    def pods(self, deployment: DeploymentRecord) -> Mapping[int, Sequence[PodRecord]]:
        """A deployment's pods by group."""
        pods: defaultdict[int, list[PodRecord]] = defaultdict(list)
        key = (deployment.namespace, deployment.name)
        for pod in self._pods.get(deployment.uid, {}).values():
            # Labels can be written by anybody: the name and the owner tell whose pod it is.
            if isinstance(pod, PodRecord) and (pod.namespace, pod.deployment) == key:
                pods[pod.group].append(pod)
        return pods

    def _pulls(self, deployment: DeploymentRecord) -> tuple[PullRecord, ...]:
        whose = (deployment.namespace, deployment.uid)
        found = self._pods.get(deployment.uid, {}).values()
        return tuple(each for each in found if isinstance(each, PullRecord) and (each.namespace, each.owner) == whose)

    def preparing(self, deployment: DeploymentRecord) -> tuple[PodRecord, ...]:
        """Pods of a deployment's Jobs."""
        jobs = {name for kind, name in self._children.get(deployment.uid, {}) if kind == kinds.JOB.kind}
        found = self._pods.get(deployment.uid, {}).values()
        pods = (pod for pod in found if isinstance(pod, PodRecord))
        return tuple(pod for pod in pods if pod.job in jobs and pod.namespace == deployment.namespace)

    def snapshot(
        self,
        deployment: DeploymentRecord,
        *,
        name_taken: ChildKey | None = None,
        reports: Mapping[int, Report] | None = None,
        progress: Mapping[str, Progress] | None = None,
    ) -> Snapshot:
        """What one decision may read."""
        children = {
            name: child
            for name, child in self._children.get(deployment.uid, {}).items()
            if child.namespace == deployment.namespace
        }
        pods = self.pods(deployment)
        return Snapshot(
            deployment=deployment,
            workloads={c.group: c for c in children.values() if isinstance(c, WorkloadRecord) and c.group >= 0},
            pods={group: tuple(sorted(found, key=lambda pod: pod.rank)) for group, found in pods.items()},
            pulls=self._pulls(deployment),
            children=children,
            revisions={c.revision: c for c in children.values() if isinstance(c, RevisionRecord)},
            nodes={
                pod.node: self._node_records[pod.node]
                for found in pods.values()
                for pod in found
                if pod.node in self._node_records
            },
            preparing=self.preparing(deployment),
            progress=dict(progress or {}),
            reports=dict(reports or {}),
            name_taken=name_taken,
        )

    def _forget_node(self, name: str, uid: str) -> set[Key]:
        if self._node_uids.get(name) != uid:
            # Made anew under its name meanwhile.
            return set()
        del self._nodes[name], self._node_uids[name], self._node_records[name]
        self.nodes_version += 1
        return set(self._deployments)

    def _put_node(self, body: Mapping[str, Any], uid: str) -> set[Key]:
        node, record = read_node(body), project_node(body)
        self._owners[kinds.NODE.kind, uid] = node.name
        self._node_uids[node.name] = uid
        seen_by_groups = self._node_records.get(node.name) != record
        self._node_records[node.name] = record
        if self._nodes.get(node.name) != node:
            self._nodes[node.name] = node
            self.nodes_version += 1
            return set(self._deployments)
        return self._on_node(node.name) if seen_by_groups else set()

    def _on_node(self, name: str) -> set[Key]:
        """Deployments with a pod on a node."""
        owners = (owner for owner, pods in self._pods.items() if any(pod.node == name for pod in pods.values()))
        return {key for owner in owners for key in self._concerned(owner)}

    def _put_owned(self, kind: kinds.Kind, body: Mapping[str, Any], identity: tuple[str, str]) -> set[Key]:
        labels = body["metadata"].get("labels", {})
        owner = labels.get(names.REVISION_OF_LABEL if kind is kinds.REVISION else names.UID_LABEL, "")
        earlier = self._owners.get(identity, owner)
        self._owners[identity] = owner
        concerned = self._concerned(owner) | self._concerned(earlier)
        if kind is kinds.POD:
            self._pods[earlier].pop(identity[1], None)
            self._pods[owner][identity[1]] = project_pull(body) if names.PULL_LABEL in labels else project_pod(body)
            return concerned
        record = _PROJECTIONS.get(kind, project_child)(body)
        lost = self._children[earlier].pop((record.kind, record.name), None)
        if record.owner != owner:
            # Labelled as ours, owned by somebody else: not ours, but it may have been until now.
            return self._concerned(earlier) if lost else set()
        self._children[owner][record.kind, record.name] = record
        return concerned

    def _concerned(self, owner: str) -> set[Key]:
        key = self._keys.get(owner)
        return {key} if key else set()

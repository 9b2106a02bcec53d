"""What the operator knows of the cluster: records by owner, kept by watches, lists and our own writes.

Whatever arrives is compared by resourceVersion (comparable since Kubernetes 1.35, integers in every etcd-backed
server), so a late event never overwrites the answer to a write, and the operator reads its own writes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from deepseek_operator.api import names
from deepseek_operator.control import kinds
from deepseek_operator.control.projections import (
    project_child,
    project_deployment,
    project_pod,
    project_revision,
    project_stateful_set,
)
from deepseek_operator.lifecycle.records import (
    ChildKey,
    ChildRecord,
    DeploymentRecord,
    PodRecord,
    RevisionRecord,
    Snapshot,
    StatefulSetRecord,
)
from deepseek_operator.plan.inventory import read_node
from deepseek_operator.plan.types import Node

Key = tuple[str, str]
"""Namespace and name of a deployment."""

OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"


class Cache:
    """Records of everything watched. Each change names the deployments that it concerns."""

    def __init__(self) -> None:
        self._deployments: dict[Key, DeploymentRecord] = {}
        self._keys: dict[str, Key] = {}
        self._children: defaultdict[str, dict[ChildKey, ChildRecord]] = defaultdict(dict)
        self._pods: defaultdict[str, dict[str, PodRecord]] = defaultdict(dict)
        self._nodes: dict[str, Node] = {}
        self._versions: dict[tuple[str, str], int] = {}
        self._owners: dict[tuple[str, str], str] = {}
        self.nodes_version = 0
        """Grows when a node changes in a way that planning sees."""

    def put(self, kind: kinds.Kind, body: Mapping[str, Any]) -> set[Key]:
        """Take in an object; returns the deployments to look at. Older than what is known: ignored."""
        metadata = body["metadata"]
        identity = (kind.kind, metadata["uid"])
        version = int(metadata["resourceVersion"])
        if self._versions.get(identity, 0) >= version:
            return set()
        self._versions[identity] = version
        if kind is kinds.NODE:
            return self._put_node(read_node(body), metadata["uid"])
        if kind is kinds.DEPLOYMENT:
            record = project_deployment(body)
            key = (record.namespace, record.name)
            self._deployments[key] = record
            self._keys[record.uid] = key
            return {key}
        return self._put_owned(kind, body, identity)

    def remove(self, kind: kinds.Kind, body: Mapping[str, Any]) -> set[Key]:
        """Forget an object; returns the deployments to look at."""
        metadata = body["metadata"]
        return self.forget(kind, metadata["uid"])

    def forget(self, kind: kinds.Kind, uid: str) -> set[Key]:
        """Forget an object by its UID."""
        identity = (kind.kind, uid)
        if self._versions.pop(identity, None) is None:
            return set()
        owner = self._owners.pop(identity, "")
        if kind is kinds.NODE:
            self._nodes.pop(owner, None)
            self.nodes_version += 1
            return set(self._deployments)
        if kind is kinds.DEPLOYMENT:
            key = self._keys.pop(uid, None)
            if key and self._deployments.get(key, None) and self._deployments[key].uid == uid:
                del self._deployments[key]
            return set()
        if kind is kinds.POD:
            self._pods[owner].pop(uid, None)
        else:
            gone = [key for key, child in self._children[owner].items() if child.uid == uid]
            for key in gone:
                del self._children[owner][key]
        return self._concerned(owner)

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

    def deployment(self, key: Key) -> DeploymentRecord | None:
        """A deployment as last seen."""
        return self._deployments.get(key)

    def child(self, owner: str, key: ChildKey) -> ChildRecord | None:
        """An object of ours."""
        return self._children[owner].get(key)

    def snapshot(self, deployment: DeploymentRecord, *, name_taken: ChildKey | None = None) -> Snapshot:
        """What one decision may read."""
        children = dict(self._children.get(deployment.uid, {}))
        pods: defaultdict[int, list[PodRecord]] = defaultdict(list)
        for pod in self._pods.get(deployment.uid, {}).values():
            pods[pod.group].append(pod)
        return Snapshot(
            deployment=deployment,
            stateful_sets={c.group: c for c in children.values() if isinstance(c, StatefulSetRecord)},
            pods={group: tuple(sorted(found, key=lambda pod: pod.rank)) for group, found in pods.items()},
            children=children,
            revisions={c.revision: c for c in children.values() if isinstance(c, RevisionRecord)},
            dead_nodes=frozenset(pod.node for found in pods.values() for pod in found if self._dead(pod.node)),
            name_taken=name_taken,
        )

    def _dead(self, name: str) -> bool:
        if not name:
            return False
        node = self._nodes.get(name)
        return node is None or any(taint.key == OUT_OF_SERVICE for taint in node.taints)

    def _put_node(self, node: Node, uid: str) -> set[Key]:
        self._owners[kinds.NODE.kind, uid] = node.name
        if self._nodes.get(node.name) == node:
            return set()
        self._nodes[node.name] = node
        self.nodes_version += 1
        return set(self._deployments)

    def _put_owned(self, kind: kinds.Kind, body: Mapping[str, Any], identity: tuple[str, str]) -> set[Key]:
        labels = body["metadata"].get("labels", {})
        label = labels.get(names.REVISION_OF_LABEL if kind is kinds.REVISION else names.UID_LABEL, "")
        earlier = self._owners.get(identity)
        if kind is kinds.POD:
            self._owners[identity] = label
            self._pods[label][identity[1]] = project_pod(body)
            return self._concerned(label)
        project = {kinds.STATEFUL_SET: project_stateful_set, kinds.REVISION: project_revision}.get(kind, project_child)
        record = project(body)
        # A label that was taken off is put back, which needs the object to be known.
        owner = label or record.owner
        self._owners[identity] = owner
        if earlier not in (None, owner):
            self._children[earlier or ""].pop((record.kind, record.name), None)
        if record.owner != owner:
            # Labelled as ours, owned by somebody else: not ours.
            return set()
        self._children[owner][record.kind, record.name] = record
        return self._concerned(owner)

    def _concerned(self, owner: str) -> set[Key]:
        key = self._keys.get(owner)
        return {key} if key else set()

"""What was observed: small frozen records that the cache keeps and decisions read.

A record holds only fields that some decision uses; thousands of them fit where a few hundred API objects would.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from deepseek_operator.lifecycle.entries import Report


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentRecord:
    """A DeepSeekDeployment as last seen."""

    name: str
    namespace: str
    uid: str
    generation: int
    resource_version: int
    deleting: bool
    spec: Mapping[str, Any]
    status: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerRecord:
    """The state of one container of a pod."""

    state: Literal["waiting", "running", "terminated", "unknown"] = "unknown"
    reason: str = ""
    """Of the waiting or terminated state."""
    started: bool = False
    """The startup probe has succeeded."""
    restarts: int = 0
    exit_code: int | None = None
    """Of the terminated state, else of the last one."""
    message: str = ""
    """Termination message, bounded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodRecord:
    """One rank's pod."""

    name: str
    uid: str
    group: int
    rank: int
    incarnation: int
    node: str
    phase: str
    phase_reason: str
    """Evicted, Preempting …, where the kubelet or a controller gave one."""
    deleting: bool
    ready: bool
    scheduled: bool
    waiting_message: str
    """The scheduler's message while the pod is not scheduled."""
    fetching: bool
    """An init container has not finished."""
    init_reason: str
    """Waiting reason of the unfinished init container."""
    engine: ContainerRecord
    ip: str = ""
    """Of the pod, once it has one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildRecord:
    """An object of ours, of any kind: who owns it and whether it still is as we applied it."""

    kind: str
    name: str
    uid: str
    owner: str
    """UID of the controller."""
    resource_version: int
    desired_hash: str
    owned_fields: bytes
    """Our managedFields entries, compressed JSON; what drift is judged by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatefulSetRecord(ChildRecord):
    """A group's StatefulSet."""

    group: int
    replicas: int
    """spec.replicas: 0 is stopped."""
    current_replicas: int
    """status.replicas: pods that exist by the controller's last count."""
    observed: bool
    """status.observedGeneration has caught up."""
    incarnation: int
    revision: str
    template_hash: str
    immutable_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionRecord(ChildRecord):
    """A stored revision."""

    revision: str
    number: int
    content: bytes
    """ControllerRevision.data, compressed JSON."""


ChildKey = tuple[str, str]
"""Kind and name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything one decision may read; no I/O happens after it was taken."""

    deployment: DeploymentRecord
    stateful_sets: Mapping[int, StatefulSetRecord] = field(default_factory=dict)
    """By group."""
    pods: Mapping[int, tuple[PodRecord, ...]] = field(default_factory=dict)
    """By group, in order of rank."""
    children: Mapping[ChildKey, ChildRecord] = field(default_factory=dict)
    """All children, StatefulSets and revisions included."""
    revisions: Mapping[str, RevisionRecord] = field(default_factory=dict)
    """By revision hash."""
    dead_nodes: frozenset[str] = frozenset()
    """Nodes that are gone or carry the out-of-service taint."""
    reports: Mapping[int, Report] = field(default_factory=dict)
    """By group: what engines said about their memory since status was written."""
    name_taken: ChildKey | None = None
    """A foreign object that holds a name we need."""

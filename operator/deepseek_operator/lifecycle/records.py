"""What was observed: small frozen records that the cache keeps and decisions read.

A record holds only fields that some decision uses; thousands of them fit where a few hundred API objects would.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from deepseek_operator.lifecycle.entries import LastLines, Progress, Report


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
    paused: bool = False
    """The user asked for hands off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRecord:
    """A node as far as the group on it is concerned."""

    name: str
    out_of_service: bool = False
    """Carries the taint by which an administrator declares it gone."""
    not_ready_since: str = ""
    """RFC 3339; empty while it is ready."""
    taints: tuple[str, ...] = ()
    """Keys."""
    ill: tuple[str, ...] = ()
    """Conditions that tell of broken accelerators, with their reasons."""
    offered: tuple[tuple[str, int], ...] = ()
    """Allocatable devices, by resource."""


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
    since: str = ""
    """RFC 3339: start of the running state, end of the terminated or else the last one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodRecord:
    """One rank's pod."""

    name: str
    namespace: str
    deployment: str
    """Name of the deployment that it belongs to by its own name and its owner; empty for a pod that only carries our
    labels."""
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
    init_message: str = ""
    """Last words of the unfinished init container."""
    created: str = ""
    """RFC 3339."""
    ready_changed: str = ""
    """RFC 3339: last change of condition Ready."""
    terminating_until: str = ""
    """RFC 3339: end of the grace of a pod that is being deleted."""
    deletion_asked: str = ""
    """RFC 3339: when its deletion was asked for."""
    disruption: str = ""
    """Reason of condition DisruptionTarget: EvictionByEvictionAPI, PreemptionByScheduler …"""
    ip: str = ""
    """Of the pod, once it has one."""
    devices: tuple[tuple[str, int], ...] = ()
    """That the engine was given, by resource."""
    unhealthy: str = ""
    """Devices of the engine that are reported unhealthy, as text."""
    job: str = ""
    """Name of the Job that it belongs to; empty for a rank's pod."""
    step: str = ""
    """The container that prepares weights and has not finished."""
    preflight: ContainerRecord = ContainerRecord()
    """The container in which all devices of the group add up a tensor; of a pod without one, unknown."""
    read_rate: int = 0
    """Bytes a second at which the weights were read ahead; 0: not told, or they were in memory."""

    @property
    def finished(self) -> bool:
        """The engine ended well. For a rank of a batch that is the aim."""
        return self.phase == "Succeeded" or (self.engine.state == "terminated" and self.engine.exit_code == 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class PullRecord:
    """A pod that only brings an image to a node."""

    name: str
    namespace: str
    uid: str
    owner: str
    """UID of the controller."""
    node: str
    """That it is for, whether it is there yet or not."""
    image: str
    state: Literal["waiting", "pulled", "failing", "ended"]
    """failing: the kubelet cannot pull, and tries again. ended: it failed before the image was there."""
    message: str
    """Why it waits, fails or ended."""
    created: str
    """RFC 3339."""
    deleting: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildRecord:
    """An object of ours, of any kind: who owns it and whether it still is as we applied it."""

    kind: str
    name: str
    namespace: str
    uid: str
    owner: str
    """UID of the controller."""
    resource_version: int
    desired_hash: str
    owned_fields: bytes
    """Our managedFields entries, compressed JSON; what drift is judged by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadRecord(ChildRecord):
    """What makes the pods of a group: its StatefulSet or its Job."""

    group: int
    replicas: int
    """Pods that it should have; 0 is stopped."""
    incarnation: int
    revision: str
    template_hash: str
    immutable_hash: str

    @property
    def stopped(self) -> bool:
        """It makes no pods, and its controller has seen that it should not. A Job is stopped by its deletion."""
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class StatefulSetRecord(WorkloadRecord):
    """A group's StatefulSet; ``replicas`` is spec.replicas."""

    current_replicas: int
    """status.replicas: pods that exist by the controller's last count."""
    observed: bool
    """status.observedGeneration has caught up."""

    @property
    def stopped(self) -> bool:
        """Scaled to 0, and nothing is left by its controller's count."""
        return self.replicas == 0 and self.current_replicas == 0 and self.observed


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRecord(WorkloadRecord):
    """A group's Job; ``replicas`` is spec.parallelism."""

    completed: bool = False
    """Condition Complete: every rank ended well."""
    failed: str = ""
    """Reason of condition Failed; empty: it has not failed."""
    failed_message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord(ChildRecord):
    """The Job that fills a shared claim."""

    complete: bool
    trouble: str
    """Why no pod of it runs, where its controller tells."""


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
class ConfigRecord:
    """What stands in the ConfigMap of spec.modelConfig."""

    text: str | None
    """None: there is no such ConfigMap, or it has no such key."""
    denied: bool = False
    """The operator may not read it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything one decision may read; no I/O happens after it was taken."""

    deployment: DeploymentRecord
    workloads: Mapping[int, WorkloadRecord] = field(default_factory=dict)
    """By group."""
    pods: Mapping[int, tuple[PodRecord, ...]] = field(default_factory=dict)
    """By group, in order of rank."""
    pulls: tuple[PullRecord, ...] = ()
    """Pods that bring an image to a node."""
    children: Mapping[ChildKey, ChildRecord] = field(default_factory=dict)
    """All children, workloads and revisions included."""
    revisions: Mapping[str, RevisionRecord] = field(default_factory=dict)
    """By revision hash."""
    copies: Mapping[str, bytes] = field(default_factory=dict)
    """Revisions whose ControllerRevision is lost, as their workloads keep them: content by hash, compressed JSON."""
    nodes: Mapping[str, NodeRecord] = field(default_factory=dict)
    """Nodes of the pods; one that is missing is gone."""
    troubles: Mapping[str, str] = field(default_factory=dict)
    """Why the deployment, a workload, a Job or a pod makes no progress, by UID."""
    preparing: tuple[PodRecord, ...] = ()
    """Pods of our Jobs."""
    progress: Mapping[str, Progress] = field(default_factory=dict)
    """How far containers that prepare weights are, by UID of the pod."""
    reports: Mapping[int, Report] = field(default_factory=dict)
    """By group: what engines said about their memory since status was written."""
    model_config: ConfigRecord | None = None
    """None: not read; it is read only where a plan is to be made (``Outcome.wants_config``)."""
    last_lines: Mapping[int, LastLines] = field(default_factory=dict)
    """By group: what the log of the rank that failed ended with, read since status was written."""
    name_taken: ChildKey | None = None
    """A foreign object that holds a name we need."""

"""How groups are scheduled, started, rolled out and recovered: the fields that running a deployment is about."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from deepseek_operator.api.base import Model
from deepseek_operator.api.names import MAX_REPLICAS
from deepseek_operator.api.words import LabelKey, LabelValue, ObjectName

Gang = Literal["none", "kubernetes", "volcano", "coscheduling", "kueue", "kai"]


class Toleration(Model):
    """A toleration of the pods; the accelerator's own taint is tolerated without asking."""

    key: LabelKey | None = None
    """Taint key; empty with operator Exists tolerates everything."""
    operator: Literal["Exists", "Equal"] = "Equal"
    """Exists or Equal."""
    value: LabelValue | None = None
    """Taint value, with Equal."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Taint effect; empty matches all."""


class Scheduling(Model):
    """How the pods are scheduled."""

    tolerations: Annotated[list[Toleration], Field(max_length=32)] = []
    """Further tolerations; nodes with other taints are not planned on."""
    priority_class_name: ObjectName | None = None
    """PriorityClass of the pods."""
    scheduler_name: ObjectName | None = None
    """Scheduler of the pods."""
    topology_key: LabelKey | None = None
    """Node label whose value all nodes of a group must share, e.g. nvidia.com/gpu.clique or
    topology.kubernetes.io/zone. Groups may differ; nodes without the label are not planned on."""
    gang: Gang = "none"
    """Gang scheduler that places the pods of a group together. kubernetes: the cluster's own (feature gate
    GenericWorkload); coscheduling: the plugin of scheduler-plugins. It must be installed. Default: none; half-placed
    groups then let their nodes go (`holdTimeoutSeconds`)."""
    queue: ObjectName | None = None
    """Queue of Volcano, Kueue or KAI."""
    hold_timeout_seconds: Annotated[int, Field(ge=30, le=86_400)] = 600
    """A group of which only some pods found a node lets them go after so long, so that two half groups do not keep
    each other from starting; it tries again later."""


class Rollout(Model):
    """How a changed spec reaches the groups; always whole groups."""

    max_unavailable: Annotated[int, Field(ge=0, le=MAX_REPLICAS)] = 1
    """Groups that may be down at once because of the change."""
    max_surge: Annotated[int, Field(ge=0, le=MAX_REPLICAS)] = 0
    """Groups that may exist beyond `replicas` meanwhile; they need accelerators of their own."""
    warm_up_seconds: Annotated[int, Field(ge=0, le=86_400)] = 1800
    """A changed image is brought to the nodes of a serving group before it is stopped, so that it is down only while it
    starts. An image that does not arrive within so long is not waited for, except when it cannot be pulled: then the
    old groups go on serving. 0: stop at once."""


class Recovery(Model):
    """How patient the operator is with a group that does not serve as it should."""

    max_restarts: Annotated[int, Field(ge=0, le=1000)] = 8
    """Restarts in a row, because of incidents, before the group is given up until the spec changes. Serving for ten
    minutes starts the count anew; evictions and preemptions do not count."""
    node_lost_after_seconds: Annotated[int, Field(ge=10, le=86_400)] = 180
    """A node that is not ready for longer counts as lost: its group is stopped, its pod deleted by force."""
    unready_after_seconds: Annotated[int, Field(ge=10, le=86_400)] = 300
    """A rank that served and is not ready for longer, though its pod runs, counts as hung."""
    rendezvous_after_seconds: Annotated[int, Field(ge=30, le=86_400)] = 900
    """Engines that all run and have not all met for longer count as failed."""


class Startup(Model):
    """How long a start may take."""

    deadline_seconds: Annotated[int, Field(ge=60, le=604_800)] | None = None
    """From the start of the engines to serving. Default: from the size of the weights, at least an hour."""

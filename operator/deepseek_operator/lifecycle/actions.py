"""What is to be done: the only way from a decision to the cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateOnce:
    """POST an object that is never applied again (the keys' Secret, weights volumes); it may exist already."""

    manifest: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Apply:
    """Make an object so: POST where it is missing, server-side apply with its UID where it exists."""

    manifest: Mapping[str, Any]
    uid: str | None
    """None: it does not exist."""
    why: str
    """The first difference, for logs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PullImage:
    """Bring an image to a node, by a pod that does nothing else; one of ours may be there already."""

    manifest: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsurePodGroup:
    """Make a gang scheduler's group object so, before the pods that it speaks of exist."""

    manifest: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class DropPodGroup:
    """Delete a gang scheduler's group object if it is ours; gone already is fine."""

    api_version: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StartGroup:
    """Apply a group's workload, after a look at the API server that no pod of an older incarnation is left."""

    manifest: Mapping[str, Any]
    uid: str | None
    resource_version: int | None
    """Of the workload that was judged: a late start of a deposed leader is refused."""
    pod_selector: str
    group: int
    incarnation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StopGroup:
    """Set a StatefulSet's replicas to 0; only if it still has this UID and runs this incarnation."""

    name: str
    uid: str
    group: int
    incarnation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete:
    """Delete an object; only if it still has this UID."""

    kind: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletePod:
    """Delete a pod; only if it still has this UID."""

    name: str
    uid: str
    grace_seconds: int | None
    """None: the pod's own. 0: its node will never confirm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DropLostClaims:
    """Delete claims of ranks that are bound to nodes which are gone: their weights are fetched again elsewhere."""

    group: int
    claims: tuple[str, ...]
    lost_nodes: tuple[str, ...]
    """Nodes that counted as lost when the group failed; others count when they do not exist any more."""


Action = (
    CreateOnce
    | Apply
    | PullImage
    | EnsurePodGroup
    | DropPodGroup
    | DropLostClaims
    | StartGroup
    | StopGroup
    | Delete
    | DeletePod
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One transition, for ``kubectl describe``."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Status first, then actions, in this order: what is done was always recorded before."""

    status: Mapping[str, Any]
    actions: tuple[Action, ...]
    events: tuple[Event, ...]
    requeue_seconds: float | None

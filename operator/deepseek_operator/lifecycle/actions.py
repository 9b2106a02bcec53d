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
class StartGroup:
    """Apply a group's StatefulSet, after a look at the API server that no pod of an older incarnation is left."""

    manifest: Mapping[str, Any]
    uid: str | None
    pod_selector: str
    incarnation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StopGroup:
    """Set a StatefulSet's replicas to 0; only if it still has this UID and runs this incarnation."""

    name: str
    uid: str
    group: int
    incarnation: int
    """0: the label was taken off the template, and cannot be asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete:
    """Delete an object; only if it still has this UID."""

    kind: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ForceDeletePod:
    """Delete a pod without grace because its node will never confirm; only if it still has this UID."""

    name: str
    uid: str


Action = CreateOnce | Apply | StartGroup | StopGroup | Delete | ForceDeletePod


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

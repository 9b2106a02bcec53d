"""What a kind of network needs of the pods that use it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Carrier = Literal["rdma", "ascend", "host", "tcp"]
NetworkMode = Literal["pod", "host"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A directory, file or device of the node that the engine container needs."""

    host_path: str
    container_path: str
    type: str
    """hostPath type: Directory, File, CharDevice, or "" for unchecked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FabricPreset:
    """One kind of network: what tells of it, and what it adds to a pod."""

    name: str
    title: str
    carrier: Carrier
    """What tensor parallelism across nodes rests on."""
    vendors: tuple[str, ...]
    """Of the accelerators."""
    modes: tuple[NetworkMode, ...] = ("pod", "host")
    """Values of spec.fabric.mode that it goes with."""
    rdma: tuple[str, ...] = ()
    """Shell patterns of the device resources that it goes with; empty: it goes without one."""
    labels: tuple[Mapping[str, str], ...] = ()
    """Label sets, any of which tells of it on a node; values are shell patterns. Empty: no label tells."""
    env: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    """Of the pods; those of podTemplate win."""
    resources: Mapping[str, str] = field(default_factory=dict)
    """Further requests and limits, as Kubernetes quantities."""
    mounts: tuple[Mount, ...] = ()
    library_paths: tuple[str, ...] = ()
    """Put in front of LD_LIBRARY_PATH of the image."""
    setup_scripts: tuple[str, ...] = ()
    """Shell files sourced before the engine where they exist."""
    needs: str = ""
    """What the cluster or the image must have that nobody can see in the plan: a warning."""
    answered_by: str = ""
    """An annotation in podTemplate with which the user has answered `needs`."""
    source: str

"""Additions to the pods, out of a closed list."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from deepseek_operator.api.base import Model
from deepseek_operator.api.words import LabelKey, LabelValue, ObjectName


class Volume(Model):
    """A volume of the pods. Exactly one source."""

    name: Annotated[str, StringConstraints(max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
    """Name."""
    persistent_volume_claim: ObjectName | None = None
    """An existing claim, ReadWriteMany or ReadOnlyMany where a group spans nodes."""
    config_map: ObjectName | None = None
    """A ConfigMap."""
    secret: ObjectName | None = None
    """A Secret."""
    host_path: Annotated[str, StringConstraints(max_length=4096, pattern=r"^/.*$")] | None = None
    """A directory of the node; must be allowed by the operator's configuration."""


class VolumeMount(Model):
    """Where a volume appears in the engine container."""

    name: Annotated[str, StringConstraints(max_length=63)]
    """Name of a volume of podTemplate."""
    mount_path: Annotated[str, StringConstraints(max_length=4096, pattern=r"^/[^:]*$")]
    """Directory in the container."""
    read_only: bool = True
    """Mount read-only."""


class PodTemplate(Model):
    """Additions to the pods, out of a closed list."""

    labels: Annotated[dict[LabelKey, LabelValue], Field(max_length=32)] = {}
    """Further labels. The operator's own are refused."""
    annotations: Annotated[
        dict[LabelKey, Annotated[str, StringConstraints(max_length=4096)]], Field(max_length=32)
    ] = {}
    """Further annotations. The operator's own are refused."""
    volumes: Annotated[list[Volume], Field(max_length=16)] = []
    """Further volumes."""
    volume_mounts: Annotated[list[VolumeMount], Field(max_length=16)] = []
    """Mounts of those volumes in the engine container."""

"""The operator's own configuration file (``deepseek-operator run --config FILE``), set by the administrator."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from deepseek_operator import __version__
from deepseek_operator.api.base import Model
from deepseek_operator.api.words import LabelKey, LabelValue


class WeightsConfig(Model):
    """Where fetched weights may be kept."""

    node_path: Annotated[str, StringConstraints(max_length=1024, pattern=r"^/.*[^/]$")] | None = None
    """Directory of every accelerator node for fetched weights; the operator makes a hostPath-backed claim for it."""


class AllowConfig(Model):
    """What a user of the custom resource may ask for beyond Pod Security `baseline`."""

    host_network: bool = False
    """Allows spec.fabric.mode: host."""
    host_path: bool = False
    """Allows hostPath volumes in spec.podTemplate.volumes."""


class OperatorConfig(Model):
    """Everything an administrator may set; the defaults are safe."""

    image: Annotated[str, StringConstraints(min_length=1, max_length=512)] = f"deepseek-operator:{__version__}"
    """This operator's own image: its tool prepares weights in the pods of deployments, which must be able to pull it.
    The chart fills it in."""
    cluster_domain: Annotated[str, StringConstraints(min_length=1, max_length=253)] = "cluster.local"
    """DNS domain of the cluster."""
    weights: WeightsConfig = WeightsConfig()
    """Weights."""
    allow: AllowConfig = AllowConfig()
    """Permissions."""
    metrics_namespace_labels: dict[LabelKey, LabelValue] = {}
    """Labels of the namespaces whose pods may scrape the ranks; empty: none."""
    workers: Annotated[int, Field(ge=1, le=64)] = 8
    """Reconciles at once."""
    writes_per_second: Annotated[int, Field(ge=1, le=1000)] = 100
    """Limit of API writes a second."""
    write_burst: Annotated[int, Field(ge=1, le=2000)] = 200
    """Writes above that limit at once."""
    verify_seconds: Annotated[int, Field(ge=5, le=3600)] = 300
    """Seconds between two comparisons of the cache with the API server."""

"""The values of the Helm chart: ``values.schema.json`` is made from these models, so it cannot drift.

``tests/unit/test_chart.py`` holds ``values.yaml`` to the defaults written here.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from deepseek_operator.api.base import Model
from deepseek_operator.api.config import OperatorConfig
from deepseek_operator.api.words import LabelKey, LabelValue, ObjectName

Free = dict[str, Any]
"""A part of a Kubernetes object, checked by the API server."""
Namespace = Annotated[str, StringConstraints(max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]


class Image(Model):
    """The operator's image."""

    repository: Annotated[str, StringConstraints(min_length=1)] = "deepseek-operator"
    """Repository, with its registry."""
    tag: str = ""
    """Tag. Default: the chart's appVersion."""
    digest: Annotated[str, StringConstraints(pattern=r"^(sha256:[0-9a-f]{64})?$")] = ""
    """Digest; wins over the tag."""
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """When the kubelet pulls."""


class CRDs(Model):
    """The CustomResourceDefinition."""

    enabled: bool = True
    """Install and upgrade it with the chart."""
    keep: bool = True
    """Keep it on uninstall: deleting it deletes every DeepSeekDeployment."""


class ServiceAccount(Model):
    """The operator's ServiceAccount."""

    create: bool = True
    """Make one; otherwise `name` must exist."""
    name: ObjectName | Literal[""] = ""
    """Name. Default: the release's."""
    annotations: dict[str, str] = Field(default_factory=dict)
    """Annotations."""


class RBAC(Model):
    """Rights of people, not of the operator."""

    aggregate: bool = True
    """Add DeepSeekDeployments to the cluster's view, edit and admin roles."""


class PodDisruptionBudget(Model):
    """The operator's own PodDisruptionBudget."""

    enabled: bool = True
    """Keep all but one replica through a drain."""


def _resources() -> Free:
    return {"requests": {"cpu": "100m", "memory": "192Mi"}, "limits": {"memory": "512Mi"}}


class Values(Model):
    """Values of the chart deepseek-operator."""

    replica_count: Annotated[int, Field(ge=0, le=5)] = 2
    """Replicas; one of them leads."""
    image: Image = Image()
    """The operator's image."""
    image_pull_secrets: list[ObjectName] = Field(default_factory=list)
    """Names of Secrets for pulling it."""
    watch_namespaces: list[Namespace] = Field(default_factory=list)
    """Namespaces to watch; empty: all of them."""
    config: OperatorConfig = OperatorConfig()
    """The operator's configuration file; what is left out keeps its default."""
    crds: CRDs = CRDs()
    """The CustomResourceDefinition."""
    service_account: ServiceAccount = ServiceAccount()
    """The operator's ServiceAccount."""
    rbac: RBAC = RBAC()
    """Rights of people."""
    pod_disruption_budget: PodDisruptionBudget = PodDisruptionBudget()
    """The operator's own PodDisruptionBudget."""
    priority_class_name: ObjectName | Literal[""] = ""
    """PriorityClass of the operator's pods."""
    resources: Free = Field(default_factory=_resources)
    """Resources of the operator's container."""
    pod_labels: dict[LabelKey, LabelValue] = Field(default_factory=dict)
    """Further labels of the pods."""
    pod_annotations: dict[str, str] = Field(default_factory=dict)
    """Further annotations of the pods."""
    node_selector: dict[LabelKey, LabelValue] = Field(default_factory=dict)
    """Node selector of the pods."""
    tolerations: list[Free] = Field(default_factory=list)
    """Tolerations of the pods."""
    affinity: Free = Field(default_factory=dict)
    """Affinity of the pods."""
    # Helm hands a parent chart's globals to every chart below it.
    global_: Annotated[Free, Field(alias="global")] = Field(default_factory=dict)
    """Values of a parent chart; not read."""

"""Every kind the operator touches: where it lives, how it is kept up to date, and what that costs in RBAC.

=====================  ==================  ============================================================
kind                   kept by             verbs
=====================  ==================  ============================================================
DeepSeekDeployment     kopf watch          get list watch; status: update; finalizers: update
StatefulSet            kopf watch          get list watch create patch delete
Job                    kopf watch          get list watch create patch delete
Pod                    kopf watch          get list watch create delete; log: get
Node                   kopf watch          get list watch
Service                kopf watch          get list watch create patch delete
NetworkPolicy          kopf watch          get list watch create patch delete
PodDisruptionBudget    kopf watch          get list watch create patch delete
ControllerRevision     kopf watch          get list watch create patch delete
StorageClass           list at verify      list
ResourceSlice          list at verify      list
DeviceClass            list at verify      list
ResourceClaim          list at planning    list
ConfigMap              own watch, or read  get list watch
Secret                 never read          create
PersistentVolume       read when it exists get create patch
PersistentVolumeClaim  with its volume     get create delete
Event                  read while stuck    list create
Lease                  read by the elector get create update
=====================  ==================  ============================================================

PodGroups of three API groups (``POD_GROUPS``) are read when they exist already: get create patch delete. They need not
be served; a gang scheduler brings them.

No finalizer is ever set; the right to is what the admission plugin OwnerReferencesPermissionEnforcement (OpenShift)
asks of those who write ``blockOwnerDeletion``. Children are watched by label, so that the streams carry only our own.
Pods and ResourceClaims of others are listed, not watched, and only when a plan is made (``usage``). ResourceSlices and
DeviceClasses are absent from clusters without DRA, which counts as none.
ConfigMaps are watched in the operator's own namespace only, those that extend the catalogue. Elsewhere the one that
``spec.modelConfig`` names is read, never listed, and only when a plan is made; nothing of it but what is wrong with it
reaches status.
Secrets are never read: whoever may create a deployment must not reach other people's Secrets through the operator.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from deepseek_operator.api import names

_OURS: Final = f"{names.MANAGED_BY_LABEL}={names.MANAGED_BY}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """How a kind is addressed."""

    kind: str
    group: str
    version: str
    plural: str
    namespaced: bool = True
    selector: str = ""
    """Label selector of our watch and lists."""
    watched: bool = False

    @property
    def api_version(self) -> str:
        """``group/version``, or the version alone for the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None = None, name: str | None = None, *, subresource: str = "") -> str:
        """The URL path of the collection, of an object, or of its subresource."""
        parts = ["apis", self.group, self.version] if self.group else ["api", self.version]
        if namespace and self.namespaced:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        if name:
            parts.append(name)
        if subresource:
            parts.append(subresource)
        return "/" + "/".join(parts)


DEPLOYMENT: Final = Kind(kind=names.KIND, group=names.GROUP, version=names.VERSION, plural=names.PLURAL, watched=True)
STATEFUL_SET: Final = Kind(
    kind="StatefulSet", group="apps", version="v1", plural="statefulsets", selector=_OURS, watched=True
)
JOB: Final = Kind(kind="Job", group="batch", version="v1", plural="jobs", selector=_OURS, watched=True)
POD: Final = Kind(kind="Pod", group="", version="v1", plural="pods", selector=_OURS, watched=True)
NODE: Final = Kind(kind="Node", group="", version="v1", plural="nodes", namespaced=False, watched=True)
SERVICE: Final = Kind(kind="Service", group="", version="v1", plural="services", selector=_OURS, watched=True)
NETWORK_POLICY: Final = Kind(
    kind="NetworkPolicy",
    group="networking.k8s.io",
    version="v1",
    plural="networkpolicies",
    selector=_OURS,
    watched=True,
)
BUDGET: Final = Kind(
    kind="PodDisruptionBudget",
    group="policy",
    version="v1",
    plural="poddisruptionbudgets",
    selector=_OURS,
    watched=True,
)
REVISION: Final = Kind(
    kind="ControllerRevision",
    group="apps",
    version="v1",
    plural="controllerrevisions",
    selector=names.REVISION_OF_LABEL,
    watched=True,
)
SECRET: Final = Kind(kind="Secret", group="", version="v1", plural="secrets")
VOLUME: Final = Kind(kind="PersistentVolume", group="", version="v1", plural="persistentvolumes", namespaced=False)
CLAIM: Final = Kind(kind="PersistentVolumeClaim", group="", version="v1", plural="persistentvolumeclaims")
STORAGE_CLASS: Final = Kind(
    kind="StorageClass", group="storage.k8s.io", version="v1", plural="storageclasses", namespaced=False
)
RESOURCE_SLICE: Final = Kind(
    kind="ResourceSlice", group="resource.k8s.io", version="v1", plural="resourceslices", namespaced=False
)
DEVICE_CLASS: Final = Kind(
    kind="DeviceClass", group="resource.k8s.io", version="v1", plural="deviceclasses", namespaced=False
)
RESOURCE_CLAIM: Final = Kind(kind="ResourceClaim", group="resource.k8s.io", version="v1", plural="resourceclaims")
CONFIG_MAP: Final = Kind(
    kind="ConfigMap", group="", version="v1", plural="configmaps", selector=f"{names.CATALOG_LABEL}=true"
)
MODEL_CONFIG: Final = replace(CONFIG_MAP, selector="")
"""A ConfigMap that a deployment names."""
EVENT: Final = Kind(kind="Event", group="events.k8s.io", version="v1", plural="events")
LEASE: Final = Kind(kind="Lease", group="coordination.k8s.io", version="v1", plural="leases")

ALL: Final = (
    DEPLOYMENT, STATEFUL_SET, JOB, POD, NODE, SERVICE, NETWORK_POLICY, BUDGET, REVISION, SECRET, VOLUME, CLAIM,
    STORAGE_CLASS, RESOURCE_SLICE, DEVICE_CLASS, RESOURCE_CLAIM, CONFIG_MAP, EVENT, LEASE,
)  # fmt: skip
POD_GROUP: Final = "PodGroup"
POD_GROUPS: Final = {
    f"{group}/{version}": Kind(kind=POD_GROUP, group=group, version=version, plural="podgroups")
    for group, version in (
        ("scheduling.x-k8s.io", "v1alpha1"),
        ("scheduling.run.ai", "v2alpha2"),
        ("scheduling.k8s.io", "v1beta1"),
    )
}
"""Group objects of gang schedulers, by apiVersion."""
WORKLOADS: Final = (STATEFUL_SET, JOB)
"""What makes the pods of groups."""
BY_KIND: Final = {kind.kind: kind for kind in ALL}
WATCHED: Final = tuple(kind for kind in ALL if kind.watched)

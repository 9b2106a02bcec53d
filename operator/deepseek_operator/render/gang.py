"""Gang scheduling by adapters: all pods of a group get nodes together, or none does.

Keys and shapes are those of the sources: Volcano 1.15 (``pkg/controllers/podgroup``), scheduler-plugins
(``apis/scheduling/v1alpha1``), Kueue 0.19 (``pkg/controller/jobs/statefulset``), KAI (``pkg/podgrouper``), and
Kubernetes 1.37 (``scheduling.k8s.io/v1beta1``, KEP-4671, feature gate GenericWorkload). Where a scheduler makes its
own group object from annotations, it is left to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from deepseek_operator.api.names import group_name
from deepseek_operator.render.owner import Owner, child, group_labels

if TYPE_CHECKING:
    from deepseek_operator.api.operation import Gang
    from deepseek_operator.render.revision import RevisionContent

SCHEDULERS: Final[Mapping[str, str]] = {
    "volcano": "volcano",
    "coscheduling": "scheduler-plugins-scheduler",
    "kai": "kai-scheduler",
}
"""``schedulerName`` of the pods where spec.scheduling.schedulerName does not say otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """What a scheduler must find on a group's objects."""

    set_labels: Mapping[str, str] = field(default_factory=dict)
    set_annotations: Mapping[str, str] = field(default_factory=dict)
    pod_labels: Mapping[str, str] = field(default_factory=dict)
    pod_annotations: Mapping[str, str] = field(default_factory=dict)
    pod_spec: Mapping[str, Any] = field(default_factory=dict)


def membership(owner: Owner, index: int, revision: RevisionContent) -> Membership:
    """The marks of one group."""
    gang, queue = _wanted(revision)
    name, size = group_name(owner.name, index), str(revision.nodes_per_group)
    if gang == "volcano":
        queued = {"scheduling.volcano.sh/queue-name": queue} if queue else {}
        return Membership(set_annotations={"scheduling.volcano.sh/group-min-member": size}, pod_annotations=queued)
    if gang == "coscheduling":
        return Membership(pod_labels={"scheduling.x-k8s.io/pod-group": name})
    if gang == "kueue":
        return Membership(set_labels={"kueue.x-k8s.io/queue-name": queue})
    if gang == "kai":
        queued = {"kai.scheduler/queue": queue} if queue else {}
        return Membership(
            set_annotations={"kai.scheduler/skip-podgrouper": "true"},
            pod_labels=queued,
            pod_annotations={"pod-group-name": name},
        )
    if gang == "kubernetes":
        return Membership(pod_spec={"schedulingGroup": {"podGroupName": name}})
    return Membership()


def pod_group(owner: Owner, index: int, revision: RevisionContent) -> dict[str, Any] | None:
    """The group object that a scheduler expects from us; None where it makes its own or needs none."""
    gang, queue = _wanted(revision)
    size = revision.nodes_per_group
    queued = {"queue": queue} if queue else {}
    shapes: dict[str, tuple[str, dict[str, Any]]] = {
        "coscheduling": ("scheduling.x-k8s.io/v1alpha1", {"minMember": size}),
        "kai": ("scheduling.run.ai/v2alpha2", {"minMember": size, **queued}),
        "kubernetes": (
            "scheduling.k8s.io/v1beta1",
            {"schedulingPolicy": {"gang": {"minCount": size}}, "disruptionMode": {"all": {}}},
        ),
    }
    if gang not in shapes:
        return None
    api_version, body = shapes[gang]
    manifest = child(
        owner,
        api_version=api_version,
        kind="PodGroup",
        name=group_name(owner.name, index),
        labels=group_labels(owner, index),
    )
    return {**manifest, "spec": body}


def _wanted(revision: RevisionContent) -> tuple[Gang, str]:
    scheduling = revision.spec.get("scheduling", {})
    return scheduling.get("gang", "none"), scheduling.get("queue", "")

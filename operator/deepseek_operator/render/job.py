"""The Job of a group that answers a batch: one pod a node, once; the Job of a start is never changed.

A failed rank fails the whole Job, whatever became of the others, and the operator makes the next start as a new Job: a
Job's own retries would put a new rank beside old ones. Its controller names the pod of index 0 ``<job>-0`` in DNS, as
a StatefulSet does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from deepseek_operator.api.names import ENGINE_CONTAINER, group_name
from deepseek_operator.render.gang import membership
from deepseek_operator.render.group_pods import group_pods, marks
from deepseek_operator.render.owner import Owner, child, group_labels

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from deepseek_operator.render.revision import RevisionContent

_FAIL_WHOLE: Final[Sequence[Mapping[str, Any]]] = (
    {
        "action": "FailJob",
        "onExitCodes": {"containerName": ENGINE_CONTAINER, "operator": "NotIn", "values": [0]},
    },
    {"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
)
"""Both end the Job at once, with the pod and its exit code in the Job's own words; backoffLimit 0 does for the rest."""


def batch_job(
    *,
    owner: Owner,
    index: int,
    revision: RevisionContent,
    incarnation: int,
    cluster_domain: str,
    avoided_nodes: Sequence[str] = (),
) -> dict[str, Any]:
    """The Job of one start of a group."""
    name = group_name(owner.name, index)
    joined = membership(owner, index, revision)
    labels = {**group_labels(owner, index), **joined.set_labels}
    manifest = child(owner, api_version="batch/v1", kind="Job", name=name, labels=labels)
    manifest["metadata"]["annotations"] = {**marks(revision), **joined.set_annotations}
    template = group_pods(
        owner, index, revision, incarnation=incarnation, cluster_domain=cluster_domain, avoided_nodes=avoided_nodes
    )
    template["spec"]["subdomain"] = name
    manifest["spec"] = {
        "completionMode": "Indexed",
        "completions": revision.nodes_per_group,
        "parallelism": revision.nodes_per_group,
        "backoffLimit": 0,
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {"rules": [dict(rule) for rule in _FAIL_WHOLE]},
        "template": template,
    }
    return manifest

"""The StatefulSet of one group: the revision's template, made this group's and this start's."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from deepseek_operator.api.names import group_name
from deepseek_operator.render.gang import membership
from deepseek_operator.render.group_pods import group_pods, marks
from deepseek_operator.render.owner import Owner, child, group_labels, pod_selector
from deepseek_operator.render.revision import POD_MANAGEMENT_POLICY, RevisionContent

if TYPE_CHECKING:
    from collections.abc import Sequence


def stateful_set(
    *,
    owner: Owner,
    index: int,
    revision: RevisionContent,
    incarnation: int,
    replicas: int,
    cluster_domain: str,
    avoided_nodes: Sequence[str] = (),
) -> dict[str, Any]:
    """A group's StatefulSet; ``replicas`` is the nodes of the group, or 0 to stop it.

    Nothing but ``spec.replicas`` depends on ``replicas``, so that a stop changes one number. Pods are
    replaced only by a stop and a start (OnDelete): two templates never mix in a group.
    """
    name = group_name(owner.name, index)
    joined = membership(owner, index, revision)
    labels = {**group_labels(owner, index), **joined.set_labels}
    manifest = child(owner, api_version="apps/v1", kind="StatefulSet", name=name, labels=labels)
    manifest["metadata"]["annotations"] = {**marks(revision), **joined.set_annotations}
    manifest["spec"] = {
        "replicas": replicas,
        "serviceName": name,
        "podManagementPolicy": POD_MANAGEMENT_POLICY,
        "updateStrategy": {"type": "OnDelete"},
        # Each start changes the template; old copies of it are of no use, since nothing rolls back by them.
        "revisionHistoryLimit": 1,
        "selector": {"matchLabels": pod_selector(owner, index)},
        "template": group_pods(
            owner,
            index,
            revision,
            incarnation=incarnation,
            cluster_domain=cluster_domain,
            avoided_nodes=avoided_nodes,
        ),
    }
    if revision.claim_templates:
        manifest["spec"]["volumeClaimTemplates"] = copy.deepcopy(list(revision.claim_templates))
        manifest["spec"]["persistentVolumeClaimRetentionPolicy"] = {
            "whenDeleted": "Delete",
            "whenScaled": "Retain",
        }
    return manifest

"""The pods of one group's start: the revision's template with the group, its leader and its incarnation in it."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from deepseek_operator.api.names import (
    ENGINE_CONTAINER,
    GROUP_LABEL,
    IMMUTABLE_HASH_ANNOTATION,
    INCARNATION_LABEL,
    PREFLIGHT_CONTAINER,
    REVISION_COPY_ANNOTATION,
    REVISION_LABEL,
    TEMPLATE_HASH_ANNOTATION,
    leader_address,
)
from deepseek_operator.render.gang import membership
from deepseek_operator.render.owner import Owner, pod_selector
from deepseek_operator.render.revision import RevisionContent, copy_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def group_pods(
    owner: Owner,
    index: int,
    revision: RevisionContent,
    *,
    incarnation: int,
    cluster_domain: str,
    avoided_nodes: Sequence[str] = (),
) -> dict[str, Any]:
    """The template of whatever makes the pods."""
    leader = leader_address(owner.name, index, owner.namespace, cluster_domain=cluster_domain)
    template = _template(owner, index, revision, incarnation=incarnation, leader=leader)
    joined = membership(owner, index, revision)
    template["metadata"]["labels"] |= joined.pod_labels
    template["metadata"]["annotations"] |= joined.pod_annotations
    template["spec"] |= joined.pod_spec
    if avoided_nodes:
        _avoid(template, avoided_nodes)
    return template


def marks(revision: RevisionContent) -> dict[str, str]:
    """The annotations by which the operator knows again what a workload runs."""
    return {
        TEMPLATE_HASH_ANNOTATION: revision.template_hash,
        IMMUTABLE_HASH_ANNOTATION: revision.immutable_hash,
        REVISION_COPY_ANNOTATION: copy_of(revision),
    }


def _template(owner: Owner, index: int, revision: RevisionContent, *, incarnation: int, leader: str) -> dict[str, Any]:
    template: dict[str, Any] = copy.deepcopy(dict(revision.template))
    template["metadata"]["labels"] |= {
        GROUP_LABEL: str(index),
        INCARNATION_LABEL: str(incarnation),
        REVISION_LABEL: revision.hash,
    }
    for term in _affinity_terms(template, "podAffinity"):
        term["labelSelector"] = {"matchLabels": pod_selector(owner, index)}
    for container in _members(template):
        container["env"] = [
            {"name": "GROUP", "value": str(index)},
            {"name": "LEADER_ADDRESS", "value": leader},
            *container["env"],
        ]
    if revision.nodes_per_group > 1:
        template["spec"]["affinity"]["podAntiAffinity"] = _one_pod_a_node(pod_selector(owner, index))
    return template


def _avoid(template: Mapping[str, Any], names: Sequence[str]) -> None:
    """Keep the pods off nodes, by name: a field takes one value, and all fields of a term must hold."""
    affinity = template["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    for term in affinity["nodeSelectorTerms"]:
        term["matchFields"] = [{"key": "metadata.name", "operator": "NotIn", "values": [name]} for name in names]


def _affinity_terms(template: Mapping[str, Any], kind: str) -> list[dict[str, Any]]:
    affinity = template["spec"].get("affinity", {}).get(kind, {})
    terms: list[dict[str, Any]] = affinity.get("requiredDuringSchedulingIgnoredDuringExecution", [])
    return terms


def _members(template: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The containers in which a rank meets the others."""
    spec = template["spec"]
    return [
        container
        for container in (*spec["containers"], *spec.get("initContainers", ()))
        if container["name"] in (ENGINE_CONTAINER, PREFLIGHT_CONTAINER)
    ]


def _one_pod_a_node(selector: Mapping[str, str]) -> dict[str, Any]:
    term = {"labelSelector": {"matchLabels": dict(selector)}, "topologyKey": "kubernetes.io/hostname"}
    return {"requiredDuringSchedulingIgnoredDuringExecution": [term]}

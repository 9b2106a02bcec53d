"""Whom an object belongs to: the owner reference, and the labels by which children and pods are found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from deepseek_operator.api.names import (
    API_VERSION,
    DEPLOYMENT_LABEL,
    GROUP_LABEL,
    KIND,
    MANAGED_BY,
    MANAGED_BY_LABEL,
    UID_LABEL,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The DeepSeekDeployment that objects are made for."""

    name: str
    namespace: str
    uid: str


def owner_reference(owner: Owner) -> dict[str, Any]:
    """The reference by which the garbage collector deletes a child after its owner."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": owner.name,
        "uid": owner.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def labels(owner: Owner) -> dict[str, str]:
    """The labels of every child."""
    return {MANAGED_BY_LABEL: MANAGED_BY, DEPLOYMENT_LABEL: owner.name, UID_LABEL: owner.uid}


def group_labels(owner: Owner, index: int) -> dict[str, str]:
    """The labels of everything that belongs to one group."""
    return {**labels(owner), GROUP_LABEL: str(index)}


def pod_selector(owner: Owner, index: int) -> dict[str, str]:
    """What selects the pods of one group, and no pod of a deleted namesake: the UID is part of it."""
    return {DEPLOYMENT_LABEL: owner.name, UID_LABEL: owner.uid, GROUP_LABEL: str(index)}


def child(owner: Owner, *, api_version: str, kind: str, name: str, labels: dict[str, str]) -> dict[str, Any]:
    """The head of an owned object: everything but its spec."""
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": owner.namespace,
            "labels": labels,
            "ownerReferences": [owner_reference(owner)],
        },
    }

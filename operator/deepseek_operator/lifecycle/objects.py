"""Which objects differ from what they should be, and the actions that mend them."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from deepseek_operator.api.names import group_name
from deepseek_operator.lifecycle.actions import Apply, Delete
from deepseek_operator.lifecycle.records import ChildKey, ChildRecord, RevisionRecord
from deepseek_operator.render.digest import desired_hash, missing_ownership, with_desired_hash

GROUP_KINDS = ("StatefulSet", "Job", "PodDisruptionBudget", "NetworkPolicy", "Service")
"""In the order of deletion: the pods' owner first."""
REVISIONS_KEPT = 10


def difference(manifest: Mapping[str, Any], child: ChildRecord | None) -> str | None:
    """The first reason why an object is not as it should be; None when it is.

    Two questions, both answerable without a read: is what we last applied what we want now (the hash), and does every
    field that we applied still belong to us (managedFields)? A field that somebody else changed or removed left our
    entry, so an edit shows without keeping specs in the cache.
    """
    if child is None:
        return "missing"
    if child.desired_hash != desired_hash(manifest):
        return "the desired state changed"
    owned = json.loads(zlib.decompress(child.owned_fields)) if child.owned_fields else {}
    lost = missing_ownership(manifest, owned)
    return f"{lost} was changed by someone else" if lost else None


def mend(manifests: Iterable[Mapping[str, Any]], children: Mapping[ChildKey, ChildRecord]) -> list[Apply]:
    """Applies for the manifests that are missing or differ."""
    actions = []
    for manifest in manifests:
        child = children.get((manifest["kind"], manifest["metadata"]["name"]))
        if why := difference(manifest, child):
            uid = child.uid if child else None
            actions.append(Apply(manifest=with_desired_hash(manifest), uid=uid, why=why))
    return actions


def group_children(children: Mapping[ChildKey, ChildRecord], *, deployment: str, index: int) -> list[ChildRecord]:
    """The objects of one group that exist, in the order of deletion."""
    name = group_name(deployment, index)
    return [children[kind, name] for kind in GROUP_KINDS if (kind, name) in children]


def groups_of(children: Mapping[ChildKey, ChildRecord], *, deployment: str) -> frozenset[int]:
    """The indexes of all groups of which some object exists."""
    prefix = group_name(deployment, 0).removesuffix("0")
    named = (name.removeprefix(prefix) for kind, name in children if kind in GROUP_KINDS and name.startswith(prefix))
    return frozenset(int(number) for number in named if number.isdecimal())


def surplus_revisions(revisions: Mapping[str, RevisionRecord], *, in_use: Iterable[str]) -> Sequence[Delete]:
    """Deletes for the oldest stored revisions beyond the last ten; those in use stay."""
    used = set(in_use)
    spare = sorted(
        (record for record in revisions.values() if record.revision not in used),
        key=lambda record: record.number,
    )
    excess = max(0, len(revisions) - REVISIONS_KEPT)
    return [Delete(kind=record.kind, name=record.name, uid=record.uid) for record in spare[:excess]]

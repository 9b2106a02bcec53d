"""Revisions: what a spec means for its pods, computed once, stored, never computed again.

A revision is the hash of the fields of a spec that affect pods. Its plan and pod template are kept in a
ControllerRevision, so that groups keep running what they were started with while nodes come and go and the
operator is replaced by newer ones, and so that going back to an earlier spec finds what ran then.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal

from deepseek_operator.api.names import (
    DEPLOYMENT_LABEL,
    GROUP_LABEL,
    MANAGED_BY,
    MANAGED_BY_LABEL,
    REVISION_LABEL,
    REVISION_OF_LABEL,
    UID_LABEL,
    revision_name,
)
from deepseek_operator.api.problems import InvalidInputError, Problem
from deepseek_operator.plan.stored import dump
from deepseek_operator.render.digest import short_hash
from deepseek_operator.render.owner import Owner, child
from deepseek_operator.render.pod import pod_template
from deepseek_operator.render.weights import claim_templates

if TYPE_CHECKING:
    from deepseek_operator.api.resource import Spec
    from deepseek_operator.engines.types import Launch
    from deepseek_operator.plan.types import Plan

POD_FIELDS: Final = (
    "model",
    "modelConfig",
    "revision",
    "servedName",
    "trustRemoteCode",
    "precision",
    "context",
    "engine",
    "hardware",
    "parallelism",
    "fabric",
    "weights",
    "restartedAt",
    "scheduling",
    "podTemplate",
    "batch",
)
"""Fields of the spec that a revision is made of, and ``access.keys``. The rest changes without a restart."""
PATIENCE: Final = {"scheduling": "holdTimeoutSeconds"}
"""Parts of those fields that only decisions read."""

Workload = Literal["StatefulSet", "Job"]
POD_MANAGEMENT_POLICY: Final = "Parallel"
_HASH_LENGTH: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionContent:
    """A stored revision."""

    hash: str
    plan: Mapping[str, Any]
    """As plan.stored dumps it."""
    template: Mapping[str, Any]
    """The pod template without what differs between groups and their starts."""
    nodes_per_group: int
    claim_templates: tuple[Mapping[str, Any], ...]
    """volumeClaimTemplates of the StatefulSets."""
    template_hash: str
    spec: Mapping[str, Any]
    """The fields of the spec that it is the hash of; what going back writes. Empty where an older version stored it."""

    @property
    def workload(self) -> Workload:
        """The kind of object that makes the pods of a group."""
        return "Job" if "batch" in self.spec else "StatefulSet"

    @property
    def immutable_hash(self) -> str:
        """The hash of the StatefulSet fields that only delete-and-create can change; of a Job, its kind.

        The service's name and the selector's values follow from the object's own name and owner; only the
        form of the selector could differ between two versions of the operator.
        """
        if self.workload == "Job":
            return short_hash({"kind": self.workload})
        return short_hash(
            {
                "podManagementPolicy": POD_MANAGEMENT_POLICY,
                "selector": [DEPLOYMENT_LABEL, UID_LABEL, GROUP_LABEL],
                "volumeClaimTemplates": list(self.claim_templates),
            }
        )


def revision_hash(spec: Spec) -> str:
    """Ten hex digits over the fields that affect pods, those with default values left out.

    Leaving defaults out keeps the hash of every existing spec when a later version adds an optional field.
    """
    return short_hash(_hashed(spec), length=_HASH_LENGTH)


def _hashed(spec: Spec) -> dict[str, Any]:
    written = spec.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    fields: dict[str, Any] = {name: written[name] for name in POD_FIELDS if name in written}
    for name, part in PATIENCE.items():
        if name in fields:
            fields[name] = {key: value for key, value in fields[name].items() if key != part}
    fields = {name: value for name, value in fields.items() if value != {}}
    if keys := written.get("access", {}).get("keys"):
        fields["access"] = {"keys": keys}
    return fields


def new_revision(*, owner: Owner, spec: Spec, plan: Plan, launch: Launch) -> RevisionContent:
    """The revision of a spec for which there is none yet."""
    revision = revision_hash(spec)
    template = pod_template(owner=owner, spec=spec, plan=plan, launch=launch, revision=revision)
    return RevisionContent(
        hash=revision,
        plan=dump(plan),
        template=template,
        nodes_per_group=plan.nodes_per_group,
        claim_templates=tuple(claim_templates(plan.weights)),
        template_hash=short_hash(template),
        spec=_hashed(spec),
    )


def controller_revision(owner: Owner, content: RevisionContent, number: int) -> dict[str, Any]:
    """The object that stores a revision. ``number`` orders revisions by age.

    Its labels are apart from those that select pods: the StatefulSet controller adopts revisions that match
    the selector of one of its sets.
    """
    labels = {
        MANAGED_BY_LABEL: MANAGED_BY,
        REVISION_LABEL: content.hash,
        REVISION_OF_LABEL: owner.uid,
    }
    name = revision_name(owner.name, content.hash)
    stored = child(owner, api_version="apps/v1", kind="ControllerRevision", name=name, labels=labels)
    stored["revision"] = number
    stored["data"] = _data(content)
    return stored


def _data(content: RevisionContent) -> dict[str, Any]:
    return {
        "hash": content.hash,
        "plan": dict(content.plan),
        "template": dict(content.template),
        "nodesPerGroup": content.nodes_per_group,
        "claimTemplates": list(content.claim_templates),
        "templateHash": content.template_hash,
        "spec": dict(content.spec),
    }


@lru_cache(maxsize=2048)
def _packed(text: str) -> str:
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def copy_of(content: RevisionContent) -> str:
    """The revision as text for an annotation: about 8 KB for two nodes. ``unpack`` reads it."""
    return _packed(json.dumps(_data(content), sort_keys=True, separators=(",", ":")))


def unpack(copied: str) -> Mapping[str, Any] | None:
    """What ``copy_of`` packed, as ControllerRevision data; None when it is no such text."""
    try:
        data: Mapping[str, Any] = json.loads(zlib.decompress(base64.b64decode(copied, validate=True)))
    except (ValueError, zlib.error):
        return None
    return data if isinstance(data, dict) else None


def parse(manifest: Mapping[str, Any]) -> RevisionContent:
    """Read a ControllerRevision back; only ``data`` is read.

    Raises InvalidInputError when it holds no revision of ours.
    """
    data = manifest.get("data") or {}
    try:
        return RevisionContent(
            hash=data["hash"],
            plan=data["plan"],
            template=data["template"],
            nodes_per_group=data["nodesPerGroup"],
            claim_templates=tuple(data["claimTemplates"]),
            template_hash=data["templateHash"],
            spec=data.get("spec", {}),
        )
    except KeyError as missing:
        name = manifest.get("metadata", {}).get("name", "without a name")
        raise InvalidInputError(
            Problem(
                field=f"ControllerRevision {name}",
                reason="RevisionUnreadable",
                message=f"data has no {missing}; delete the object and the revision is planned anew",
            )
        ) from missing

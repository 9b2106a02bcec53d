"""From a spec to its revision: the stored one where it holds, a fresh plan where there is none.

A plan is sticky. New nodes or a new operator never move it; it is made anew only while no group of its revision has
ever served and the cluster no longer offers the class of nodes that it chose.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from deepseek_operator.api.config import OperatorConfig
from deepseek_operator.api.names import revision_name
from deepseek_operator.api.operation import Toleration
from deepseek_operator.api.problems import InvalidInputError, Problem
from deepseek_operator.api.resource import Spec
from deepseek_operator.catalog.types import Catalog
from deepseek_operator.lifecycle.outcome import NewSecrets, Outcome
from deepseek_operator.lifecycle.planning import plan_spec, revision_of, with_own_model
from deepseek_operator.lifecycle.records import Snapshot
from deepseek_operator.plan.exposure import known_flaws
from deepseek_operator.plan.occupancy import widest
from deepseek_operator.plan.offers import in_domains
from deepseek_operator.plan.stored import restore
from deepseek_operator.plan.types import Facts, HardwareClass, Inventory, Plan, Refusal
from deepseek_operator.render.owner import Owner
from deepseek_operator.render.revision import RevisionContent, parse, revision_hash

_UNREAD = Refusal(
    problems=(Problem(field="spec.modelConfig", reason="ModelConfigUnread", message="the ConfigMap was not read yet"),),
    considered=(),
    waits_for_cluster=True,
)
InventoryOf = Callable[[Sequence[Toleration]], Inventory]
Planned = tuple[RevisionContent, Plan]


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What planning may look at besides the spec."""

    catalog: Catalog
    config: OperatorConfig
    facts: Facts
    inventory_of: InventoryOf


def resolve(snapshot: Snapshot, around: Surroundings, *, new_secrets: NewSecrets) -> Outcome:
    """The outcome of planning a deployment's current spec."""
    known = {**snapshot.copies, **{record.revision: record.content for record in snapshot.revisions.values()}}
    readable = {revision: found for revision, content in known.items() if (found := _read(content))}
    contents = {revision: found[0] for revision, found in readable.items()}
    try:
        spec = read_spec(snapshot.deployment.spec)
    except InvalidInputError as error:
        return Outcome(config=around.config, spec=None, invalid=error.problems, contents=contents)
    revision = revision_hash(spec)
    kept = readable.get(revision)
    if kept is None and revision in known:
        return Outcome(config=around.config, spec=spec, refusal=_unreadable(snapshot, revision), contents=contents)
    inventory = around.inventory_of(spec.scheduling.tolerations)
    if kept and _holds(snapshot, kept, inventory):
        chosen = kept
    elif spec.config_json is not None and snapshot.model_config is None:
        return Outcome(config=around.config, spec=spec, refusal=_UNREAD, wants_config=True, contents=contents)
    else:
        fresh = _plan(snapshot, spec, inventory, around)
        if isinstance(fresh, Refusal):
            if kept is None:
                return Outcome(config=around.config, spec=spec, refusal=fresh, contents=contents)
            # Nothing better is to be had: keep what was chosen, its pods wait for their nodes.
            fresh = kept
        chosen = fresh
    content, plan = chosen
    return Outcome(
        config=around.config,
        spec=spec,
        content=content,
        plan=plan,
        stored=revision in snapshot.revisions and kept is not None and kept[0].template_hash == content.template_hash,
        contents=contents,
        flaws=known_flaws(plan, around.catalog),
        new_secrets=new_secrets,
    )


def read_spec(data: object) -> Spec:
    """A spec as the API server stores it. Raises InvalidInputError with one problem for each wrong field."""
    try:
        return Spec.model_validate(data)
    except ValidationError as error:
        raise InvalidInputError(*(_problem(detail) for detail in error.errors())) from error


def _problem(detail: ErrorDetails) -> Problem:
    path = ".".join(str(part) for part in ("spec", *detail["loc"]))
    return Problem(field=path, reason="InvalidField", message=f"{detail['msg']}; got {detail['input']!r:.80}")


def _plan(snapshot: Snapshot, spec: Spec, inventory: Inventory, around: Surroundings) -> Planned | Refusal:
    deployment = snapshot.deployment
    catalog = around.catalog
    if spec.config_json is not None and snapshot.model_config is not None:
        found = with_own_model(spec, spec.config_json, snapshot.model_config, catalog)
        if isinstance(found, Refusal):
            return found
        catalog = found
    plan = plan_spec(spec, inventory, catalog, around.facts, namespace=deployment.namespace, name=deployment.name)
    if isinstance(plan, Refusal):
        return plan
    owner = Owner(name=deployment.name, namespace=deployment.namespace, uid=deployment.uid)
    return revision_of(owner, spec, plan, catalog, cluster_domain=around.config.cluster_domain), plan


def _holds(snapshot: Snapshot, kept: Planned, inventory: Inventory) -> bool:
    """The stored plan is not to be touched: it has served, or its nodes are still there."""
    content, plan = kept
    if content.hash in snapshot.deployment.status.get("servedRevisions", ()):
        return True
    key = plan.hardware.topology_key
    offered = (in_domains(each, inventory.labels, key) for each in inventory.classes)
    return any(isinstance(each, HardwareClass) and _satisfies(each, plan) for each in offered)


def _satisfies(offered: HardwareClass, plan: Plan) -> bool:
    chosen = plan.hardware
    return (
        (offered.vendor, offered.product, offered.resource, offered.host_architecture)
        == (chosen.vendor, chosen.product, chosen.resource, chosen.host_architecture)
        and offered.accelerators_per_node >= plan.accelerators_per_node
        and offered.rdma_resource == chosen.rdma_resource
        and widest(offered) >= plan.nodes_per_group
    )


def _unreadable(snapshot: Snapshot, revision: str) -> Refusal:
    """Another version of the operator stored a plan that this one cannot read: running groups are left as they are."""
    problem = Problem(
        field=f"ControllerRevision {revision_name(snapshot.deployment.name, revision)}",
        reason="RevisionUnreadable",
        message="another version of the operator stored it; set spec.restartedAt to plan anew, or run that version",
    )
    return Refusal(problems=(problem,), considered=(), waits_for_cluster=False)


@lru_cache(maxsize=2048)
def _read(packed: bytes) -> Planned | None:
    """A stored revision with its plan; None when this version cannot read it."""
    try:
        content = parse({"data": json.loads(zlib.decompress(packed))})
        return content, restore(content.plan)
    except (InvalidInputError, ValidationError):
        return None

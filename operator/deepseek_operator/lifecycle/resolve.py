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
from deepseek_operator.api.problems import InvalidInputError, Problem
from deepseek_operator.api.resource import Spec, Toleration
from deepseek_operator.catalog.types import Catalog
from deepseek_operator.lifecycle.outcome import Outcome
from deepseek_operator.lifecycle.planning import plan_spec, revision_of
from deepseek_operator.lifecycle.records import Snapshot
from deepseek_operator.plan.stored import restore
from deepseek_operator.plan.types import Facts, HardwareClass, Inventory, Plan, Refusal
from deepseek_operator.render.owner import Owner
from deepseek_operator.render.revision import RevisionContent, parse, revision_hash

InventoryOf = Callable[[Sequence[Toleration]], Inventory]
Planned = tuple[RevisionContent, Plan]


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What planning may look at besides the spec."""

    catalog: Catalog
    config: OperatorConfig
    facts: Facts
    inventory_of: InventoryOf


def resolve(snapshot: Snapshot, around: Surroundings, *, keys: tuple[str, str]) -> Outcome:
    """The outcome of planning a deployment's current spec."""
    contents = {record.revision: _read(record.content)[0] for record in snapshot.revisions.values()}
    try:
        spec = read_spec(snapshot.deployment.spec)
    except InvalidInputError as error:
        return Outcome(config=around.config, spec=None, invalid=error.problems, contents=contents)
    record = snapshot.revisions.get(revision_hash(spec))
    kept = _read(record.content) if record else None
    inventory = around.inventory_of(spec.scheduling.tolerations)
    if kept and _holds(snapshot, kept, inventory):
        chosen = kept
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
        stored=kept is not None and kept[0].template_hash == content.template_hash,
        contents=contents,
        keys=keys,
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
    plan = plan_spec(
        spec, inventory, around.catalog, around.facts, namespace=deployment.namespace, name=deployment.name
    )
    if isinstance(plan, Refusal):
        return plan
    owner = Owner(name=deployment.name, namespace=deployment.namespace, uid=deployment.uid)
    return revision_of(owner, spec, plan, around.catalog, cluster_domain=around.config.cluster_domain), plan


def _holds(snapshot: Snapshot, kept: Planned, inventory: Inventory) -> bool:
    """The stored plan is not to be touched: it has served, or its nodes are still there."""
    content, plan = kept
    groups = snapshot.deployment.status.get("groups", ())
    if any(group.get("formed") and group.get("revision") == content.hash for group in groups):
        return True
    return any(_satisfies(offered, plan) for offered in inventory.classes)


def _satisfies(offered: HardwareClass, plan: Plan) -> bool:
    chosen = plan.hardware
    return (
        (offered.vendor, offered.product, offered.resource, offered.host_architecture)
        == (chosen.vendor, chosen.product, chosen.resource, chosen.host_architecture)
        and offered.accelerators_per_node >= plan.accelerators_per_node
        and offered.rdma_resource == chosen.rdma_resource
        and len(offered.nodes) >= plan.nodes_per_group
    )


@lru_cache(maxsize=512)
def _read(packed: bytes) -> Planned:
    content = parse({"data": json.loads(zlib.decompress(packed))})
    return content, restore(content.plan)

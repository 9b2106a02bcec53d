"""From a spec to what a group runs: plan, arguments checked, launch, revision.

The operator and the command line call the same functions, so that ``plan`` and ``render`` show what the operator does.
"""

from __future__ import annotations

import dataclasses

from deepseek_operator.api.problems import Problem
from deepseek_operator.api.resource import Spec
from deepseek_operator.catalog.types import Catalog
from deepseek_operator.engines.select import check_args, directories, doubts, launch
from deepseek_operator.engines.types import Launch
from deepseek_operator.plan.placement import make_plan
from deepseek_operator.plan.types import Facts, Inventory, Plan, Refusal
from deepseek_operator.render.owner import Owner
from deepseek_operator.render.pod import collisions
from deepseek_operator.render.revision import RevisionContent, new_revision


def plan_spec(
    spec: Spec, inventory: Inventory, catalog: Catalog, facts: Facts, *, namespace: str, name: str
) -> Plan | Refusal:
    """The plan of a spec whose engine arguments and mounts go with it, or why there is none."""

    def check(spec: Spec, plan: Plan) -> tuple[Problem, ...]:
        return (*check_args(spec, plan), *collisions(spec, plan, directories=directories(plan, catalog)))

    outcome = make_plan(spec, inventory, catalog, facts, namespace=namespace, name=name, check=check)
    if isinstance(outcome, Refusal) or not (unchecked := doubts(spec, outcome)):
        return outcome
    return dataclasses.replace(outcome, warnings=(*outcome.warnings, *unchecked))


def launch_plan(plan: Plan, spec: Spec, catalog: Catalog, *, namespace: str, name: str, cluster_domain: str) -> Launch:
    """How the engine of a plan starts."""
    return launch(plan, spec, catalog, name=name, namespace=namespace, cluster_domain=cluster_domain)


def revision_of(owner: Owner, spec: Spec, plan: Plan, catalog: Catalog, *, cluster_domain: str) -> RevisionContent:
    """The revision that a fresh plan becomes."""
    started = launch_plan(
        plan, spec, catalog, namespace=owner.namespace, name=owner.name, cluster_domain=cluster_domain
    )
    return new_revision(owner=owner, spec=spec, plan=plan, launch=started)

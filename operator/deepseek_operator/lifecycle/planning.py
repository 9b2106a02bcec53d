"""From a spec to what a group runs: plan, arguments checked, launch, revision.

The operator and the command line call the same functions, so that ``plan`` and ``render`` show what the operator does.
"""

from __future__ import annotations

from dataclasses import replace

from deepseek_operator.api.problems import InvalidInputError, Problem
from deepseek_operator.api.resource import ConfigMapKey, Spec
from deepseek_operator.catalog.types import Catalog
from deepseek_operator.engines.select import check_args, directories, doubts, launch
from deepseek_operator.engines.types import Launch
from deepseek_operator.lifecycle.records import ConfigRecord
from deepseek_operator.plan.exposure import refused_flaws
from deepseek_operator.plan.own_model import model_of, read_config, with_model
from deepseek_operator.plan.placement import make_plan
from deepseek_operator.plan.types import Facts, Inventory, Plan, Refusal
from deepseek_operator.render.owner import Owner
from deepseek_operator.render.pod import collisions
from deepseek_operator.render.revision import RevisionContent, new_revision

CONFIG_MISSING = "ModelConfigMissing"
"""Reason of a problem that ends when the user makes the ConfigMap."""


def with_own_model(spec: Spec, named: ConfigMapKey, record: ConfigRecord, catalog: Catalog) -> Catalog | Refusal:
    """The catalogue with the model of ``spec.modelConfig`` under the name in ``spec.model``, or why there is none."""
    place = f"ConfigMap {named.name}, key {named.key}"
    if record.denied:
        message = f"the operator may not read {place}; grant it the verb get on configmaps in this namespace"
        return _refused(Problem(field="spec.modelConfig", reason="ModelConfigDenied", message=message))
    if record.text is None:
        message = (
            f"there is no {place} in this namespace; "
            f"kubectl create configmap {named.name} --from-file={named.key}=config.json makes one"
        )
        problem = Problem(field="spec.modelConfig", reason=CONFIG_MISSING, message=message)
        return _refused(problem, waits=True)
    try:
        return with_model(catalog, model_of(spec.model, read_config(record.text), catalog))
    except InvalidInputError as error:
        return _refused(
            *(
                replace(each, field="spec.modelConfig", message=f"{place}: {each.field}: {each.message}")
                for each in error.problems
            )
        )


def _refused(*problems: Problem, waits: bool = False) -> Refusal:
    return Refusal(problems=problems, considered=(), waits_for_cluster=waits)


def plan_spec(
    spec: Spec, inventory: Inventory, catalog: Catalog, facts: Facts, *, namespace: str, name: str
) -> Plan | Refusal:
    """The plan of a spec whose engine arguments and mounts go with it, or why there is none."""

    def check(spec: Spec, plan: Plan) -> tuple[Problem, ...]:
        return (
            *check_args(spec, plan),
            *collisions(spec, plan, directories=directories(plan, catalog)),
            *refused_flaws(spec, plan, catalog),
        )

    outcome = make_plan(spec, inventory, catalog, facts, namespace=namespace, name=name, check=check)
    if isinstance(outcome, Refusal) or not (unchecked := doubts(spec, outcome)):
        return outcome
    return replace(outcome, warnings=(*outcome.warnings, *unchecked))


def launch_plan(plan: Plan, spec: Spec, catalog: Catalog, *, namespace: str, name: str, cluster_domain: str) -> Launch:
    """How the engine of a plan starts."""
    return launch(plan, spec, catalog, name=name, namespace=namespace, cluster_domain=cluster_domain)


def revision_of(owner: Owner, spec: Spec, plan: Plan, catalog: Catalog, *, cluster_domain: str) -> RevisionContent:
    """The revision that a fresh plan becomes."""
    started = launch_plan(
        plan, spec, catalog, namespace=owner.namespace, name=owner.name, cluster_domain=cluster_domain
    )
    return new_revision(owner=owner, spec=spec, plan=plan, launch=started)

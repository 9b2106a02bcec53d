"""The engine of a plan: the only place that knows which engines there are."""

from __future__ import annotations

from deepseek_operator.api.problems import Problem
from deepseek_operator.api.resource import Spec
from deepseek_operator.catalog.types import Catalog
from deepseek_operator.engines import arguments, sglang
from deepseek_operator.engines.types import Launch
from deepseek_operator.plan.types import Plan


def launch(plan: Plan, spec: Spec, catalog: Catalog, *, name: str, namespace: str, cluster_domain: str) -> Launch:
    """How the plan's engine starts.

    Raises:
        LookupError: the plan was made by an operator with engines that this one does not have.
    """
    if plan.engine.name != "sglang":
        raise LookupError(f"this operator cannot launch the engine {plan.engine.name}")
    return sglang.launch(plan, spec, catalog, name=name, namespace=namespace, cluster_domain=cluster_domain)


def directories(plan: Plan, catalog: Catalog) -> tuple[str, ...]:
    """Directories and files of the container that belong to the plan's engine and vendor: caches and drivers."""
    return (sglang.CACHE, *(mount.container_path for mount in catalog.vendors[plan.hardware.vendor].mounts))


def check_args(spec: Spec, plan: Plan) -> tuple[Problem, ...]:
    """What is wrong with ``spec.engine``'s args, env and features for this plan; empty when nothing is."""
    return arguments.check(spec, plan)


def doubts(spec: Spec, plan: Plan) -> tuple[str, ...]:
    """Warnings of arguments that nobody can check: of an image of the user's own, or of an unknown version."""
    return arguments.doubts(spec, plan)

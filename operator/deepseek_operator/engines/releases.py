"""The release of the catalogue that a plan's command lines are made for."""

from __future__ import annotations

from deepseek_operator.catalog.types import Catalog, EngineRelease
from deepseek_operator.plan.types import Plan


def release_of(plan: Plan, catalog: Catalog) -> EngineRelease:
    """The plan's release; for an image of the user's own, of a version the catalogue lacks, its default one.

    Raises:
        LookupError: the catalogue has no release of the engine for the vendor.
    """
    found = [
        each for each in catalog.releases if (each.engine, each.vendor) == (plan.engine.name, plan.hardware.vendor)
    ]
    fitting = [each for each in found if plan.hardware.architecture in each.architectures] or found
    fitting = [each for each in fitting if each.version == plan.engine.version] or fitting
    if not fitting:
        raise LookupError(f"the catalogue has no release {plan.engine.version} of {plan.engine.name}")
    return fitting[0]

"""What an engine's file says of a plan's model and release: arguments of the model, its chat template."""

from __future__ import annotations

from fnmatch import fnmatchcase

from deepseek_operator.catalog.engine_types import ModelArguments
from deepseek_operator.catalog.types import Catalog, EngineRelease
from deepseek_operator.plan.types import Plan


def release_of(plan: Plan, catalog: Catalog) -> EngineRelease:
    """The plan's release; for an image of the user's own, of a version the catalogue lacks, its default one.

    Raises:
        LookupError: the catalogue has no release of this engine and vendor.
    """
    found = [
        each for each in catalog.releases if (each.engine, each.vendor) == (plan.engine.name, plan.hardware.vendor)
    ]
    fitting = [each for each in found if plan.hardware.architecture in each.architectures] or found
    fitting = [each for each in fitting if each.version == plan.engine.version] or fitting
    if not fitting:
        raise LookupError(f"the catalogue has no release {plan.engine.version} of {plan.engine.name}")
    return fitting[0]


def model_arguments_of(plan: Plan, catalog: Catalog) -> ModelArguments | None:
    """What the model needs of the engine; None: nothing."""
    rows = catalog.engines[plan.engine.name].model_arguments
    return next((each for each in rows if any(fnmatchcase(plan.model, pattern) for pattern in each.models)), None)


def chat_template_of(plan: Plan, catalog: Catalog) -> str | None:
    """The file of the model's chat template in the engine's image; None: the tokenizer's own."""
    found = model_arguments_of(plan, catalog)
    if found is None or found.chat_template is None:
        return None
    return f"{release_of(plan, catalog).source_tree}/{found.chat_template}"

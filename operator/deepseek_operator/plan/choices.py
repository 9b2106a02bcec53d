"""What a spec names, looked up in the catalogue: the model, the products, the engine's release."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from fnmatch import fnmatchcase

from deepseek_operator.api.problems import Problem, Suggestion
from deepseek_operator.api.resource import Engine, Hardware
from deepseek_operator.catalog.types import Accelerator, Catalog, EngineRelease, Model
from deepseek_operator.plan.types import EngineChoice


def find_model(name: str, catalog: Catalog) -> Model | Problem:
    """A model by its catalogue id, repository or alias, in any case."""
    wanted = name.casefold()
    names: dict[str, Model] = {}
    for model in catalog.models.values():
        for each in (model.name, model.repository, *model.aliases):
            names[each.casefold()] = model
    if wanted in names:
        return names[wanted]
    for refused in catalog.refused_models:
        if any(fnmatchcase(wanted, pattern.casefold()) for pattern in refused.repositories):
            return Problem(
                field="spec.model",
                reason="ModelNotPlanned",
                message=f"{name} is not planned: {refused.reason}; use {refused.instead}",
                suggestions=_each("spec.model", [refused.instead]),
            )
    repositories = sorted(model.repository for model in catalog.models.values())
    near = difflib.get_close_matches(wanted, names, n=3, cutoff=0.5)
    nearest = list(dict.fromkeys(names[each].repository for each in near)) or repositories
    return Problem(
        field="spec.model",
        reason="UnknownModel",
        message=f"{name} is not in the catalogue; use {_either(nearest)}",
        suggestions=_each("spec.model", nearest),
    )


def find_products(hardware: Hardware, catalog: Catalog) -> tuple[Accelerator, ...] | Problem:
    """The products that a spec allows, at least one."""
    text = hardware.product
    if text is None:
        return tuple(each for each in catalog.accelerators if hardware.vendor is None or each.vendor == hardware.vendor)
    found = tuple(each for each in catalog.accelerators if _spells(each, text))
    if not found:
        return _unknown_product(text, catalog.accelerators)
    if hardware.vendor is None:
        return found
    of_vendor = tuple(each for each in found if each.vendor == hardware.vendor)
    return of_vendor or Problem(
        field="spec.hardware.vendor",
        reason="VendorContradictsProduct",
        message=f"{found[0].product} is made by {found[0].vendor}, not {hardware.vendor}; "
        f"set vendor to {found[0].vendor}, or leave it out",
        suggestions=_each("spec.hardware.vendor", [found[0].vendor]),
    )


def find_release(
    engine: Engine, catalog: Catalog, *, vendor: str, architecture: str
) -> tuple[EngineChoice, EngineRelease] | Problem:
    """The image and version for an architecture, and the release whose behaviour is planned with.

    With an image of the user's own and a version that the catalogue lacks, that is the default release.
    """
    known = [
        release
        for release in catalog.releases
        if release.engine == engine.name and release.vendor == vendor and architecture in release.architectures
    ]
    if not known:
        others = sorted(
            {each.engine for each in catalog.releases if each.vendor == vendor and architecture in each.architectures}
        )
        others_too = f"engine {_either(others)}, or " if others else ""
        return Problem(
            field="spec.engine.name",
            reason="EngineWithoutImage",
            message=f"no {engine.name} image for {vendor} {architecture} is in the catalogue; use {others_too}other "
            "accelerators",
            suggestions=_each("spec.engine.name", others),
        )
    release = next((each for each in known if each.version == engine.version), None)
    if release is None and engine.version is not None and engine.image is None:
        versions = [each.version for each in known]
        return Problem(
            field="spec.engine.version",
            reason="UnknownVersion",
            message=f"{engine.name} {engine.version} for {vendor} {architecture} is not in the catalogue; "
            f"use {_either(versions)}, or name its image in spec.engine.image",
            suggestions=_each("spec.engine.version", versions),
        )
    release = release or known[0]
    own = engine.image is not None
    choice = EngineChoice(
        name=engine.name,
        version=engine.version or release.version,
        image=engine.image or release.image,
        image_verified=own or release.verified,
        image_source="spec.engine.image" if own else release.source,
        api=catalog.engines[engine.name].api,
    )
    return choice, release


def _spells(accelerator: Accelerator, text: str) -> bool:
    wanted = text.casefold()
    if wanted in {accelerator.product.casefold(), *(alias.casefold() for alias in accelerator.aliases)}:
        return True
    # A label that needs a second one beside it names no product alone (Karpenter's a100 has 40 or 80 GB).
    alone = (label for label in accelerator.labels if len(label) == 1)
    return any(fnmatchcase(wanted, pattern.casefold()) for label in alone for pattern in label.values())


def _unknown_product(text: str, accelerators: Iterable[Accelerator]) -> Problem:
    names = {
        each.casefold(): accelerator.product
        for accelerator in accelerators
        for each in (accelerator.product, *accelerator.aliases)
    }
    near = difflib.get_close_matches(text.casefold(), names, n=3, cutoff=0.5)
    nearest = list(dict.fromkeys(names[each] for each in near)) or sorted(set(names.values()))
    return Problem(
        field="spec.hardware.product",
        reason="UnknownProduct",
        message=f"{text} is not in the catalogue; use {_either(nearest)}, or leave it out",
        suggestions=_each("spec.hardware.product", nearest),
    )


def _each(field: str, values: Iterable[str]) -> tuple[Suggestion, ...]:
    """Proposals to try: planning keeps those that work."""
    return tuple(Suggestion(changes=((field, value),)) for value in values)


def _either(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"

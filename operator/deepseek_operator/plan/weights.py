"""Where weights come from and where they lie: never in a container's writable layer.

Which weights: the source that the user names; else those of the model's own publisher in the precision; else, where
the user allows it, a quantised variant of another publisher. Where they lie: the claim or mounted directory that the
user names; the node directory that the administrator configured; a claim for each rank from the default StorageClass;
else refused with the remedy.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Final, Literal

from deepseek_operator.api.names import WEIGHTS_DIRECTORY
from deepseek_operator.api.problems import Problem, Suggestion
from deepseek_operator.api.resource import Spec
from deepseek_operator.catalog.types import Catalog, Checkpoint, Model, WeightLayout
from deepseek_operator.plan.footprint import checkpoint_gib
from deepseek_operator.plan.support import find_layout, serves
from deepseek_operator.plan.types import Facts, WeightsPlan

MOUNT_POINT: Final = WEIGHTS_DIRECTORY
"""Where the volume of weights appears in the engine container."""
_FLOATING: Final = "main"
_HUB: Final = "hf://"
_CLAIM: Final = "pvc://"
_PATH: Final = "path://"


_HINTS: Final = {
    "bf16": "bf16",
    "mxfp4": "mxfp4",
    "w4afp8": "w4afp8",
    "fp4": "nvfp4",
    "w4a8": "w4a8",
    "fp8": "fp8",
    "w8a8": "int8",
    "int8": "int8",
    "awq": "awq",
    "gptq": "gptq",
    "w4a16": "gptq",
}
"""Words in the names of published weights that tell their precision, the more telling first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """A plan for the weights, their layout, and what to warn of."""

    weights: WeightsPlan
    layout: WeightLayout
    mtp: bool = True
    """Whether they carry the multi-token-prediction layer, as far as is known."""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where the weights of a deployment would come from, for each precision and architecture."""

    spec: Spec
    model: Model
    catalog: Catalog
    facts: Facts
    namespace: str
    _found: dict[tuple[str, str], Located | Problem] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    """Answers that were given: each class asks for several precisions."""

    def find(self, precision: str, *, architecture: str) -> Located | Problem:
        """The weights in a precision for devices of an architecture.

        Returns:
            A Problem where no source or no volume is left; its message says what to set or install.
        """
        key = precision, architecture
        if key not in self._found:
            self._found[key] = self._find(precision, architecture)
        return self._found[key]

    def _find(self, precision: str, architecture: str) -> Located | Problem:
        spec, source = self.spec, self.spec.weights.source
        chosen = self._checkpoint(precision, architecture)
        if isinstance(chosen, Problem):
            return chosen
        layout = self._layout(chosen, precision, architecture)
        if isinstance(layout, Problem):
            return layout
        if source is None and chosen is not None:
            source = f"{_HUB}{chosen.repository}"
        source = source or ""
        known = chosen is not None and chosen.layout == layout.name
        size = (
            chosen.size_gib if chosen is not None and known else round(checkpoint_gib(self.model.dimensions, layout), 1)
        )
        if source.startswith(_HUB):
            found = self._from_hub(source, chosen, precision, layout, size)
        elif source.startswith(_CLAIM):
            claim, _, folder = source.removeprefix(_CLAIM).partition("/")
            path = str(PurePosixPath(MOUNT_POINT) / folder.strip("/"))
            found = _own(source, layout, size, volume="claim", claim=claim, path=path)
        else:
            path = source.removeprefix(_PATH)
            if not _is_mounted(spec, path):
                return Problem(
                    field="spec.weights.source",
                    reason="SourceNotMounted",
                    message=f"{path} lies in no volume, and weights never go to a container's own layer; "
                    "mount one with spec.podTemplate.volumes and volumeMounts",
                )
            found = _own(source, layout, size, volume="mounted", claim=None, path=path)
        if isinstance(found, Problem) or chosen is None or spec.weights.source not in {None, source}:
            return found
        return replace(found, mtp=chosen.mtp) if _repository(source) == chosen.repository.casefold() else found

    def _checkpoint(self, precision: str, architecture: str) -> Checkpoint | Problem | None:
        """The published weights that are meant; None: the user's own, which the catalogue does not know."""
        source = self.spec.weights.source
        if source is not None:
            named = (each for each in published(self.model) if each.repository.casefold() == _repository(source))
            same = next((each for each in named if each.precision == precision), None)
            return same or self.model.checkpoints.get(precision)
        own = self.model.checkpoints.get(precision)
        if own is not None:
            return own
        variant = next(
            (
                each
                for each in self.model.variants
                if each.precision == precision
                and serves(
                    self.spec.engine.name,
                    self.catalog.layouts[each.layout],
                    self.catalog,
                    architecture=architecture,
                )
            ),
            None,
        )
        if variant is None:
            return _no_source(self.model, precision)
        if not self.spec.weights.allow_variant:
            return Problem(
                field="spec.weights.allowVariant",
                reason="VariantNotAllowed",
                message=f"{self.model.repository} has no {precision} weights of its publisher; set "
                f"spec.weights.allowVariant to true to use {variant.repository}, which {variant.publisher} made, or "
                f"precision to {_alternatives(self.model)}",
                suggestions=(Suggestion(changes=(("spec.weights.allowVariant", True),)),),
            )
        return variant

    def _layout(self, chosen: Checkpoint | None, precision: str, architecture: str) -> WeightLayout | Problem:
        source, engine = self.spec.weights.source, self.spec.engine.name
        if chosen is not None and (source is None or _repository(source) == chosen.repository.casefold()):
            layout: WeightLayout | None = self.catalog.layouts[chosen.layout]
        else:
            layout = find_layout(precision, self.catalog, architecture=architecture, named=source or "", engine=engine)
        if layout is None or not serves(engine, layout, self.catalog, architecture=architecture):
            return Problem(
                field="spec.weights.source",
                reason="LayoutNotServed",
                message=f"{source} holds {layout.name if layout else precision} weights, which the engine does not "
                f"serve on {architecture}; use other weights or other hardware",
            )
        return layout

    def _from_hub(
        self, source: str, chosen: Checkpoint | None, precision: str, layout: WeightLayout, size_gib: float
    ) -> Located | Problem:
        spec, facts = self.spec, self.facts
        repository = source.removeprefix(_HUB).strip("/")
        wrong = _wrong_repository(repository, self.model, precision, self.catalog)
        if wrong is not None:
            return wrong
        pinned = chosen.revision if chosen and chosen.repository == repository else None
        revision = spec.revision or pinned or _FLOATING
        volume = _volume(spec.weights.cache, facts)
        if isinstance(volume, Problem):
            return volume
        folder = f"{facts.node_path}/{self.namespace}/{repository.replace('/', '--')}/{revision}"
        weights = WeightsPlan(
            source=source,
            repository=repository,
            revision=revision,
            layout=layout.name,
            size_gib=size_gib,
            volume=volume,
            claim=_claim_name(self.namespace, repository, revision) if volume == "node" else None,
            node_path=folder if volume == "node" else None,
            path=MOUNT_POINT,
        )
        variant = chosen if chosen in self.model.variants and spec.weights.source is None else None
        return Located(
            weights=weights,
            layout=layout,
            warnings=tuple(_hub_warnings(repository, revision, volume, facts, variant)),
        )


def published(model: Model) -> tuple[Checkpoint, ...]:
    """All published weights of a model that the catalogue knows, its publisher's first."""
    return (*model.checkpoints.values(), *model.variants)


def precision_of_source(spec: Spec, model: Model, catalog: Catalog) -> str | None:
    """The precision of the user's own source as far as its name tells: a catalogue's checkpoint, or a telling word."""
    source = spec.weights.source
    if source is None:
        return None
    for each in (model, *catalog.models.values()):
        for checkpoint in published(each):
            if checkpoint.repository.casefold() == _repository(source):
                return checkpoint.precision
    return next((precision for word, precision in _HINTS.items() if word in source.casefold()), None)


def _repository(source: str) -> str:
    return source.removeprefix(_HUB).strip("/").casefold()


def _hub_warnings(
    repository: str, revision: str, volume: str, facts: Facts, variant: Checkpoint | None
) -> Iterator[str]:
    if variant is not None:
        yield f"the weights are {variant.publisher}'s {variant.layout} variant {repository}, not the model publisher's"
    if revision == _FLOATING:
        yield (
            f"{repository} is fetched at its branch {_FLOATING}, which may move between two nodes; "
            "pin spec.revision to a commit"
        )
    if volume == "perRank" and facts.default_storage_class is None:
        yield "weights go to a claim for each rank: assumed a default StorageClass, not checked"


def _alternatives(model: Model) -> str:
    return " or ".join(sorted(model.checkpoints)) or "one that you have weights for (spec.weights.source)"


def _volume(cache: str, facts: Facts) -> Literal["node", "perRank"] | Problem:
    if cache == "node" and facts.node_path is None:
        return Problem(
            field="spec.weights.cache",
            reason="NoNodeDirectory",
            message="cache node needs a directory of the nodes: set weights.nodePath in the operator's configuration, "
            "or use cache perRank or a source pvc://claim/path",
        )
    if facts.node_path is not None and cache != "perRank":
        return "node"
    if facts.default_storage_class is False:
        return Problem(
            field="spec.weights",
            reason="NoVolume",
            message="there is no volume for the weights, and they never go to a container's own layer: mark a "
            "StorageClass as default, set weights.nodePath in the operator's configuration, or use a source "
            "pvc://claim/path",
        )
    return "perRank"


def _wrong_repository(repository: str, model: Model, precision: str, catalog: Catalog) -> Problem | None:
    for other in catalog.models.values():
        for checkpoint in published(other):
            if checkpoint.repository.casefold() != repository.casefold():
                continue
            if other.name != model.name:
                return Problem(
                    field="spec.weights.source",
                    reason="SourceOfOtherModel",
                    message=f"{repository} is {other.name}, not {model.name}; set spec.model to {other.repository}, "
                    "or name another source",
                    suggestions=(Suggestion(changes=(("spec.model", other.repository),)),),
                )
            if checkpoint.precision != precision:
                return Problem(
                    field="spec.weights.source",
                    reason="SourcePrecision",
                    message=f"{repository} holds {checkpoint.precision} weights, not {precision}; name a repository "
                    f"or directory with {precision} weights, or use precision {checkpoint.precision}",
                    suggestions=(Suggestion(changes=(("spec.precision", checkpoint.precision),)),),
                )
    return None


def _no_source(model: Model, precision: str) -> Problem:
    published = ", ".join(sorted(model.checkpoints)) or "none"
    return Problem(
        field="spec.weights.source",
        reason="NoSource",
        message=f"{model.repository} has no {precision} weights of its publisher (it has: {published}); name "
        f"{precision} weights in spec.weights.source (hf://org/name, pvc://claim/path or path:///dir)",
    )


def _own(
    source: str,
    layout: WeightLayout,
    size_gib: float,
    *,
    volume: Literal["claim", "mounted"],
    claim: str | None,
    path: str,
) -> Located:
    return Located(
        weights=WeightsPlan(
            source=source,
            repository=None,
            revision=None,
            layout=layout.name,
            size_gib=size_gib,
            volume=volume,
            claim=claim,
            node_path=None,
            path=path,
        ),
        layout=layout,
    )


def _is_mounted(spec: Spec, path: str) -> bool:
    inside = PurePosixPath(path)
    return any(inside.is_relative_to(mount.mount_path) for mount in spec.pod_template.volume_mounts)


def _claim_name(namespace: str, repository: str, revision: str) -> str:
    digest = hashlib.sha256(f"{namespace}\0{repository}\0{revision}".encode()).hexdigest()
    return f"weights-{digest[:10]}"

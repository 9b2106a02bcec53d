"""Which weights a deployment gets, for each precision and architecture.

The source that the user names; else those of the model's own publisher in the precision; else, where the user allows
it, a quantised variant of another publisher; else, for BF16, a cast of the publisher's block-scaled weights. Where
they lie is in ``weights_volume``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Final

from deepseek_operator.api.problems import Problem, Suggestion
from deepseek_operator.api.resource import Spec
from deepseek_operator.catalog.types import Catalog, Checkpoint, Model, WeightLayout
from deepseek_operator.plan import weights_volume as volumes
from deepseek_operator.plan.footprint import checkpoint_gib
from deepseek_operator.plan.support import find_layout, serves
from deepseek_operator.plan.types import REMOTE, Facts, WeightsPlan
from deepseek_operator.plan.weights_volume import HUB, HUBS, PATH, Origin, Step

_CAST_TO: Final = "bf16"
"""The precision and the layout that ``weights cast`` makes."""
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
    origin: Origin
    """The checkpoint that is had."""
    steps: tuple[Step, ...] = ()
    """What makes of it what the engine reads."""
    mtp: bool = True
    """Whether they carry the multi-token-prediction layer, as far as is known."""
    warnings: tuple[str, ...] = ()

    @property
    def converted(self) -> bool:
        """Whether the weights must be made first."""
        return bool(self.steps)


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

    def sharded(self, located: Located, *, model_parallel: int, experts: int) -> Located | Problem:
        """The same weights cut for the DeepSeek-Infer demo: for engines that read one file a rank.

        Asked once a layout of ranks is chosen; ``weights.path`` of the answer is the directory of the cut files.
        """
        step = volumes.shard_step(model_parallel=model_parallel, experts=experts, size_gib=located.weights.size_gib)
        return self._located(located.origin, (*located.steps, step), located.layout, mtp=False)

    def _find(self, precision: str, architecture: str) -> Located | Problem:
        chosen = self._checkpoint(precision, architecture)
        if isinstance(chosen, Problem):
            return chosen
        if (cast := self._to_cast(precision, chosen)) is not None:
            return self._cast(*cast)
        layout = self._layout(chosen, precision, architecture)
        if isinstance(layout, Problem):
            return layout
        origin = self._origin(chosen, layout)
        if isinstance(origin, Problem):
            return origin
        if wrong := self._wrong(origin, precision):
            return wrong
        mtp = chosen.mtp if chosen and _is(chosen, origin.source) else True
        return self._located(origin, (), layout, mtp=mtp, variant=chosen)

    def _to_cast(self, precision: str, chosen: Checkpoint | None) -> tuple[Checkpoint | None, WeightLayout] | None:
        """The checkpoint and layout to make BF16 of; None where the weights are BF16 already, as far as is known."""
        if precision != _CAST_TO:
            return None
        source = self.spec.weights.source
        if source is None:
            layout = self.catalog.layouts[chosen.layout] if chosen else None
            return (chosen, layout) if layout and layout.precision != precision and volumes.castable(layout) else None
        known = next((each for each in published(self.model) if _is(each, source)), None)
        told = known.precision if known else precision_of_source(self.spec, self.model, self.catalog)
        layout = self.catalog.layouts[known.layout] if known else self._first_castable(told)
        return (known, layout) if layout and layout.precision != precision and volumes.castable(layout) else None

    def _first_castable(self, precision: str | None) -> WeightLayout | None:
        """A source's name tells a precision, not a layout: only FP8 is block-scaled by rule."""
        layouts = (each for each in self.catalog.layouts.values() if each.precision == precision == "fp8")
        return next((each for each in layouts if volumes.castable(each)), None)

    def _cast(self, chosen: Checkpoint | None, had: WeightLayout) -> Located | Problem:
        origin = self._origin(chosen, had)
        if isinstance(origin, Problem):
            return origin
        if wrong := self._wrong(origin, had.precision):
            return wrong
        layout = self.catalog.layouts[_CAST_TO]
        size = round(checkpoint_gib(self.model.dimensions, layout), 1)
        return self._located(
            origin, (volumes.cast_step(layout, size_gib=size),), layout, mtp=chosen.mtp if chosen else True
        )

    def _origin(self, chosen: Checkpoint | None, layout: WeightLayout) -> Origin | Problem:
        """The checkpoint that the user names, or the catalogue's."""
        source = self.spec.weights.source or (chosen.address if chosen else "")
        mine = chosen is not None and _is(chosen, source)
        known = chosen is not None and chosen.layout == layout.name
        size = chosen.size_gib if chosen and known else round(checkpoint_gib(self.model.dimensions, layout), 1)
        path = source.removeprefix(PATH)
        if source.startswith(PATH) and not _is_mounted(self.spec, path):
            return Problem(
                field="spec.weights.source",
                reason="SourceNotMounted",
                message=f"{path} lies in no volume, and weights never go to a container's own layer; "
                "mount one with spec.podTemplate.volumes and volumeMounts",
            )
        # A commit of the catalogue is one of the Hugging Face hub: mirrors elsewhere count their own.
        pinned = chosen.revision if chosen and mine and source.startswith(HUB) else None
        remote = source.startswith(REMOTE)
        return Origin(
            source=source,
            repository=_name(source) if source.startswith(HUBS) else None,
            revision=(self.spec.revision or pinned or volumes.default_revision(source)) if remote else None,
            layout=layout.name,
            size_gib=size,
        )

    def _wrong(self, origin: Origin, precision: str) -> Problem | None:
        """The user's own source may be another model's or of another precision; the catalogue's is not."""
        if origin.repository is None or self.spec.weights.source is None:
            return None
        return _wrong_repository(origin.repository, self.model, precision, self.catalog)

    def _located(
        self,
        origin: Origin,
        steps: tuple[Step, ...],
        layout: WeightLayout,
        *,
        mtp: bool,
        variant: Checkpoint | None = None,
    ) -> Located | Problem:
        weights = volumes.place(
            origin, steps, layout=layout.name, spec=self.spec, facts=self.facts, namespace=self.namespace
        )
        if isinstance(weights, Problem):
            return weights
        warnings = list(volumes.warnings_of(origin, weights, self.facts))
        if variant is not None and variant in self.model.variants and self.spec.weights.source is None:
            told = f"the weights are {variant.publisher}'s {variant.layout} variant {variant.repository}"
            warnings.insert(0, f"{told}, not the model publisher's")
        return Located(weights=weights, layout=layout, origin=origin, steps=steps, mtp=mtp, warnings=tuple(warnings))

    def _checkpoint(self, precision: str, architecture: str) -> Checkpoint | Problem | None:
        """The published weights that are meant; None: the user's own, which the catalogue does not know."""
        source = self.spec.weights.source
        if source is not None:
            named = (each for each in published(self.model) if _is(each, source))
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
            return self._own_to_cast(precision) or _no_source(self.model, precision)
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

    def _own_to_cast(self, precision: str) -> Checkpoint | None:
        """Weights of the model's own publisher that can be cast to BF16."""
        if precision != _CAST_TO:
            return None
        own = self.model.checkpoints.values()
        return next((each for each in own if volumes.castable(self.catalog.layouts[each.layout])), None)

    def _layout(self, chosen: Checkpoint | None, precision: str, architecture: str) -> WeightLayout | Problem:
        source, engine = self.spec.weights.source, self.spec.engine.name
        if chosen is not None and (source is None or _is(chosen, source)):
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
            if _is(checkpoint, source):
                return checkpoint.precision
    return next((precision for word, precision in _HINTS.items() if word in source.casefold()), None)


def _name(source: str) -> str:
    """The repository of a source on a hub."""
    return source.partition("://")[2].strip("/")


def _is(checkpoint: Checkpoint, source: str) -> bool:
    """Whether a source names a checkpoint; hubs that mirror one another keep its name."""
    return source.startswith(HUBS) and _name(source).casefold() == checkpoint.repository.casefold()


def _alternatives(model: Model) -> str:
    return " or ".join(sorted(model.checkpoints)) or "one that you have weights for (spec.weights.source)"


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
        f"{precision} weights in spec.weights.source (hf://org/name, modelscope://org/name, s3://bucket/prefix, "
        "pvc://claim/path or path:///dir)",
    )


def _is_mounted(spec: Spec, path: str) -> bool:
    inside = PurePosixPath(path)
    return any(inside.is_relative_to(mount.mount_path) for mount in spec.pod_template.volume_mounts)

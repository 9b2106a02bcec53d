"""What is settled for a hardware class before any layout is tried: precision, weights, engine release, room."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass

from deepseek_operator.api.problems import Problem, Suggestion
from deepseek_operator.api.resource import Spec
from deepseek_operator.catalog.engine_types import EngineFacts
from deepseek_operator.catalog.types import Accelerator, Catalog, EngineRelease, Model
from deepseek_operator.plan import splits
from deepseek_operator.plan.choices import find_release
from deepseek_operator.plan.memo import Same
from deepseek_operator.plan.rules import block_of
from deepseek_operator.plan.support import (
    configuration_of,
    kv_precisions,
    products_for,
    refusal_of,
    served_precisions,
    usual_precisions,
)
from deepseek_operator.plan.types import EngineChoice, ExpertSpread, HardwareClass
from deepseek_operator.plan.weights import Located, Sources

_DENSE_ATTENTION = "deepseek-ai/DeepSeek-V3.1"
"""The last model before sparse attention."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What all classes are asked: the spec, its model, and where weights of each precision would come from."""

    spec: Spec
    model: Model
    catalog: Catalog
    sources: Sources
    used: Mapping[str, int]
    spread: ExpertSpread
    """How the spec wants experts spread."""

    @property
    def engine(self) -> EngineFacts:
        """What the wanted engine can do."""
        return self.catalog.engines[self.spec.engine.name]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What is settled for a class."""

    question: Question
    hardware: HardwareClass
    accelerator: Accelerator
    precision: str
    located: Located
    engine: EngineChoice
    release: EngineRelease
    room: splits.Room
    block: int | None
    """Edge of the blocks of weights that a rank must hold whole."""
    small: bool
    """The model may take a part of a node."""
    memory_key: Hashable
    """Everything that the memory of a layout depends on besides the layout."""
    layouts_key: Hashable
    """Everything that the legal layouts depend on besides the number of nodes."""


def ground(question: Question, hardware: HardwareClass) -> Ground | Problem:
    """What is settled for a class, or the problem that no layout could cure."""
    spec = question.spec
    accelerator = next(each for each in question.catalog.accelerators if each.product == hardware.product)
    found = find_release(spec.engine, question.catalog, vendor=hardware.vendor, architecture=hardware.architecture)
    if (unserved := _unserved(question, accelerator)) is not None:
        return unserved
    if isinstance(found, Problem):
        return found
    precision = _sparse_problem(question, accelerator) or _precision(question, accelerator)
    if isinstance(precision, Problem):
        return precision
    located = question.sources.find(precision, architecture=accelerator.architecture)
    if isinstance(located, Problem):
        return located
    room = splits.Room(
        product=hardware.product,
        devices=hardware.accelerators_per_node,
        asked=spec.hardware.accelerators_per_node,
    )
    problem = (
        splits.contradiction(spec.parallelism, room)
        or _kv_problem(question, accelerator)
        or _mtp_problem(spec, located)
        or _deepep_problem(question, accelerator)
    )
    if problem is not None:
        return problem
    engine, release = found
    block = block_of(located.layout, question.model.dimensions)
    small = splits.is_small(located.weights.size_gib)
    return Ground(
        question=question,
        hardware=hardware,
        accelerator=accelerator,
        precision=precision,
        located=located,
        engine=engine,
        release=release,
        room=room,
        block=block,
        small=small,
        memory_key=_memory_key(question, hardware, located, release),
        layouts_key=(_legal_key(question), block, small, room),
    )


def _memory_key(question: Question, hardware: HardwareClass, located: Located, release: EngineRelease) -> Hashable:
    context = question.spec.context
    return (
        Same(question.catalog),
        Same(question.model),
        Same(located.layout),
        Same(release),
        (context.max_length, context.max_running_requests, context.kv_cache_precision),
        (question.spec.engine.features.mtp, question.spread),
        (hardware.vendor, hardware.architecture, hardware.memory_gib),
    )


def _legal_key(question: Question) -> Hashable:
    wish = question.spec.parallelism
    return (
        Same(question.model.dimensions),
        Same(question.engine),
        (wish.nodes, wish.tensor, wish.pipeline, wish.attention_data, wish.expert),
        (question.spec.engine.features.mtp, question.spread),
    )


def _unserved(question: Question, accelerator: Accelerator) -> Problem | None:
    """What the engine's makers leave out, in their words, before anything is looked for."""
    spec, facts = question.spec, question.engine
    told = refusal_of(
        facts.name,
        question.catalog,
        architecture=accelerator.architecture,
        precision=spec.precision,
        model=question.model.name,
    )
    described = not facts.configurations or configuration_of(facts, question.model.name) is not None
    attention = facts.grouped_query or question.model.dimensions.latent
    if told is None and attention and described:
        return None
    own = (
        "it has no configuration of this model" if attention else "it serves models with DeepSeek's own attention only"
    )
    reason = told.reason if told else own
    instead = told.instead if told else "engine sglang or vllm"
    return Problem(
        field="spec.engine.name",
        reason="NotServedByEngine",
        message=f"{facts.title} does not serve {question.model.repository} in precision {spec.precision} on "
        f"{accelerator.product}: {reason}; use {instead}",
        suggestions=tuple(
            Suggestion(changes=(("spec.engine.name", name),)) for name in question.catalog.engines if name != facts.name
        ),
    )


def _precision(question: Question, accelerator: Accelerator) -> str | Problem:
    asked, catalog, engine = question.spec.precision, question.catalog, question.engine
    served = served_precisions(engine.name, accelerator, catalog)
    usual = usual_precisions(engine.name, accelerator, catalog)
    if asked == "auto" and served:
        # Quantised weights of other publishers come last, and only where the user allows them.
        tried = served if question.spec.weights.allow_variant else usual
        return _first_usable(question, accelerator, tried) or (*usual, *served)[0]
    if asked in served:
        return asked
    if not served:
        return Problem(
            field="spec.engine.name",
            reason="NotServedByEngine",
            message=f"{engine.title} serves {question.model.repository} in no precision on {accelerator.product}; use "
            "another engine or other accelerators",
        )
    others = ", ".join(usual or served)
    located = all(_located(question, accelerator, each) for each in usual or served)
    source = "" if located else " and spec.weights.source to such weights"
    return Problem(
        field="spec.precision",
        reason="PrecisionNotNative",
        message=f"{accelerator.product} does not run DeepSeek's {asked} in {engine.name}; set precision "
        f"to {others}{source}, or use one of {products_for(asked, catalog, engine=engine.name)}",
    )


def _first_usable(question: Question, accelerator: Accelerator, tried: Iterable[str]) -> str | None:
    """The first precision that there are weights of; those that exist go before those that must be made first."""
    made = None
    for precision in tried:
        found = _located(question, accelerator, precision)
        if found and not found.converted:
            return precision
        if found and made is None:
            made = precision
    return made


def _located(question: Question, accelerator: Accelerator, precision: str) -> Located | None:
    found = question.sources.find(precision, architecture=accelerator.architecture)
    return found if isinstance(found, Located) else None


def _sparse_problem(question: Question, accelerator: Accelerator) -> Problem | None:
    """DeepSeek-V3.2's attention, where it has no kernels."""
    able = question.engine.sparse_architectures
    if not question.model.dimensions.sparse or accelerator.architecture in able:
        return None
    products = ", ".join(
        each.aliases[0] if each.aliases else each.product
        for each in question.catalog.accelerators
        if each.architecture in able
    )
    return Problem(
        field="spec.model",
        reason="SparseAttentionMissing",
        message=f"{question.model.repository} needs sparse attention, for which {question.spec.engine.name} has no "
        f"kernels on {accelerator.product} ({accelerator.architecture}); use {_DENSE_ATTENTION}, or one of {products}",
        suggestions=(Suggestion(changes=(("spec.model", _DENSE_ATTENTION),)),),
    )


def _mtp_problem(spec: Spec, located: Located) -> Problem | None:
    if not spec.engine.features.mtp or located.mtp:
        return None
    return Problem(
        field="spec.engine.features.mtp",
        reason="MTPNotInWeights",
        message=f"{located.weights.repository} does not carry the multi-token-prediction layer; turn mtp off, or use "
        "weights that have it",
    )


def _deepep_problem(question: Question, accelerator: Accelerator) -> Problem | None:
    able, field = question.engine.deepep_architectures, "spec.engine.features.deepep"
    if not question.spread.deepep:
        return None
    if not question.model.dimensions.routed_experts:
        return Problem(field=field, reason="NoExperts", message="this model has no experts; turn deepep off")
    if accelerator.architecture in able:
        return None
    others = f", or use accelerators of {', '.join(able)}" if able else ""
    return Problem(
        field=field,
        reason="DeepEPNotServed",
        message=f"{question.engine.title} has no DeepEP kernels on {accelerator.product} ({accelerator.architecture}); "
        f"turn deepep off{others}",
        suggestions=(Suggestion(changes=((field, False),)),),
    )


def _kv_problem(question: Question, accelerator: Accelerator) -> Problem | None:
    asked = question.spec.context.kv_cache_precision
    offered = kv_precisions(question.engine.name, accelerator, question.catalog)
    if asked == "auto" or asked in offered:
        return None
    return Problem(
        field="spec.context.kvCachePrecision",
        reason="KVPrecisionNotNative",
        message=f"{accelerator.product} has no {asked} KV cache in {question.engine.name}; "
        f"use auto{' or ' if offered else ''}{', '.join(offered)}",
    )

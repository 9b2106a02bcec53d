"""One hardware class against one spec: every layout in the order of preference, what works and what does not."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from deepseek_operator.api.problems import Problem
from deepseek_operator.api.resource import Spec
from deepseek_operator.catalog.types import Accelerator, Catalog, EngineRelease, Model
from deepseek_operator.plan import blame, memory, splits
from deepseek_operator.plan import fabric as fabrics
from deepseek_operator.plan.blame import Attempt
from deepseek_operator.plan.choices import find_release, products_for
from deepseek_operator.plan.memo import Memo, Same
from deepseek_operator.plan.rules import violations
from deepseek_operator.plan.splits import Layout
from deepseek_operator.plan.types import Candidate, EngineChoice, FabricPlan, HardwareClass, MemoryFit
from deepseek_operator.plan.weights import Located

TIGHT_TOKENS: Final = 4096
"""KV tokens that even ``spec.hardware.allowTight`` needs: one request of a few pages beside a prefill chunk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What all classes are asked: the spec, its model, and where weights of each precision would come from."""

    spec: Spec
    model: Model
    catalog: Catalog
    weights: Mapping[str, Located | Problem]
    used: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """A layout that works."""

    hardware: HardwareClass
    precision: str
    native: bool
    """False: a precision that was fallen back to, because the accelerator lacks the better one."""
    layout: Layout
    memory: MemoryFit
    engine: EngineChoice
    release: EngineRelease
    fabric: FabricPlan
    located: Located
    free_nodes: int
    """Nodes of the class whose devices are free now."""
    tight: str | None = None
    """What does not fit by the usual measure; accepted because spec.hardware.allowTight says so."""

    @property
    def free(self) -> bool:
        """Enough nodes have free devices now."""
        return self.free_nodes >= self.layout.nodes

    @property
    def exists(self) -> bool:
        """The class has enough nodes, or is one that is still expected."""
        return not self.hardware.nodes or self.layout.nodes <= len(self.hardware.nodes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """The answer of one class: an option, or the problem to blame; lines for the explanation either way."""

    hardware: HardwareClass
    option: Option | None
    problem: Problem | None
    lines: tuple[Candidate, ...]
    lacking: int = 0
    """Nodes that the class would need beyond those it has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ground:
    """What is settled for a class before any layout is tried."""

    question: Question
    hardware: HardwareClass
    accelerator: Accelerator
    precision: str
    located: Located
    engine: EngineChoice
    release: EngineRelease
    room: splits.Room
    key: Hashable
    """For what is remembered."""


def assess(question: Question, hardware: HardwareClass) -> Assessment:
    """The best option of a class: fewest nodes, then fewest pipeline stages; a tight one only for want of another."""
    ground = _ground(question, hardware)
    if isinstance(ground, Problem):
        return _refused(hardware, ground, blame.line(hardware, question.spec.parallelism.nodes or 0, ground))
    failed: list[Attempt] = []
    tight: Option | None = None
    wish = question.spec.parallelism
    for outcome in _attempts(ground):
        if isinstance(outcome, Attempt):
            failed.append(outcome)
        elif not outcome.exists:
            if tight is None:
                problem, lines = blame.too_few(hardware, wish, failed, outcome.layout)
                lacking = outcome.layout.nodes - len(hardware.nodes)
                return replace(_refused(hardware, problem, *lines), lacking=lacking)
            break
        elif outcome.tight is None:
            return Assessment(hardware=hardware, option=outcome, problem=None, lines=blame.lines(hardware, failed))
        else:
            tight = tight or outcome
    if tight is not None:
        return Assessment(hardware=hardware, option=tight, problem=None, lines=blame.lines(hardware, failed))
    problem, lines = blame.nothing(hardware, question.spec, failed, ground.room)
    return _refused(hardware, problem, *lines)


def options(question: Question, hardware: HardwareClass) -> Iterator[Option]:
    """Every layout of a class that works on nodes that exist or are expected, in the order of preference."""
    ground = _ground(question, hardware)
    if isinstance(ground, Problem):
        return
    yield from (each for each in _attempts(ground) if isinstance(each, Option) and each.exists)


def measure(
    question: Question, hardware: HardwareClass, layout: Layout, precision: str, release: EngineRelease
) -> MemoryFit:
    """The memory of a layout on a class; it reads nothing that ``_key`` does not name."""
    spec, catalog = question.spec, question.catalog
    family = hardware.vendor if hardware.vendor in catalog.memory_tiers else "default"
    return memory.fit(
        dimensions=question.model.dimensions,
        precision=precision,
        split=layout.split,
        device=memory.device_for(
            vendor=hardware.vendor,
            architecture=hardware.architecture,
            memory_gib=hardware.memory_gib,
            nodes=layout.nodes,
            rules=catalog.memory_rules,
        ),
        demand=memory.Demand(
            context_length=spec.context.max_length,
            max_running=spec.context.max_running_requests,
            kv_precision=spec.context.kv_cache_precision,
            mtp=spec.engine.features.mtp,
        ),
        engine=memory.EngineMemory(
            rules=catalog.memory_rules,
            tiers=catalog.memory_tiers[family],
            aiter_fraction=release.aiter_fraction,
        ),
    )


_FITS: Final = Memo[MemoryFit](8192)
_LAYOUTS: Final = Memo[tuple[Layout, ...]](8192)
_BROKEN: Final = Memo[tuple[Problem, ...]](32_768)


def _measured(ground: _Ground, layout: Layout) -> MemoryFit:
    return _FITS.of(
        (ground.key, layout),
        lambda: measure(ground.question, ground.hardware, layout, ground.precision, ground.release),
    )


def _layouts(ground: _Ground, nodes: int) -> tuple[Layout, ...]:
    """Those that make sense at all: a wish that no node count meets has none."""
    wish = ground.question.spec.parallelism
    dimensions, precision = ground.question.model.dimensions, ground.precision
    wished = (wish.nodes, wish.tensor, wish.pipeline, wish.attention_data, wish.expert)
    return _LAYOUTS.of(
        (Same(dimensions), precision, ground.room, nodes, wished),
        lambda: tuple(splits.layouts(wish, ground.room, dimensions, nodes=nodes, precision=precision)),
    )


def _broken(ground: _Ground, layout: Layout) -> tuple[Problem, ...]:
    dimensions, mtp = ground.question.model.dimensions, ground.question.spec.engine.features.mtp
    return _BROKEN.of(
        (Same(dimensions), ground.precision, layout, mtp),
        lambda: violations(layout.split, dimensions, precision=ground.precision, nodes=layout.nodes, mtp=mtp),
    )


def _key(question: Question, hardware: HardwareClass, precision: str, release: EngineRelease) -> Hashable:
    """Everything that ``measure`` reads besides the layout."""
    context, engine = question.spec.context, question.spec.engine
    return (
        Same(question.catalog),
        Same(question.model),
        Same(release),
        (context.max_length, context.max_running_requests, context.kv_cache_precision),
        (engine.name, engine.version, engine.features.mtp, engine.features.torch_compile),
        (hardware.vendor, hardware.product, hardware.architecture, hardware.memory_gib),
        precision,
    )


def _ground(question: Question, hardware: HardwareClass) -> _Ground | Problem:
    spec = question.spec
    accelerator = next(each for each in question.catalog.accelerators if each.product == hardware.product)
    precision = _precision(question, accelerator)
    if isinstance(precision, Problem):
        return precision
    located = question.weights[precision]
    if isinstance(located, Problem):
        return located
    found = find_release(spec.engine, question.catalog, vendor=hardware.vendor, architecture=hardware.architecture)
    if isinstance(found, Problem):
        return found
    room = splits.Room(
        product=hardware.product,
        devices=hardware.accelerators_per_node,
        asked=spec.hardware.accelerators_per_node,
    )
    problem = splits.contradiction(spec.parallelism, room) or _kv_problem(spec, accelerator)
    if problem is not None:
        return problem
    engine, release = found
    return _Ground(
        question=question,
        hardware=hardware,
        accelerator=accelerator,
        precision=precision,
        located=located,
        engine=engine,
        release=release,
        room=room,
        key=_key(question, hardware, precision, release),
    )


def _attempts(ground: _Ground) -> Iterator[Option | Attempt]:
    """Every layout, fewest nodes first: what works as an option, what does not with its problem."""
    spec = ground.question.spec
    for nodes in splits.node_counts(spec.parallelism):
        fabric = fabrics.weave(spec.fabric, ground.hardware, ground.question.catalog, nodes=nodes)
        if isinstance(fabric, Problem):
            yield Attempt(nodes=nodes, problem=fabric)
            continue
        for layout in _layouts(ground, nodes):
            outcome = _try(ground, layout, fabric)
            yield Attempt(nodes=nodes, problem=outcome) if isinstance(outcome, Problem) else outcome


def _try(ground: _Ground, layout: Layout, fabric: FabricPlan) -> Option | Problem:
    spec, hardware = ground.question.spec, ground.hardware
    mtp = spec.engine.features.mtp
    if broken := _broken(ground, layout):
        return broken[0]
    if layout.split.tensor > layout.devices and not fabrics.carries_tensor(fabric):
        return blame.not_carried(hardware, layout, mtp=mtp)
    fitted = _measured(ground, layout)
    tight = None
    if not fitted.fits:
        if not _tight_enough(spec, fitted):
            return fitted.problems[0]
        tight = fitted.problems[0].message.partition(";")[0]
        fitted = replace(fitted, fits=True, limited_by=None, problems=())
    most = hardware.accelerators_per_node - layout.devices
    return Option(
        hardware=hardware,
        precision=ground.precision,
        native=ground.accelerator.precisions[0] == ground.precision,
        layout=layout,
        memory=fitted,
        engine=ground.engine,
        release=ground.release,
        fabric=fabric,
        located=ground.located,
        free_nodes=sum(ground.question.used.get(name, 0) <= most for name in hardware.nodes),
        tight=tight,
    )


def _tight_enough(spec: Spec, fitted: MemoryFit) -> bool:
    return spec.hardware.allow_tight and fitted.kv_tokens >= (spec.context.max_length or TIGHT_TOKENS)


def _precision(question: Question, accelerator: Accelerator) -> str | Problem:
    asked: str = question.spec.precision
    if asked == "auto":
        usable = [each for each in accelerator.precisions if isinstance(question.weights[each], Located)]
        return usable[0] if usable else accelerator.precisions[0]
    if asked in accelerator.precisions:
        return asked
    others = ", ".join(accelerator.precisions)
    located = any(isinstance(question.weights.get(each), Located) for each in accelerator.precisions)
    source = "" if located else " and spec.weights.source to such weights"
    return Problem(
        field="spec.precision",
        reason="PrecisionNotNative",
        message=f"{accelerator.product} does not run DeepSeek's {asked} in {question.spec.engine.name}; set precision "
        f"to {others}{source}, or use one of {products_for(asked, question.catalog)}",
    )


def _kv_problem(spec: Spec, accelerator: Accelerator) -> Problem | None:
    asked = spec.context.kv_cache_precision
    if asked == "auto" or asked in accelerator.kv_precisions:
        return None
    return Problem(
        field="spec.context.kvCachePrecision",
        reason="KVPrecisionNotNative",
        message=f"{accelerator.product} has no {asked} KV cache in {spec.engine.name}; "
        f"use auto or {', '.join(accelerator.kv_precisions)}",
    )


def _refused(hardware: HardwareClass, problem: Problem, *lines: Candidate) -> Assessment:
    return Assessment(hardware=hardware, option=None, problem=problem, lines=lines)

"""One hardware class against one spec: every layout in the order of preference, what works and what does not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from deepseek_operator.api.problems import Problem
from deepseek_operator.api.resource import Spec
from deepseek_operator.catalog.types import EngineRelease
from deepseek_operator.plan import blame, memory, occupancy, shards, splits
from deepseek_operator.plan import fabric as fabrics
from deepseek_operator.plan.blame import Attempt
from deepseek_operator.plan.grounds import Ground, Question, ground
from deepseek_operator.plan.memo import Memo
from deepseek_operator.plan.rules import violations
from deepseek_operator.plan.splits import Layout
from deepseek_operator.plan.support import usual_precisions
from deepseek_operator.plan.types import Candidate, EngineChoice, FabricPlan, HardwareClass, MemoryFit
from deepseek_operator.plan.weights import Located

TIGHT_TOKENS: Final = 4096
"""KV tokens that even ``spec.hardware.allowTight`` needs: one request of a few pages beside a prefill chunk."""


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
    startable: int
    """Groups that have enough nodes with free devices now, at most those that are wanted."""
    tight: str | None = None
    """What does not fit by the usual measure; accepted because spec.hardware.allowTight says so."""

    @property
    def free(self) -> bool:
        """A group could start now."""
        return self.startable > 0

    @property
    def small(self) -> bool:
        """The model takes only the devices that it needs, not whole nodes."""
        return splits.is_small(self.located.weights.size_gib)

    @property
    def exists(self) -> bool:
        """The class has enough nodes for a group, or is one that is still expected."""
        return not self.hardware.nodes or self.layout.nodes <= occupancy.widest(self.hardware)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """The answer of one class: an option, or the problem to blame; lines for the explanation either way."""

    hardware: HardwareClass
    option: Option | None
    problem: Problem | None
    lines: tuple[Candidate, ...]
    lacking: int = 0
    """Nodes that the class, or its largest domain, would need beyond those it has."""


def assess(question: Question, hardware: HardwareClass) -> Assessment:
    """The best option of a class: fewest nodes, then fewest pipeline stages; a tight one only for want of another."""
    found = ground(question, hardware)
    if isinstance(found, Problem):
        return _refused(hardware, found, blame.line(hardware, question.spec.parallelism.nodes or 0, found))
    failed: list[Attempt] = []
    tight: Option | None = None
    for outcome in _attempts(found):
        if isinstance(outcome, Attempt):
            failed.append(outcome)
        elif not outcome.exists:
            if tight is None:
                problem, lines = blame.too_few(hardware, question.spec.parallelism, failed, outcome.layout)
                lacking = outcome.layout.nodes - occupancy.widest(hardware)
                return replace(_refused(hardware, problem, *lines), lacking=lacking)
            break
        elif outcome.tight is None:
            return _accepted(outcome, failed)
        else:
            tight = tight or outcome
    if tight is not None:
        return _accepted(tight, failed)
    problem, lines = blame.nothing(hardware, question.spec, failed, found.room)
    return _refused(hardware, problem, *lines)


def options(question: Question, hardware: HardwareClass) -> Iterator[Option]:
    """Every layout of a class that works on nodes that exist or are expected, in the order of preference."""
    found = ground(question, hardware)
    if isinstance(found, Problem):
        return
    yield from (each for each in _attempts(found) if isinstance(each, Option) and each.exists)


def measure(
    question: Question, hardware: HardwareClass, layout: Layout, located: Located, release: EngineRelease
) -> MemoryFit:
    """The memory of a layout on a class; it reads nothing that ``Ground.memory_key`` does not name."""
    spec, catalog = question.spec, question.catalog
    engine = memory.memory_model(
        release.engine,
        catalog,
        vendor=hardware.vendor,
        version=release.version,
        aiter_fraction=release.aiter_fraction,
    )
    return memory.fit(
        dimensions=question.model.dimensions,
        layout=located.layout,
        split=layout.split,
        device=memory.device_for(
            vendor=hardware.vendor,
            architecture=hardware.architecture,
            memory_gib=hardware.memory_gib,
            nodes=layout.nodes,
            rules=catalog.memory_rules,
            ranks=layout.split.tensor * layout.split.pipeline,
        ),
        demand=memory.Demand(
            context_length=spec.context.max_length,
            max_running=spec.context.max_running_requests,
            kv_precision=spec.context.kv_cache_precision,
            mtp=spec.engine.features.mtp,
            redundant_experts=question.spread.redundant,
            deepep=question.spread.deepep,
        ),
        engine=engine,
    )


_FITS: Final = Memo[MemoryFit](8192)
_LAYOUTS: Final = Memo[tuple[tuple[Layout, Problem | None], ...]](8192)


def _measured(known: Ground, layout: Layout) -> MemoryFit:
    return _FITS.of(
        (known.memory_key, layout),
        lambda: measure(known.question, known.hardware, layout, known.located, known.release),
    )


def _layouts(known: Ground, nodes: int) -> tuple[tuple[Layout, Problem | None], ...]:
    """Those that make sense at all, each with the engine's rule that it breaks; a wish may leave none."""

    def make() -> tuple[tuple[Layout, Problem | None], ...]:
        question, wish = known.question, known.question.spec.parallelism
        dimensions, spread = question.model.dimensions, question.spread
        found = splits.layouts(wish, known.room, dimensions, nodes=nodes, block=known.block, small=known.small)
        if spread.deepep and wish.expert is None:
            found = map(splits.spread_out, found)
        return tuple((each, _broken(known, each)) for each in found)

    return _LAYOUTS.of((known.layouts_key, nodes), make)


def _broken(known: Ground, layout: Layout) -> Problem | None:
    question = known.question
    found = violations(
        layout.split,
        question.model.dimensions,
        block=known.block,
        nodes=layout.nodes,
        mtp=question.spec.engine.features.mtp,
        engine=question.engine,
        spread=question.spread,
    )
    return next(iter(found), None)


def _attempts(known: Ground) -> Iterator[Option | Attempt]:
    """Every layout, fewest nodes first: what works as an option, what does not with its problem."""
    spec = known.question.spec
    # Traffic depends on whether it leaves the node, not on how many there are.
    alone, joined = (
        fabrics.weave(spec.fabric, known.hardware, known.question.catalog, nodes=nodes) for nodes in (1, 2)
    )
    for nodes in splits.node_counts(spec.parallelism):
        fabric = alone if nodes == 1 else joined
        if isinstance(fabric, Problem):
            yield Attempt(nodes=nodes, problem=fabric)
            continue
        for layout, broken in _layouts(known, nodes):
            outcome = broken or _try(known, layout, fabric)
            yield Attempt(nodes=nodes, problem=outcome) if isinstance(outcome, Problem) else outcome


def _try(known: Ground, layout: Layout, fabric: FabricPlan) -> Option | Problem:
    question, hardware = known.question, known.hardware
    if layout.split.tensor > layout.devices and not fabrics.carries_tensor(fabric):
        return blame.not_carried(hardware, layout, mtp=question.spec.engine.features.mtp)
    located = shards.located_for(known.located, known.question, layout)
    if isinstance(located, Problem):
        return located
    fitted = _measured(known, layout)
    tight = None
    if not fitted.fits:
        if not _tight_enough(question.spec, fitted):
            return fitted.problems[0]
        tight = fitted.problems[0].message.partition(";")[0]
        fitted = replace(fitted, fits=True, limited_by=None, problems=())
    wanted = max(1, question.spec.replicas)
    return Option(
        hardware=hardware,
        precision=known.precision,
        native=_best(known) == known.precision,
        layout=layout,
        memory=fitted,
        engine=known.engine,
        release=known.release,
        fabric=fabric,
        located=located,
        startable=occupancy.startable(
            hardware, question.used, nodes=layout.nodes, devices=layout.devices, wanted=wanted
        ),
        tight=tight,
    )


def _best(known: Ground) -> str | None:
    """The precision that the engine runs best on the product."""
    usual = usual_precisions(known.engine.name, known.accelerator, known.question.catalog)
    return next(iter(usual), None)


def _tight_enough(spec: Spec, fitted: MemoryFit) -> bool:
    return spec.hardware.allow_tight and fitted.kv_tokens >= (spec.context.max_length or TIGHT_TOKENS)


def _accepted(option: Option, failed: Sequence[Attempt]) -> Assessment:
    # That a small model would not fit fewer devices of the same node is no refusal worth telling.
    told = [each for each in failed if each.nodes < option.layout.nodes] if option.small else failed
    return Assessment(hardware=option.hardware, option=option, problem=None, lines=blame.lines(option.hardware, told))


def _refused(hardware: HardwareClass, problem: Problem, *lines: Candidate) -> Assessment:
    return Assessment(hardware=hardware, option=None, problem=problem, lines=lines)

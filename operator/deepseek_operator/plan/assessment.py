"""One hardware class against one spec: the first layout that is legal, carried and fits, or why there is none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from deepseek_operator.api.problems import Problem
from deepseek_operator.api.resource import Spec
from deepseek_operator.catalog.types import Accelerator, Catalog, EngineRelease, Model
from deepseek_operator.plan import fabric as fabrics
from deepseek_operator.plan import memory, occupancy, splits
from deepseek_operator.plan.choices import find_release, products_for, served_precisions
from deepseek_operator.plan.rules import block_of, violations
from deepseek_operator.plan.splits import Layout
from deepseek_operator.plan.types import Candidate, EngineChoice, FabricPlan, HardwareClass, MemoryFit
from deepseek_operator.plan.weights import Located, Sources

_NOT_CARRIED: Final = "NothingCarriesTensor"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What all classes are asked: the spec, its model, and where weights of each precision would come from."""

    spec: Spec
    model: Model
    catalog: Catalog
    sources: Sources
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
    startable: int
    """Groups that have enough nodes with free devices now, at most those that are wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """The answer of one class: an option, or the problem to blame; lines for the explanation either way."""

    hardware: HardwareClass
    option: Option | None
    problem: Problem | None
    lines: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Attempt:
    nodes: int
    problem: Problem


def assess(question: Question, hardware: HardwareClass) -> Assessment:
    """Tries the class with each number of nodes, fewest first."""
    accelerator = next(each for each in question.catalog.accelerators if each.product == hardware.product)
    precision = _sparse_problem(question, accelerator) or _precision(question, accelerator)
    if isinstance(precision, Problem):
        return _refusal(hardware, 0, precision)
    located = question.sources.find(precision, architecture=accelerator.architecture)
    if isinstance(located, Problem):
        return _refusal(hardware, 0, located)
    found = find_release(
        question.spec.engine,
        question.catalog,
        vendor=hardware.vendor,
        architecture=hardware.architecture,
    )
    if isinstance(found, Problem):
        return _refusal(hardware, 0, found)
    room = _room(question, hardware)
    problem = (
        splits.contradiction(question.spec.parallelism, room)
        or _kv_problem(question.spec, accelerator)
        or _mtp_problem(question.spec, located)
    )
    if problem is not None:
        return _refusal(hardware, question.spec.parallelism.nodes or 0, problem)
    choice, release = found
    failed: list[_Attempt] = []
    for nodes in splits.node_counts(question.spec.parallelism):
        for outcome in _tries(question, hardware, room, nodes, located, release):
            if isinstance(outcome, Problem):
                failed.append(_Attempt(nodes=nodes, problem=outcome))
                continue
            layout, fitted, fabric = outcome
            if hardware.nodes and nodes > occupancy.widest(hardware):
                return _too_few(question, hardware, failed, layout)
            option = Option(
                hardware=hardware,
                precision=precision,
                native=accelerator.precisions[0] == precision,
                layout=layout,
                memory=fitted,
                engine=choice,
                release=release,
                fabric=fabric,
                located=located,
                startable=_startable(question, hardware, layout),
            )
            # That a small model would not fit fewer devices of the same node is no refusal worth telling.
            told = failed if not splits.is_small(located.weights.size_gib) else [a for a in failed if a.nodes < nodes]
            return Assessment(hardware=hardware, option=option, problem=None, lines=_lines(hardware, told))
    return _nothing(question, hardware, failed, room)


def _tries(
    question: Question,
    hardware: HardwareClass,
    room: splits.Room,
    nodes: int,
    located: Located,
    release: EngineRelease,
) -> Iterator[tuple[Layout, MemoryFit, FabricPlan] | Problem]:
    """Every layout on a number of nodes: what works comes as it is, what does not as its problem."""
    spec, dimensions = question.spec, question.model.dimensions
    mtp = spec.engine.features.mtp
    fabric = fabrics.weave(spec.fabric, hardware, question.catalog, nodes=nodes)
    if isinstance(fabric, Problem):
        yield fabric
        return
    block = block_of(located.layout, dimensions)
    small = splits.is_small(located.weights.size_gib)
    for layout in splits.layouts(spec.parallelism, room, dimensions, nodes=nodes, block=block, small=small):
        broken = violations(layout.split, dimensions, block=block, nodes=nodes, mtp=mtp)
        if broken:
            yield broken[0]
        elif layout.split.tensor > layout.devices and not fabrics.carries_tensor(fabric):
            yield _not_carried(hardware, layout, mtp=mtp)
        else:
            fitted = measure(question, hardware, layout, located, release)
            if fitted.fits:
                yield layout, fitted, fabric
            else:
                yield fitted.problems[0]


def _not_carried(hardware: HardwareClass, layout: Layout, *, mtp: bool) -> Problem:
    instead = "turn engine.features.mtp off" if mtp else f"use tensor {layout.devices} with pipeline {layout.nodes}"
    return Problem(
        field="spec.parallelism.tensor",
        reason=_NOT_CARRIED,
        message=f"tensor {layout.split.tensor} crosses nodes, and nothing on {hardware.product} is seen to "
        f"carry it; {fabrics.HOW_TO_CARRY}, or {instead}",
    )


def measure(
    question: Question, hardware: HardwareClass, layout: Layout, located: Located, release: EngineRelease
) -> MemoryFit:
    """The memory of a layout on a class.

    Raises:
        LookupError: the engine has no memory model.
    """
    spec, catalog = question.spec, question.catalog
    engine = memory.memory_model(
        release.engine,
        catalog,
        vendor=hardware.vendor,
        version=release.version,
        aiter_fraction=release.aiter_fraction,
    )
    if engine is None:
        raise LookupError(f"{release.engine} has no memory model")
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
        ),
        engine=engine,
    )


def _precision(question: Question, accelerator: Accelerator) -> str | Problem:
    asked: str = question.spec.precision
    served = served_precisions(accelerator, question.catalog)
    if asked == "auto":
        # Quantised weights of other publishers come last, and only where the user allows them.
        tried = served if question.spec.weights.allow_variant else accelerator.precisions
        usable = [each for each in tried if _is_located(question, accelerator, each)]
        return usable[0] if usable else accelerator.precisions[0]
    if asked in served:
        return asked
    others = ", ".join(accelerator.precisions)
    located = all(_is_located(question, accelerator, each) for each in accelerator.precisions)
    source = "" if located else " and spec.weights.source to such weights"
    return Problem(
        field="spec.precision",
        reason="PrecisionNotNative",
        message=f"{accelerator.product} does not run DeepSeek's {asked} in {question.spec.engine.name}; set precision "
        f"to {others}{source}, or use one of {products_for(asked, question.catalog)}",
    )


def _is_located(question: Question, accelerator: Accelerator, precision: str) -> bool:
    return isinstance(question.sources.find(precision, architecture=accelerator.architecture), Located)


def _sparse_problem(question: Question, accelerator: Accelerator) -> Problem | None:
    """DeepSeek-V3.2's attention, where it has no kernels."""
    able = question.catalog.memory_rules.sparse_architectures
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
        f"kernels on {accelerator.product} ({accelerator.architecture}); use deepseek-ai/DeepSeek-V3.1, or one of "
        f"{products}",
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


def _room(question: Question, hardware: HardwareClass) -> splits.Room:
    return splits.Room(
        product=hardware.product,
        devices=hardware.accelerators_per_node,
        asked=question.spec.hardware.accelerators_per_node,
    )


def _startable(question: Question, hardware: HardwareClass, layout: Layout) -> int:
    wanted = max(1, question.spec.replicas)
    return occupancy.startable(hardware, question.used, nodes=layout.nodes, devices=layout.devices, wanted=wanted)


def _too_few(question: Question, hardware: HardwareClass, failed: list[_Attempt], layout: Layout) -> Assessment:
    """The layout would fit, but there are fewer nodes than it takes."""
    there = occupancy.widest(hardware)
    where = f" with one {hardware.topology_key}" if hardware.topology_key else ""
    wish = question.spec.parallelism
    asked = wish.nodes is not None
    needed = f"{layout.nodes} nodes of {layout.devices} {hardware.product}"
    attempts = [each for each in failed if each.nodes <= there]
    smaller = f"set nodes to at most {there}" if asked else "use other hardware"
    problem = Problem(
        field="spec.parallelism.nodes" if asked else "spec.hardware",
        reason="NodesMissing",
        message=f"a group takes {needed}, and {there} usable exist{'s' if there == 1 else ''}{where}; "
        f"add {layout.nodes - there}, or {smaller}{_with_those(attempts, there)}",
    )
    line = _line(hardware, layout.nodes, problem)
    return Assessment(
        hardware=hardware,
        option=None,
        problem=problem,
        lines=(*_lines(hardware, attempts), line),
    )


def _with_those(attempts: list[_Attempt], there: int) -> str:
    """What a smaller wish for context could save."""
    short = [each.problem for each in attempts if each.problem.reason == "ContextTooLong"]
    return f"; with {there}: {short[-1].message}" if short else ""


def _nothing(question: Question, hardware: HardwareClass, failed: list[_Attempt], room: splits.Room) -> Assessment:
    if not failed:
        wish = question.spec.parallelism
        problem = Problem(
            field="spec.parallelism",
            reason="NoLayout",
            message=f"nodes {wish.nodes or 'any'}, tensor {wish.tensor or 'any'} and pipeline "
            f"{wish.pipeline or 'any'} do not make whole nodes of {room.used} {hardware.product}; "
            "leave one of them out",
        )
        return _refusal(hardware, 0, problem)
    # What a user chose is at fault in the first try already; memory is least short in the last one.
    wish = question.spec.parallelism
    chosen = wish.tensor is not None or wish.nodes is not None or wish.pipeline is not None
    legal = [each for each in failed if each.problem.field in {"spec.parallelism", "spec.context.maxLength"}]
    carried = [each for each in failed if each.problem.reason == _NOT_CARRIED]
    fabric = [each for each in failed if each.problem.field.startswith("spec.fabric")]
    if fabric:
        blamed = fabric[0]
    elif question.spec.engine.features.mtp and carried:
        # With MTP there is no way around by pipeline, so the fabric is to blame, not the memory of fewer nodes.
        blamed = carried[0]
    else:
        blamed = failed[0] if chosen or not legal else legal[-1]
    there = len(hardware.nodes) or splits.MOST_NODES
    lines = _lines(hardware, [each for each in failed if each.nodes <= there] or [blamed])
    return Assessment(hardware=hardware, option=None, problem=blamed.problem, lines=lines)


def _refusal(hardware: HardwareClass, nodes: int, problem: Problem) -> Assessment:
    return Assessment(hardware=hardware, option=None, problem=problem, lines=(_line(hardware, nodes, problem),))


def _lines(hardware: HardwareClass, failed: list[_Attempt]) -> tuple[Candidate, ...]:
    """One line for each number of nodes that was tried in vain, with the reason of its first layout."""
    first: dict[int, Problem] = {}
    for attempt in failed:
        first.setdefault(attempt.nodes, attempt.problem)
    return tuple(_line(hardware, nodes, first[nodes]) for nodes in sorted(first))


def _line(hardware: HardwareClass, nodes: int, problem: Problem) -> Candidate:
    reason = problem.message.partition(";")[0]
    return Candidate(product=hardware.product, nodes_per_group=nodes, verdict="refused", reason=reason)

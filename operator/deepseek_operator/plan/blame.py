"""Why a class has no layout that works: of all that was tried in vain, the one thing to tell a user."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from deepseek_operator.api.problems import Problem
from deepseek_operator.api.resource import Parallelism, Spec
from deepseek_operator.plan import fabric as fabrics
from deepseek_operator.plan import occupancy
from deepseek_operator.plan.splits import MOST_NODES, Layout, Room
from deepseek_operator.plan.types import Candidate, HardwareClass

NODES_MISSING: Final = "NodesMissing"
_NOT_CARRIED: Final = "NothingCarriesTensor"
Blamed = tuple[Problem, tuple[Candidate, ...]]
"""The problem, and a line for each number of nodes that was tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A layout on a number of nodes that does not work."""

    nodes: int
    problem: Problem


def not_carried(hardware: HardwareClass, layout: Layout, *, mtp: bool) -> Problem:
    """Tensor parallelism would cross nodes over nothing that is seen."""
    instead = "turn engine.features.mtp off" if mtp else f"use tensor {layout.devices} with pipeline {layout.nodes}"
    return Problem(
        field="spec.parallelism.tensor",
        reason=_NOT_CARRIED,
        message=f"tensor {layout.split.tensor} crosses nodes, and nothing on {hardware.product} is seen to "
        f"carry it; {fabrics.HOW_TO_CARRY}, or {instead}",
    )


def too_few(hardware: HardwareClass, wish: Parallelism, failed: Sequence[Attempt], layout: Layout) -> Blamed:
    """The layout would fit, but there are fewer nodes than it takes."""
    there = occupancy.widest(hardware)
    where = f" with one {hardware.topology_key}" if hardware.topology_key else ""
    asked = wish.nodes is not None
    needed = f"{layout.nodes} nodes of {layout.devices} {hardware.product}"
    attempts = [each for each in failed if each.nodes <= there]
    smaller = f"set nodes to at most {there}" if asked else "use other hardware"
    problem = Problem(
        field="spec.parallelism.nodes" if asked else "spec.hardware",
        reason=NODES_MISSING,
        message=f"a group takes {needed}, and {there} usable exist{'s' if there == 1 else ''}{where}; "
        f"add {layout.nodes - there}, or {smaller}{_with_those(attempts, there)}",
    )
    return problem, (*lines(hardware, attempts), line(hardware, layout.nodes, problem))


def nothing(hardware: HardwareClass, spec: Spec, failed: Sequence[Attempt], room: Room) -> Blamed:
    """No layout works on any number of nodes."""
    wish = spec.parallelism
    if not failed:
        problem = Problem(
            field="spec.parallelism",
            reason="NoLayout",
            message=f"nodes {wish.nodes or 'any'}, tensor {wish.tensor or 'any'} and pipeline "
            f"{wish.pipeline or 'any'} do not make whole nodes of {room.used} {hardware.product}; "
            "leave one of them out",
        )
        return problem, (line(hardware, 0, problem),)
    blamed = _blamed(spec, failed)
    there = len(hardware.nodes) or MOST_NODES
    return blamed.problem, lines(hardware, [each for each in failed if each.nodes <= there] or [blamed])


def lines(hardware: HardwareClass, failed: Sequence[Attempt]) -> tuple[Candidate, ...]:
    """One line for each number of nodes that was tried in vain, with the reason of its first layout."""
    first: dict[int, Problem] = {}
    for attempt in failed:
        first.setdefault(attempt.nodes, attempt.problem)
    return tuple(line(hardware, nodes, first[nodes]) for nodes in sorted(first))


def line(hardware: HardwareClass, nodes: int, problem: Problem) -> Candidate:
    """What is wrong, without the remedy."""
    reason = problem.message.partition(";")[0]
    return Candidate(product=hardware.product, nodes_per_group=nodes, verdict="refused", reason=reason)


def _blamed(spec: Spec, failed: Sequence[Attempt]) -> Attempt:
    wish = spec.parallelism
    fabric = [each for each in failed if each.problem.field.startswith("spec.fabric")]
    if fabric:
        return fabric[0]
    carried = [each for each in failed if each.problem.reason == _NOT_CARRIED]
    if spec.engine.features.mtp and carried:
        # With MTP there is no way around by pipeline, so the fabric is to blame, not the memory of fewer nodes.
        return carried[0]
    # What a user chose is at fault in the first try already; memory is least short in the last one.
    chosen = wish.tensor is not None or wish.nodes is not None or wish.pipeline is not None
    legal = [each for each in failed if each.problem.field in {"spec.parallelism", "spec.context.maxLength"}]
    return failed[0] if chosen or not legal else legal[-1]


def _with_those(attempts: Sequence[Attempt], there: int) -> str:
    """What a smaller wish for context could save."""
    short = [each.problem for each in attempts if each.problem.reason == "ContextTooLong"]
    return f"; with {there}: {short[-1].message}" if short else ""

"""A plan as a picture for a terminal: the nodes of a group, their ranks, and what fills each device.

Everything is a rich renderable built from the plan alone; without colour the bars differ by their glyphs, so
that a log or a pipe reads the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rich.columns import Columns
from rich.console import Group
from rich.constrain import Constrain
from rich.padding import Padding
from rich.panel import Panel
from rich.text import Text

from deepseek_operator.plan.types import Plan, Refusal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rich.console import RenderableType

    from deepseek_operator.plan.types import Candidate, MemoryFit

_LABEL_WIDTH: Final = 9
_BORDER_WIDTH: Final = 4
_WIDEST_BAR: Final = 32
_NARROWEST_BAR: Final = 10
_VERDICT_STYLES: Final = {"chosen": "bold green", "feasible": "cyan", "refused": "dim"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A part of a device's memory; ``gib`` in GiB."""

    label: str
    gib: float
    glyph: str
    style: str


def draw(outcome: Plan | Refusal, *, title: str, groups: int, width: int) -> RenderableType:
    """The whole picture; its boxes are at most ``width`` characters wide, its sentences as wide as the console."""
    if isinstance(outcome, Plan):
        body: list[RenderableType] = [
            _summary(outcome, title=title, groups=groups),
            Constrain(_nodes(outcome, width=width), width),
            _legend(outcome),
        ]
    else:
        # The problems themselves go to stderr, whatever the form of the output.
        body = [Text(f"{title}: no plan", style="bold red")]
    return Group(*body, *_considered(outcome.considered), *_warnings(outcome.warnings))


def draw_memory(memory: MemoryFit, *, width: int) -> RenderableType:
    """One device: its bar, every term that the memory model knows, and what is left for requests."""
    parts = segments(memory, device_gib=memory.free_gib)
    verdict = Text("fits", style="bold green") if memory.fits else Text("does not fit", style="bold red")
    if memory.limited_by:
        verdict.append(f", because of {memory.limited_by}")
    terms = Text("\n").join(Text(f"{name:<20}{gib:>8.2f} GiB") for name, gib in memory.terms.items())
    return Group(
        verdict,
        bar(parts, width=max(_NARROWEST_BAR, min(width, 2 * _WIDEST_BAR))),
        _bar_key(parts, title=f"{memory.free_gib:.1f} GiB free before weights load: "),
        _tokens(memory),
        terms,
    )


def segments(memory: MemoryFit, *, device_gib: float) -> tuple[Segment, ...]:
    """What fills the fullest device, from the bottom; the parts sum to ``device_gib``."""
    working = min(memory.reserve_gib, _working_gib(memory))
    free = max(0.0, memory.free_gib - memory.weights_gib - memory.kv_gib - working)
    outside = max(0.0, device_gib - memory.weights_gib - memory.kv_gib - working - free)
    return (
        Segment(label="weights", gib=memory.weights_gib, glyph="█", style="blue"),
        Segment(label="KV cache", gib=memory.kv_gib, glyph="▓", style="green"),
        Segment(label="graphs and activations", gib=working, glyph="▒", style="yellow"),
        Segment(label="driver and communication", gib=outside, glyph="≡", style="magenta"),
        Segment(label="free", gib=free, glyph="·", style="dim"),
    )


def bar(parts: Iterable[Segment], *, width: int) -> Text:
    """A bar of exactly ``width`` characters; every part that exists has at least one of them."""
    present = [part for part in parts if part.gib > 0]
    total = sum(part.gib for part in present)
    text = Text(no_wrap=True)
    if not present or width < len(present):
        return text
    spare = width - len(present)
    shares = [spare * part.gib / total for part in present]
    lengths = [1 + int(share) for share in shares]
    by_remainder = sorted(range(len(present)), key=lambda at: (int(shares[at]) - shares[at], at))
    for at in by_remainder[: width - sum(lengths)]:
        lengths[at] += 1
    for part, length in zip(present, lengths, strict=True):
        text.append(part.glyph * length, style=part.style)
    return text


def _working_gib(memory: MemoryFit) -> float:
    """Everything but weights and KV that the memory model names, in GiB."""
    return max(0.0, sum(memory.terms.values()) - memory.weights_gib)


def _summary(plan: Plan, *, title: str, groups: int) -> Text:
    split = plan.parallelism
    parts = [f"tensor {split.tensor}", f"pipeline {split.pipeline}"]
    parts += [f"attention data {split.attention_data}"] if split.attention_data > 1 else []
    parts += [f"expert {split.expert}"] if split.expert > 1 else []
    carrier = "inside the node"
    if plan.nodes_per_group > 1:
        carrier = f"over {plan.fabric.rdma_resource or plan.fabric.carrier}"
    text = Text()
    text.append(title, style="bold")
    text.append(f"  {plan.model} in {plan.precision}\n")
    text.append(
        f"{_count(groups, 'group')} of {_count(plan.nodes_per_group, 'node')}, "
        f"each with {plan.accelerators_per_node} {plan.hardware.product}\n"
    )
    text.append(f"{', '.join(parts)}; {plan.fabric.collective.upper()} {carrier}\n")
    text.append(f"{plan.engine.name} {plan.engine.version}  {plan.engine.image}\n")
    text.append(f"weights {plan.weights.source}, {plan.weights.size_gib:,.0f} GiB ({plan.weights.layout})\n")
    return text


def _nodes(plan: Plan, *, width: int) -> Columns:
    bar_width = _bar_width(plan, width=width)
    return Columns(
        [_node(plan, index, bar_width=bar_width) for index in range(plan.nodes_per_group)],
        padding=(0, 1),
    )


def _bar_width(plan: Plan, *, width: int) -> int:
    """Two nodes side by side where there is room for it."""
    side_by_side = 2 if plan.nodes_per_group > 1 and width >= 72 else 1
    room = width // side_by_side - 2 - _BORDER_WIDTH - _LABEL_WIDTH
    return max(_NARROWEST_BAR, min(_WIDEST_BAR, room))


def _node(plan: Plan, index: int, *, bar_width: int) -> Panel:
    parts = segments(plan.memory, device_gib=plan.hardware.memory_gib)
    lines = Text("\n").join(
        Text.assemble(f"rank {rank:<3} ", bar(parts, width=bar_width)) for rank in _ranks(plan, index)
    )
    stage = f", stage {_stage(plan, index)}" if plan.parallelism.pipeline > 1 else ""
    role = "node 0, leader" if index == 0 else f"node {index}"
    return Panel(lines, title=f"{role}{stage}", title_align="left", expand=False)


def _ranks(plan: Plan, index: int) -> range:
    """World ranks of one node: consecutive, tensor inside pipeline."""
    return range(index * plan.accelerators_per_node, (index + 1) * plan.accelerators_per_node)


def _stage(plan: Plan, index: int) -> int:
    return index * plan.accelerators_per_node // plan.parallelism.tensor


def _legend(plan: Plan) -> RenderableType:
    device_gib = plan.hardware.memory_gib
    parts = segments(plan.memory, device_gib=device_gib)
    return Group(_bar_key(parts, title=f"each device, {device_gib:.1f} GiB: "), _tokens(plan.memory), "")


def _bar_key(parts: tuple[Segment, ...], *, title: str) -> Text:
    text = Text(title)
    for number, part in enumerate(part for part in parts if part.gib >= 0.05):
        text.append(", " if number else "")
        text.append(part.glyph, style=part.style)
        text.append(f" {part.label} {part.gib:.1f}")
    return text


def _tokens(memory: MemoryFit) -> Text:
    if not memory.modelled:
        return Text(f"context {memory.context_length:,}; KV tokens are not known: the engine has no memory model")
    # An engine that allocates what it is told to divides nothing and captures nothing.
    divided = f"memory fraction {memory.mem_fraction:.2f}, graphs up to batch {memory.graph_max_batch}, "
    return Text(
        f"{memory.kv_tokens:,} KV tokens, context {memory.context_length:,}, {divided if memory.mem_fraction else ''}"
        f"at once {memory.requests_4k:,} requests of 4k or {memory.requests_32k:,} of 32k tokens"
    )


def _considered(candidates: tuple[Candidate, ...]) -> Iterator[RenderableType]:
    if candidates:
        yield Text("considered", style="bold")
    for candidate in candidates:
        nodes = f", {_count(candidate.nodes_per_group, 'node')}" if candidate.nodes_per_group else ""
        line = Text.assemble(
            (f"{candidate.verdict} ", _VERDICT_STYLES[candidate.verdict]),
            f"{candidate.product}{nodes}: {candidate.reason}",
        )
        yield Padding(line, (0, 0, 0, 2), expand=False)


def _warnings(warnings: tuple[str, ...]) -> Iterator[Text]:
    for warning in warnings:
        yield Text.assemble(("warning ", "bold yellow"), warning)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"

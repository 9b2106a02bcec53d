"""Placements and assumptions as tables for a terminal, and the words of ``--what-if``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from rich.console import Group
from rich.table import Table
from rich.text import Text

from deepseek_operator.api.problems import InvalidInputError, Problem
from deepseek_operator.plan.comparison import row_of_plan
from deepseek_operator.plan.types import Plan
from deepseek_operator.plan.whatif import Assumption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from deepseek_operator.plan.comparison import Row
    from deepseek_operator.plan.types import HardwareClass, Refusal

_PAIR: Final = re.compile(r"\s*(nodes|product|devices)\s*=\s*(\S+)\s*")
_MOST: Final = {"nodes": 1024, "devices": 64}
_FIGURES: Final = ("KV tokens", "headroom GiB", "context", "at 4k", "at 32k")


def parse_assumption(text: str) -> Assumption:
    """``nodes=4,product=H200,devices=8``, each part at most once.

    Raises:
        InvalidInputError: another key, no number, or nothing.
    """
    found: dict[str, str] = {}
    for part in text.split(","):
        match = _PAIR.fullmatch(part)
        if match is None or match[1] in found:
            raise _wrong(text, "write nodes=N, product=NAME and devices=N, each at most once, with commas between")
        found[match[1]] = match[2]
    numbers: dict[str, int] = {}
    for key, most in _MOST.items():
        if key in found:
            value = found[key]
            if not value.isdecimal() or not 1 <= int(value) <= most:
                raise _wrong(text, f"{key} takes a whole number from 1 to {most}")
            numbers[key] = int(value)
    return Assumption(nodes=numbers.get("nodes"), product=found.get("product"), devices=numbers.get("devices"))


def draw_placements(rows: Sequence[Row]) -> Table:
    """All placements side by side, the best first."""
    table = _table("placements that work, the best first", "hardware of a group", "tensor x pipeline")
    for index, row in enumerate(rows):
        table.add_row(_group(row), _split(row), *_figures(row), style="" if index else "bold green")
    return table


def draw_assumptions(outcomes: Sequence[tuple[HardwareClass, Plan | Refusal]], *, wanted: int | None) -> RenderableType:
    """One line for each assumption: what a group would take; below it why others have no plan."""
    table = _table("what if the cluster had", "nodes", "a group", "tensor x pipeline")
    reasons: list[Text] = []
    for hardware, outcome in outcomes:
        nodes = f"{len(hardware.nodes)} x {hardware.accelerators_per_node} {hardware.product}"
        if isinstance(outcome, Plan):
            row = row_of_plan(outcome, wanted=wanted)
            group = f"{row.nodes} of {row.devices}{_marks(row)}"
            table.add_row(nodes, group, _split(row), *_figures(row))
        else:
            table.add_row(nodes, "no plan", "-", *("-" for _ in _FIGURES), style="dim")
            reasons.append(Text(f"no plan on {nodes}: {outcome.problems[0].message.partition(';')[0]}"))
    return Group(table, *reasons)


def _table(title: str, *first: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for name in first:
        table.add_column(name, overflow="fold")
    for name in _FIGURES:
        table.add_column(name, justify="right")
    return table


def _group(row: Row) -> str:
    return f"{row.nodes} x {row.devices} {row.product}{_marks(row)}"


def _marks(row: Row) -> str:
    marks = [mark for mark, there in (("busy", row.busy), ("tight", row.tight), ("expected", row.expected)) if there]
    return f" ({', '.join(marks)})" if marks else ""


def _split(row: Row) -> str:
    split = row.split
    parts = [f"{row.precision} {split.tensor} x {split.pipeline}"]
    parts += [f"attention data {split.attention_data}"] if split.attention_data > 1 else []
    parts += [f"expert {split.expert}"] if split.expert > 1 else []
    return ", ".join(parts)


def _figures(row: Row) -> tuple[str, ...]:
    if not row.modelled:
        return ("?", "?", f"{row.context_length:,}", "?", "?")
    return (
        f"{row.kv_tokens:,}",
        f"{row.headroom_gib:.1f}",
        f"{row.context_length:,}",
        f"{row.short_requests:,}",
        f"{row.long_requests:,}",
    )


def _wrong(text: str, message: str) -> InvalidInputError:
    return InvalidInputError(Problem(field="--what-if", reason="AssumptionInvalid", message=f"{text!r}: {message}"))

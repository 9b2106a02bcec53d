"""``deepseek-operator support``: what runs where, as Markdown or JSON."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Annotated, Any, Final

import typer

from deepseek_operator.catalog.load import load
from deepseek_operator.cli.matrix import PRECISIONS, Cell, cells
from deepseek_operator.cli.options import Output
from deepseek_operator.cli.output import write_json

_HEADER: Final = """# What runs where

Written by `deepseek-operator support` and `make generate`. Each cell was planned as a deployment that names the product
of its architecture with the most memory a node, with RDMA between nodes: `2 x 8` means two nodes of eight devices. The
command line of each cell is in `tests/unit/engines/golden/` and passes the engine's own parser where that is public.

*experimental*: works by the engine's sources, and nobody was seen to run it. A star: the catalogue knows nobody who
publishes such weights, so `spec.weights.source` names yours. A dash: refused; the reason and what would work stand
below the table. None of this was run on a GPU cluster.
"""
_REFUSED: Final = "-"


def support(
    *, output: Annotated[Output, typer.Option("--output", "-o", help="text is Markdown")] = Output.TEXT
) -> None:
    """Print what every engine serves on every architecture, by precision and family of models."""
    found = list(cells(load()))
    if output is Output.JSON:
        write_json([_document(cell) for cell in found])
    else:
        sys.stdout.write(page(found))


def page(found: Iterable[Cell]) -> str:
    """The whole page as Markdown."""
    return "\n".join([_HEADER, *_sections(found)]) + "\n"


def _sections(found: Iterable[Cell]) -> Iterator[str]:
    for (engine, family), group in groupby(found, key=lambda cell: (cell.engine, cell.family)):
        yield f"## {engine}: {family}\n"
        yield from _table(list(group))


def _table(group: list[Cell]) -> Iterator[str]:
    yield "| | " + " | ".join(PRECISIONS) + " |"
    yield "|---|" + "---|" * len(PRECISIONS)
    for architecture, row in groupby(group, key=lambda cell: cell.architecture):
        columns = list(row)
        yield f"| {architecture} ({columns[0].product}) | " + " | ".join(map(_mark, columns)) + " |"
    yield ""
    reasons: dict[str, list[str]] = {}
    for cell in group:
        if cell.words:
            reasons.setdefault(_short(cell), []).append(f"{cell.architecture} {cell.precision}")
    for words, where in reasons.items():
        yield f"- {', '.join(where)}: {words}"
    yield ""


def _short(cell: Cell) -> str:
    """A reason that reads alike for products that are refused alike, without the long list of others."""
    words = cell.words.replace(cell.product, "this product").replace(f" ({cell.architecture})", "")
    return words.partition(", or use one of")[0].partition(". Tried and works")[0]


def _mark(cell: Cell) -> str:
    if cell.plan is None:
        return _REFUSED
    stages = f", PP {cell.plan.parallelism.pipeline}" if cell.plan.parallelism.pipeline > 1 else ""
    mark = f"{cell.plan.nodes_per_group} x {cell.plan.accelerators_per_node}{stages}"
    mark += " \\*" if cell.own_weights else ""
    return f"{mark} *experimental*" if cell.verdict == "experimental" else mark


def _document(cell: Cell) -> dict[str, Any]:
    plan = cell.plan
    return {
        "engine": cell.engine,
        "family": cell.family,
        "architecture": cell.architecture,
        "product": cell.product,
        "precision": cell.precision,
        "verdict": cell.verdict,
        "reason": cell.words or None,
        "source": cell.source or None,
        "ownWeights": cell.own_weights,
        "nodesPerGroup": plan.nodes_per_group if plan else None,
        "acceleratorsPerNode": plan.accelerators_per_node if plan else None,
        "tensor": plan.parallelism.tensor if plan else None,
        "pipeline": plan.parallelism.pipeline if plan else None,
    }

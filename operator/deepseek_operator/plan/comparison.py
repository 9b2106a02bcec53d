"""Placements side by side: what each takes and what it can serve, as figures that can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from deepseek_operator.plan.assessment import Option
from deepseek_operator.plan.footprint import GIB
from deepseek_operator.plan.memory_case import LEAST_TOKENS, LONG, SHORT
from deepseek_operator.plan.types import MemoryFit, Parallelism, Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One placement. ``kv_tokens`` and ``headroom_gib`` are of one device, the rest is of a group."""

    modelled: bool
    """False: the engine has no memory model, and the figures of its cache mean nothing."""

    product: str
    nodes: int
    devices: int
    """Of each node."""
    split: Parallelism
    precision: str
    kv_tokens: int
    headroom_gib: float
    """GiB of KV cache beyond the tokens that it must hold: the wish for a context, else 32,768."""
    context_length: int
    """Longest request."""
    short_requests: int
    """Requests of 4,096 tokens that a group holds at once, prompt and answer together."""
    long_requests: int
    """The same for 32,768 tokens."""
    expected: bool
    """No such node exists yet."""
    busy: bool
    """Not enough of its nodes are free now."""
    tight: bool


def row_of_option(option: Option, *, wanted: int | None) -> Row:
    """The figures of a placement; ``wanted`` is the context that the user asks for."""
    return _row(
        option.memory,
        option.layout.split,
        wanted,
        product=option.hardware.product,
        nodes=option.layout.nodes,
        devices=option.layout.devices,
        precision=option.precision,
        expected=not option.hardware.nodes,
        busy=bool(option.hardware.nodes) and not option.free,
        tight=option.tight is not None,
    )


_OF_A_MODEL: Final = ("kvTokens", "headroomGiB", "requestsAt4k", "requestsAt32k")


def row_of_plan(plan: Plan, *, wanted: int | None) -> Row:
    """The figures of a plan."""
    return _row(
        plan.memory,
        plan.parallelism,
        wanted,
        product=plan.hardware.product,
        nodes=plan.nodes_per_group,
        devices=plan.accelerators_per_node,
        precision=plan.precision,
        expected=not plan.hardware.nodes,
        busy=False,
        tight=plan.memory.modelled and plan.memory.kv_tokens < (wanted or LEAST_TOKENS),
    )


def placements_document(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """``placements`` of ``plan --compare -o json``, the best first."""
    return [
        (
            {
                "product": row.product,
                "nodesPerGroup": row.nodes,
                "acceleratorsPerNode": row.devices,
                "parallelism": {
                    "tensor": row.split.tensor,
                    "pipeline": row.split.pipeline,
                    "attentionData": row.split.attention_data,
                    "expert": row.split.expert,
                },
                "precision": row.precision,
                "kvTokens": row.kv_tokens,
                "headroomGiB": round(row.headroom_gib, 3),
                "contextLength": row.context_length,
                "requestsAt4k": row.short_requests,
                "requestsAt32k": row.long_requests,
                "nodesExpected": row.expected,
                "busy": row.busy,
                "tight": row.tight,
                "verdict": "feasible" if index else "chosen",
            }
            | ({} if row.modelled else dict.fromkeys(_OF_A_MODEL))
        )
        for index, row in enumerate(rows)
    ]


def _row(fit: MemoryFit, split: Parallelism, wanted: int | None, **of_placement: Any) -> Row:
    spare = fit.kv_tokens - (wanted or LEAST_TOKENS)
    return Row(
        split=split,
        kv_tokens=fit.kv_tokens,
        headroom_gib=spare * fit.kv_bytes_per_token / GIB,
        context_length=fit.context_length,
        modelled=fit.modelled,
        # A context that is wished for may be shorter than the request.
        short_requests=fit.requests_4k if fit.context_length >= SHORT else 0,
        long_requests=fit.requests_32k if fit.context_length >= LONG else 0,
        **of_placement,
    )

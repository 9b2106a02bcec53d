"""Conditions as the API conventions and kstatus want them; messages are for people, reasons for programs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from deepseek_operator.lifecycle.bounds import first_bytes

Truth = Literal["True", "False", "Unknown"]

TYPES = (
    "Ready",
    "Completed",
    "Available",
    "Reconciling",
    "Stalled",
    "Accepted",
    "Planned",
    "WeightsReady",
    "GroupsReady",
    "FabricReady",
    "NetworkIsolated",
    "MemoryAsPlanned",
    "RuntimeSupported",
    "DevicesHealthy",
)
MESSAGE_LIMIT = 1792
"""Bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One condition without its times; those follow from what was there before."""

    type: str
    status: Truth
    reason: str
    message: str = ""


def write_conditions(
    conditions: Iterable[Condition],
    *,
    before: Sequence[Mapping[str, Any]],
    generation: int,
    time: str,
) -> list[dict[str, Any]]:
    """Conditions for status, in the order of TYPES. ``lastTransitionTime`` moves only when the status flips."""
    earlier = {condition["type"]: condition for condition in before}
    written = []
    for condition in sorted(conditions, key=lambda item: TYPES.index(item.type)):
        old = earlier.get(condition.type, {})
        kept = old.get("status") == condition.status and old.get("lastTransitionTime")
        written.append(
            {
                "type": condition.type,
                "status": condition.status,
                "observedGeneration": generation,
                "lastTransitionTime": kept or time,
                "reason": condition.reason,
                "message": first_bytes(condition.message, MESSAGE_LIMIT),
            }
        )
    return written

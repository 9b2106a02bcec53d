"""Memory as planned, or not: what the engine of each serving group reports beside what its plan expected.

A defect of an engine can leave a KV cache far smaller than the device allows, and nothing but slow answers shows it
(SGLang pull request 36583). Each incarnation is asked once; the answer lives in its group's entry.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from deepseek_operator.lifecycle.conditions import Condition, Truth
from deepseek_operator.lifecycle.entries import GroupEntry, Report
from deepseek_operator.lifecycle.outcome import Outcome

TOLERANCE: Final = 0.10
"""Figures further apart than this share of the plan's are told."""


def with_reports(entries: Iterable[GroupEntry], reports: Mapping[int, Report]) -> tuple[GroupEntry, ...]:
    """The entries with what their present incarnation reported; a report of an earlier one is dropped."""
    return tuple(_with(entry, reports.get(entry.index)) for entry in entries)


def memory_as_planned(outcome: Outcome, active: Sequence[GroupEntry]) -> Condition:
    """The condition: False with both figures where any group is off, True where one at least is as planned."""

    def verdict(status: Truth, reason: str, message: str) -> Condition:
        return Condition(type="MemoryAsPlanned", status=status, reason=reason, message=message)

    if outcome.plan is None:
        return verdict("Unknown", "NotPlanned", "")
    asked = [entry for entry in active if entry.ready and entry.reported]
    if not asked:
        return verdict("Unknown", "NotReported", "no group that serves has reported its memory yet")
    told = [_judge(entry, outcome.plan_of(entry.revision)) for entry in asked]
    for status, reason in (("False", "OffPlan"), ("True", "AsPlanned"), ("Unknown", "NotReachable")):
        messages = [message for found, message in told if found == status]
        if messages:
            return verdict(status, reason, "; ".join(messages))  # type: ignore[arg-type]  # one of the three
    return verdict("Unknown", "NotReported", "")


def _with(entry: GroupEntry, report: Report | None) -> GroupEntry:
    kept = entry.reported if entry.reported and entry.reported.incarnation == entry.incarnation else None
    if kept is None and report is not None and report.incarnation == entry.incarnation and entry.ready:
        kept = report
    return entry if kept is entry.reported else replace(entry, reported=kept)


def _judge(entry: GroupEntry, plan: Mapping[str, Any] | None) -> tuple[Truth, str]:
    report = entry.reported
    if report is None or plan is None:
        return "Unknown", f"group {entry.index}: its plan is not known any more"
    if report.kv_tokens is None:
        return "Unknown", f"group {entry.index}: {report.unknown}"
    memory = plan["memory"]
    if not memory.get("modelled", True):
        return "Unknown", f"group {entry.index} reports {report.kv_tokens:,} KV tokens; its engine has no memory model"
    figures = [f"{report.kv_tokens:,} KV tokens, planned {memory['kv_tokens']:,}"]
    off = _differs(report.kv_tokens, memory["kv_tokens"])
    # In a pipeline the leader tells of its own stage only, and the plan is about the fullest one.
    if report.weights_gib is not None and plan["parallelism"]["pipeline"] == 1:
        # The engine counts a draft model apart.
        weights = memory["weights_gib"] - memory["terms"].get("mtp", 0.0)
        figures.append(f"{report.weights_gib:.1f} GiB of weights a device, planned {weights:.1f}")
        off = off or _differs(report.weights_gib, weights)
    return "False" if off else "True", f"group {entry.index} reports {' and '.join(figures)}"


def _differs(reported: float, planned: float) -> bool:
    return abs(reported - planned) > TOLERANCE * planned

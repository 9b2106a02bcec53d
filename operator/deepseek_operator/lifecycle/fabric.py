"""Is the fabric what the plan rests on: from the plan, and from what the ranks of each group measured.

Ranks that fall back to sockets serve, at a tenth of the speed or less; nothing but the preflight tells.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from deepseek_operator.engines.launch.preflight import slowness
from deepseek_operator.lifecycle.conditions import Condition, Truth
from deepseek_operator.lifecycle.entries import FabricReport, GroupEntry
from deepseek_operator.lifecycle.incidents import PREFLIGHT_FAILED
from deepseek_operator.lifecycle.outcome import Outcome
from deepseek_operator.lifecycle.records import PodRecord

_SOCKETS: Final = "NET/Socket"
_LONGEST_TRANSPORT: Final = 64
_RESTS_ON: Final = {
    "ascend": "the NPUs' own network",
    "host": "the node's network",
    "tcp": "the pod network, for pipeline stages",
    "node": "the links inside one node",
}


def with_fabric(entry: GroupEntry, pods: Iterable[PodRecord]) -> GroupEntry:
    """The entry with what the preflights of its present incarnation reported so far."""
    reports = [
        report
        for pod in pods
        if pod.incarnation == entry.incarnation and (report := _read(pod.preflight.message, pod.preflight.exit_code))
    ]
    kept = entry.fabric if entry.fabric and entry.fabric.incarnation == entry.incarnation else None
    if reports and len(reports) >= (kept.ranks if kept else 0):
        figures = [each[1] for each in reports if each[1] is not None]
        kept = FabricReport(
            incarnation=entry.incarnation,
            transport=min((each[0] for each in reports), key=slowness),
            bus_bandwidth=f"{min(figures):.2f}" if figures else "",
            ranks=len(reports),
        )
    return entry if kept == entry.fabric else replace(entry, fabric=kept)


def fabric_ready(outcome: Outcome, active: Sequence[GroupEntry]) -> Condition:
    """False where a preflight failed, or ranks use sockets in spite of RDMA; True by figures, else by the plan."""

    def verdict(status: Truth, reason: str, message: str) -> Condition:
        return Condition(type="FabricReady", status=status, reason=reason, message=message)

    if outcome.plan is None:
        return verdict("Unknown", "NotPlanned", "")
    failed = [entry for entry in active if not entry.ready and _failed(entry)]
    if failed:
        told = "; ".join(f"group {entry.index}: {entry.incidents[0].message}" for entry in failed)
        return verdict("False", PREFLIGHT_FAILED, told)
    measured = [(entry, entry.fabric, _fabric_of(entry, outcome)) for entry in active if entry.fabric]
    sockets = [
        f"group {entry.index}"
        for entry, report, planned in measured
        if report.transport == _SOCKETS and planned.get("carrier") == "rdma"
    ]
    if sockets:
        resource = outcome.plan.fabric.rdma_resource or outcome.plan.fabric.preset
        return verdict(
            "False",
            "SocketsInsteadOfRDMA",
            f"the plan rests on RDMA ({resource}), and the ranks of {', '.join(sockets)} use sockets; look for the "
            "RDMA libraries or the NCCL plugin in the image, and for the adapters' state on the nodes",
        )
    if measured:
        return verdict("True", "Measured", "; ".join(_told(entry, report) for entry, report, _ in measured))
    fabric = outcome.plan.fabric
    rests = _RESTS_ON.get(fabric.carrier, f"RDMA ({fabric.rdma_resource or fabric.preset})")
    return verdict("True", "Planned", f"the plan rests on {rests}; spec.fabric.preflight would measure it")


def _failed(entry: GroupEntry) -> bool:
    return bool(entry.incidents) and entry.incidents[0].reason == PREFLIGHT_FAILED and entry.fabric is None


def _told(entry: GroupEntry, report: FabricReport) -> str:
    speed = f" at {report.bus_bandwidth} GB/s" if report.bus_bandwidth else ""
    return f"group {entry.index}: {report.transport}{speed}"


def _fabric_of(entry: GroupEntry, outcome: Outcome) -> Mapping[str, Any]:
    """The fabric that the group's own revision was planned with."""
    plan = outcome.plan_of(entry.revision)
    found: Mapping[str, Any] = plan["fabric"] if plan else {}
    return found


def _read(message: str, exit_code: int | None) -> tuple[str, float | None] | None:
    """Transport and bandwidth of a rank; None where it has not passed, or says something else."""
    if exit_code != 0:
        return None
    try:
        told = json.loads(message)
        transport, figure = str(told["transport"])[:_LONGEST_TRANSPORT], told.get("busBandwidthGBps")
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return transport, float(figure) if isinstance(figure, int | float) and not isinstance(figure, bool) else None

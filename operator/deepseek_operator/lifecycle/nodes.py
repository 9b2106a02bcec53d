"""Which nodes of a deployment are lost, and which are being emptied."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta

from deepseek_operator.lifecycle.clock import moment
from deepseek_operator.lifecycle.records import NodeRecord


def dead_nodes(
    names: Iterable[str], nodes: Mapping[str, NodeRecord], *, lost_after: int, now: datetime
) -> frozenset[str]:
    """Those of ``names`` that are gone, marked out of service, or not ready for ``lost_after`` seconds."""
    return frozenset(name for name in names if name and _dead(nodes.get(name), lost_after=lost_after, now=now))


def next_loss(
    names: Iterable[str], nodes: Mapping[str, NodeRecord], *, lost_after: int, now: datetime
) -> datetime | None:
    """When the next of ``names`` will count as lost, if it stays as it is."""
    dues = [
        due
        for name in names
        if (node := nodes.get(name)) and node.not_ready_since and (due := _due(node, lost_after)) > now
    ]
    return min(dues, default=None)


def drained(names: Iterable[str], nodes: Mapping[str, NodeRecord], *, taints: Collection[str]) -> str:
    """Why pods should leave one of ``names``, as ``node (taint)``; empty when none should."""
    for name in sorted(names):
        node = nodes.get(name)
        for taint in node.taints if node else ():
            if taint in taints:
                return f"{name} ({taint})"
    return ""


def _dead(node: NodeRecord | None, *, lost_after: int, now: datetime) -> bool:
    if node is None or node.out_of_service:
        return True
    return bool(node.not_ready_since) and _due(node, lost_after) <= now


def _due(node: NodeRecord, lost_after: int) -> datetime:
    return moment(node.not_ready_since) + timedelta(seconds=lost_after)

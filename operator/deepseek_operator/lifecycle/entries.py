"""A group's entry in ``status.groups``: the only memory that decisions have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deepseek_operator.api.status import Intent, Stage

INCIDENTS_KEPT = 3
MESSAGE_LIMIT = 512
MANY_GROUPS = 8
"""Beyond so many groups each keeps one incident and short messages: all of status stays below 64 KiB."""
SHORT_MESSAGE_LIMIT = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A pod that belongs to a group's incarnation."""

    rank: int
    uid: str
    node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """Why an incarnation ended, with the evidence."""

    time: str
    """RFC 3339, UTC."""
    reason: str
    message: str
    rank: int | None = None
    pod: str = ""
    node: str = ""
    exit_code: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the engine of an incarnation said about its memory, or why it could not be asked."""

    incarnation: int
    kv_tokens: int | None = None
    weights_gib: float | None = None
    unknown: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupEntry:
    """What was decided about a group. Times are RFC 3339, UTC; empty means never."""

    index: int
    revision: str
    template_hash: str = ""
    incarnation: int = 1
    intent: Intent = "Run"
    stage: Stage = "Pending"
    since: str = ""
    """When the stage began."""
    message: str = ""
    members: tuple[Member, ...] = ()
    """All ranks' pods, once all exist; a different pod later means that one was lost."""
    ready: bool = False
    formed: bool = False
    """This incarnation has served."""
    restarts: int = 0
    """Incidents in a row; back to 0 after serving stably."""
    stable_since: str = ""
    """When the group began to serve without a break."""
    not_before: str = ""
    """Earliest next start."""
    incidents: tuple[Incident, ...] = ()
    reported: Report | None = None
    """Asked once an incarnation."""


def read_entry(data: Mapping[str, Any]) -> GroupEntry:
    """A group's entry from ``status.groups[]``."""
    return GroupEntry(
        index=data["index"],
        revision=data.get("revision", ""),
        template_hash=data.get("templateHash", ""),
        incarnation=data.get("incarnation", 1),
        intent=data.get("intent", "Run"),
        stage=data.get("stage", "Pending"),
        since=data.get("since", ""),
        message=data.get("message", ""),
        members=tuple(
            Member(rank=item["rank"], uid=item["uid"], node=item.get("node", "")) for item in data.get("members", ())
        ),
        ready=data.get("ready", False),
        formed=data.get("formed", False),
        restarts=data.get("restarts", 0),
        stable_since=data.get("stableSince", ""),
        not_before=data.get("notBefore", ""),
        incidents=tuple(
            Incident(
                time=item["time"],
                reason=item["reason"],
                message=item.get("message", ""),
                rank=item.get("rank"),
                pod=item.get("pod", ""),
                node=item.get("node", ""),
                exit_code=item.get("exitCode"),
            )
            for item in data.get("incidents", ())
        ),
        reported=_read_report(data["memory"]) if "memory" in data else None,
    )


def write_entries(entries: Sequence[GroupEntry]) -> list[dict[str, Any]]:
    """``status.groups``."""
    if len(entries) <= MANY_GROUPS:
        return [_write_entry(entry, incidents=INCIDENTS_KEPT, limit=MESSAGE_LIMIT) for entry in entries]
    return [_write_entry(entry, incidents=1, limit=SHORT_MESSAGE_LIMIT) for entry in entries]


def _write_entry(entry: GroupEntry, *, incidents: int, limit: int) -> dict[str, Any]:
    """The entry as it is stored; empty values are left out, so that status stays small."""
    data: dict[str, Any] = {
        "index": entry.index,
        "revision": entry.revision,
        "templateHash": entry.template_hash,
        "incarnation": entry.incarnation,
        "intent": entry.intent,
        "stage": entry.stage,
        "since": entry.since,
        "message": entry.message[:limit],
        "members": [
            {"rank": member.rank, "uid": member.uid, **({"node": member.node} if member.node else {})}
            for member in entry.members
        ],
        "ready": entry.ready,
        "formed": entry.formed,
        "restarts": entry.restarts,
        "stableSince": entry.stable_since,
        "notBefore": entry.not_before,
        "incidents": [_write_incident(incident, limit=limit) for incident in entry.incidents[:incidents]],
        "memory": _write_report(entry.reported, limit=limit) if entry.reported else "",
    }
    return {key: value for key, value in data.items() if value not in ("", [])}


def _read_report(data: Mapping[str, Any]) -> Report:
    weights = data.get("weightsGiB")
    return Report(
        incarnation=data["incarnation"],
        kv_tokens=data.get("kvTokens"),
        weights_gib=float(weights) if weights else None,
        unknown=data.get("unknown", ""),
    )


def _write_report(report: Report, *, limit: int) -> dict[str, Any]:
    """Typed fields of the API have no floats: GiB is text."""
    data = {
        "incarnation": report.incarnation,
        "kvTokens": report.kv_tokens,
        "weightsGiB": None if report.weights_gib is None else f"{report.weights_gib:.2f}",
        "unknown": report.unknown[:limit],
    }
    return {key: value for key, value in data.items() if value not in ("", None)}


def _write_incident(incident: Incident, *, limit: int) -> dict[str, Any]:
    data = {
        "time": incident.time,
        "reason": incident.reason,
        "message": incident.message[:limit],
        "rank": incident.rank,
        "pod": incident.pod,
        "node": incident.node,
        "exitCode": incident.exit_code,
    }
    return {key: value for key, value in data.items() if value not in ("", None)}

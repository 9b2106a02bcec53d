"""A group's entry in ``status.groups``: the only memory that decisions have."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from deepseek_operator.api.status import Intent, Stage, WarmUpState
from deepseek_operator.lifecycle.bounds import first_bytes, last_lines

INCIDENTS_KEPT = 3
LOG_BYTES: Final = 2048
"""Of the last lines that are kept of the latest incident."""
GIB: Final = 2**30
GROUPS_LIMIT = 48 * 1024
"""Bytes of all entries together: leaves the plan and the conditions their share of the 64 KiB of status."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Detail:
    """How much of each group is told."""

    incidents: int
    message_bytes: int
    log_bytes: int
    """Of the latest incident's log; earlier ones keep what was concluded from theirs."""
    places: bool
    """Nodes, and what tells of incidents beyond their reason; the pods' UIDs, by which decisions go, always stay."""


_DETAILS: Final = (
    _Detail(incidents=INCIDENTS_KEPT, message_bytes=512, log_bytes=LOG_BYTES, places=True),
    _Detail(incidents=INCIDENTS_KEPT, message_bytes=512, log_bytes=400, places=True),
    _Detail(incidents=1, message_bytes=160, log_bytes=0, places=True),
    _Detail(incidents=1, message_bytes=64, log_bytes=0, places=True),
    _Detail(incidents=1, message_bytes=12, log_bytes=0, places=False),
)
"""From most to least; the last keeps 64 failed groups of four ranks within the limit."""


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
    signal: str = ""
    """By its name, where the exit code tells of one."""
    ended: str = ""
    """RFC 3339: when the engine ended, by its node's clock; empty when no engine ended."""
    diagnosis: str = ""
    """What the message or the log is known to mean."""
    remedy: str = ""
    trouble: str = ""
    """What was reported of the devices and the node of that rank then."""
    log: tuple[str, ...] = ()
    """Last lines of the engine's log; of the latest incident only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LastLines:
    """The end of a failed rank's log, for the incident of this time and rank."""

    time: str
    rank: int
    lines: tuple[str, ...]
    diagnosis: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the engine of an incarnation said about its memory, or why it could not be asked."""

    incarnation: int
    kv_tokens: int | None = None
    weights_gib: float | None = None
    unknown: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FabricReport:
    """What the preflight of an incarnation measured, the slowest of its ranks."""

    incarnation: int
    transport: str
    """As NCCL calls it: NET/IB/GDRDMA, NET/IB, NET/OFI, NET/Socket, SHM, P2P; HCCL tells none."""
    bus_bandwidth: str = ""
    """GB/s (10^9 bytes), a decimal number."""
    ranks: int = 0
    """That have reported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmUp:
    """How far the image of the revision that is to come is on a serving group's nodes."""

    template_hash: str
    """Of the revision that is to come."""
    since: str
    """RFC 3339, UTC."""
    state: WarmUpState = "Pulling"
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far weights are prepared: of one pod, or of a group's pods together."""

    phase: str
    """fetch, cast, shard, verify or read."""
    bytes_done: int
    bytes_total: int
    bytes_per_second: int | None = None
    seconds_left: int | None = None

    def told(self) -> str:
        """For a message."""
        words = f"{self.bytes_done / GIB:.1f} of {self.bytes_total / GIB:.1f} GiB"
        if self.bytes_per_second:
            words += f", {self.bytes_per_second / 2**20:.0f} MiB/s"
        if self.seconds_left is not None:
            words += f", {max(1, round(self.seconds_left / 60))} min left"
        return words


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
    completed: str = ""
    """When this incarnation's batch ended well."""
    restarts: int = 0
    """Incidents in a row; back to 0 after serving stably."""
    stable_since: str = ""
    """When the group began to serve without a break."""
    not_before: str = ""
    """Earliest next start."""
    avoided_nodes: tuple[str, ...] = ()
    """Nodes that the next start stays away from."""
    incidents: tuple[Incident, ...] = ()
    reported: Report | None = None
    """Asked once an incarnation."""
    fabric: FabricReport | None = None
    """Of the present incarnation, with spec.fabric.preflight."""
    warm_up: WarmUp | None = None
    """While a revision with another image is to replace it."""
    progress: Progress | None = None
    """Of the weights, while they are prepared."""

    @property
    def working(self) -> bool:
        """It serves, or is a batch that runs: what stops it costs somebody something."""
        return self.ready or self.stage == "Running"


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
        completed=data.get("completed", ""),
        restarts=data.get("restarts", 0),
        stable_since=data.get("stableSince", ""),
        not_before=data.get("notBefore", ""),
        avoided_nodes=tuple(data.get("avoidedNodes", ())),
        incidents=tuple(
            Incident(
                time=item["time"],
                reason=item["reason"],
                message=item.get("message", ""),
                rank=item.get("rank"),
                pod=item.get("pod", ""),
                node=item.get("node", ""),
                exit_code=item.get("exitCode"),
                signal=item.get("signal", ""),
                ended=item.get("endedAt", ""),
                diagnosis=item.get("diagnosis", ""),
                remedy=item.get("remedy", ""),
                trouble=item.get("nodeTrouble", ""),
                log=tuple(item.get("log", ())),
            )
            for item in data.get("incidents", ())
        ),
        reported=_read_report(data["memory"]) if "memory" in data else None,
        fabric=_read_fabric(data["fabric"]) if "fabric" in data else None,
        warm_up=_read_warm_up(data["warmUp"]) if "warmUp" in data else None,
        progress=_read_progress(data["progress"]) if "progress" in data else None,
    )


def write_entries(entries: Sequence[GroupEntry]) -> list[dict[str, Any]]:
    """``status.groups``, in as much detail as its limit allows."""
    written: list[dict[str, Any]] = []
    for detail in _DETAILS:
        written = [_write_entry(entry, detail) for entry in entries]
        if _size(written) <= GROUPS_LIMIT:
            break
    return written


def _size(written: Sequence[Mapping[str, Any]]) -> int:
    return len(json.dumps(written, ensure_ascii=False, separators=(",", ":")).encode())


def _write_entry(entry: GroupEntry, detail: _Detail) -> dict[str, Any]:
    """The entry as it is stored; empty values are left out, so that status stays small."""
    data: dict[str, Any] = {
        "index": entry.index,
        "revision": entry.revision,
        "templateHash": entry.template_hash,
        "incarnation": entry.incarnation,
        "intent": entry.intent,
        "stage": entry.stage,
        "since": entry.since,
        "message": first_bytes(entry.message, detail.message_bytes),
        "members": [
            {"rank": member.rank, "uid": member.uid} | ({"node": member.node} if member.node and detail.places else {})
            for member in entry.members
        ],
        "ready": entry.ready,
        "formed": entry.formed,
        "completed": entry.completed,
        "restarts": entry.restarts,
        "stableSince": entry.stable_since,
        "notBefore": entry.not_before,
        "avoidedNodes": list(entry.avoided_nodes),
        "incidents": [
            _write_incident(incident, detail, log_bytes=0 if number else detail.log_bytes)
            for number, incident in enumerate(entry.incidents[: detail.incidents])
        ],
        "memory": _write_report(entry.reported, detail) if entry.reported else "",
        "fabric": _write_fabric(entry.fabric) if entry.fabric and detail.places else "",
        "warmUp": _write_warm_up(entry.warm_up, detail) if entry.warm_up else "",
        "progress": _write_progress(entry.progress) if entry.progress and detail.places else "",
    }
    return {key: value for key, value in data.items() if value not in ("", [])}


def _read_warm_up(data: Mapping[str, Any]) -> WarmUp:
    return WarmUp(
        template_hash=data["templateHash"],
        since=data["since"],
        state=data.get("state", "Pulling"),
        message=data.get("message", ""),
    )


def _write_warm_up(warm_up: WarmUp, detail: _Detail) -> dict[str, Any]:
    data = {
        "templateHash": warm_up.template_hash,
        "since": warm_up.since,
        "state": warm_up.state,
        "message": first_bytes(warm_up.message, detail.message_bytes) if detail.places else "",
    }
    return {key: value for key, value in data.items() if value}


def _read_report(data: Mapping[str, Any]) -> Report:
    weights = data.get("weightsGiB")
    return Report(
        incarnation=data["incarnation"],
        kv_tokens=data.get("kvTokens"),
        weights_gib=float(weights) if weights else None,
        unknown=data.get("unknown", ""),
    )


def _write_report(report: Report, detail: _Detail) -> dict[str, Any]:
    """Typed fields of the API have no floats: GiB is text."""
    data = {
        "incarnation": report.incarnation,
        "kvTokens": report.kv_tokens,
        "weightsGiB": None if report.weights_gib is None else f"{report.weights_gib:.2f}",
        "unknown": first_bytes(report.unknown, detail.message_bytes),
    }
    return {key: value for key, value in data.items() if value not in ("", None)}


def _read_fabric(data: Mapping[str, Any]) -> FabricReport:
    return FabricReport(
        incarnation=data["incarnation"],
        transport=data["transport"],
        bus_bandwidth=data.get("busBandwidthGBps", ""),
        ranks=data.get("ranks", 0),
    )


def _write_fabric(report: FabricReport) -> dict[str, Any]:
    """Typed fields of the API have no floats: the bandwidth is text."""
    data = {
        "incarnation": report.incarnation,
        "transport": report.transport,
        "busBandwidthGBps": report.bus_bandwidth,
        "ranks": report.ranks,
    }
    return {key: value for key, value in data.items() if value != ""}


def _read_progress(data: Mapping[str, Any]) -> Progress:
    return Progress(
        phase=data["phase"],
        bytes_done=data.get("bytesDone", 0),
        bytes_total=data.get("bytesTotal", 0),
        bytes_per_second=data.get("bytesPerSecond"),
        seconds_left=data.get("secondsLeft"),
    )


def _write_progress(progress: Progress) -> dict[str, Any]:
    data = {
        "phase": progress.phase,
        "bytesDone": progress.bytes_done,
        "bytesTotal": progress.bytes_total,
        "bytesPerSecond": progress.bytes_per_second,
        "secondsLeft": progress.seconds_left,
    }
    return {key: value for key, value in data.items() if value is not None}


def _write_incident(incident: Incident, detail: _Detail, *, log_bytes: int) -> dict[str, Any]:
    data: dict[str, Any] = {
        "time": incident.time,
        "reason": incident.reason,
        "message": first_bytes(incident.message, detail.message_bytes),
        "rank": incident.rank,
        "pod": incident.pod if detail.places else "",
        "node": incident.node if detail.places else "",
        "exitCode": incident.exit_code,
        "signal": incident.signal if detail.places else "",
        "endedAt": incident.ended if detail.places else "",
        "diagnosis": incident.diagnosis,
        "remedy": first_bytes(incident.remedy, detail.message_bytes) if detail.places else "",
        "nodeTrouble": first_bytes(incident.trouble, detail.message_bytes) if detail.places else "",
        "log": list(last_lines(incident.log, log_bytes)),
    }
    return {key: value for key, value in data.items() if value not in ("", None, [])}

"""What a failed rank left behind, made fit for status: bounded, without secrets, with what it is known to mean.

Evidence may come late. Logs are read beside the work, while the stop is on its way; and a kubelet may tell of an end
only after another rank's, which followed from it, was seen. Both complete the incident that is on record: its time and
what was decided stay, the rank that failed first and what it said are put right.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from deepseek_operator.catalog.operations.load import Diagnosis, Operations
from deepseek_operator.lifecycle.bounds import GAP, first_bytes
from deepseek_operator.lifecycle.entries import GroupEntry, Incident, LastLines
from deepseek_operator.lifecycle.incidents import UNCOUNTED, engine_ended, first_to_end, of_engine
from deepseek_operator.lifecycle.masking import masked
from deepseek_operator.lifecycle.records import PodRecord

LINES_KEPT: Final = 20
LINE_BYTES: Final = 300
_LINE_READ: Final = 4096
"""Characters of a line that are looked at."""
_STOPPED: Final = frozenset({143, 130})
"""Exit codes of SIGTERM and SIGINT: of a pod that is being deleted they are the stop's doing."""
_SILENT: Final = UNCOUNTED | {"NodeLost", "PodDeleted", "PodLost", "DeletionByTaintManager", "TerminationByKubelet"}
"""Reasons that no engine's log explains, or whose log cannot be had."""
_WATCHED: Final = frozenset({"RankUnready", "RendezvousTimeout", "StartupDeadlineExceeded"})
"""Incidents that an engine's end, told late, explains better."""
_COLOURS: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def diagnosed(incident: Incident, operations: Operations) -> Incident:
    """The incident with what its last words are known to mean."""
    return _explained(incident, operations.diagnose(incident.message))


def hopeless(incidents: Sequence[Incident], *, formed: bool, restarts: int, operations: Operations) -> bool:
    """The same permanent fault twice in a row, and the group never served in between.

    ``incidents`` has the newest first; ``restarts`` are those before it.
    """
    if formed or restarts <= 0 or len(incidents) < 2:
        return False
    permanent = {diagnosis.name for diagnosis in operations.diagnoses if diagnosis.permanent}
    latest, before = incidents[:2]
    return latest.diagnosis in permanent and before.diagnosis == latest.diagnosis


def excerpt(text: str, operations: Operations, *, time: str, rank: int) -> LastLines:
    """The last lines of a log, fit for status, and what the whole of it is known to mean.

    Progress bars are told by their last state. A line that is known, but stands further up, comes first.
    """
    lines = [line for line in map(_clean, masked(text).split("\n")) if line]
    known, found = _diagnose(lines, operations)
    tail = tuple(first_bytes(line, LINE_BYTES) for line in lines[-LINES_KEPT:])
    if found and found not in lines[-LINES_KEPT:]:
        tail = (first_bytes(found, LINE_BYTES), GAP, *tail)
    return LastLines(
        time=time,
        rank=rank,
        lines=tail,
        diagnosis=known.name if known else "",
        remedy=known.remedy if known else "",
    )


def log_wanted(incident: Incident) -> bool:
    """Whether the engine's log of the rank that failed can tell something, and is not there yet."""
    return bool(incident.pod) and incident.rank is not None and not incident.log and incident.reason not in _SILENT


def completed(
    entry: GroupEntry, pods: Sequence[PodRecord], lines: LastLines | None, operations: Operations
) -> GroupEntry:
    """The entry whose latest incident has the evidence that came in since it was recorded."""
    if not entry.incidents:
        return entry
    latest, *earlier = entry.incidents
    amended = latest
    if entry.intent == "Stop" and (first := _failed_first(entry, latest, pods)):
        amended = diagnosed(of_engine(first, latest.time), operations)
    if lines and log_wanted(amended) and (lines.time, lines.rank) == (amended.time, amended.rank) and lines.lines:
        amended = replace(amended, log=lines.lines)
        if lines.diagnosis and not amended.diagnosis:
            amended = replace(amended, diagnosis=lines.diagnosis, remedy=lines.remedy)
    return entry if amended is latest else replace(entry, incidents=(amended, *earlier))


def _failed_first(entry: GroupEntry, incident: Incident, pods: Sequence[PodRecord]) -> PodRecord | None:
    """A rank whose engine ended by itself before what the incident tells of; times are the nodes' own, in seconds."""
    if incident.ended:
        seen = (incident.ended, incident.exit_code == 0)
    elif incident.reason in _WATCHED:
        seen = (incident.time, False)
    else:
        return None
    ends = [pod for pod in pods if pod.incarnation == entry.incarnation and engine_ended(pod) and not _stopped(pod)]
    first = first_to_end(ends)
    if first is None or not first.engine.since or first.rank == incident.rank:
        return None
    return first if (first.engine.since, first.engine.exit_code == 0) < seen else None


def _stopped(pod: PodRecord) -> bool:
    """The engine ended because its pod was to go, not the other way round."""
    if not pod.deletion_asked:
        return False
    return pod.engine.exit_code in _STOPPED or pod.engine.since >= pod.deletion_asked


def _diagnose(lines: Iterable[str], operations: Operations) -> tuple[Diagnosis | None, str]:
    """The diagnosis that comes first in the catalogue, and the line that shows it."""
    text = "\n".join(lines)
    known, found = operations.find(text)
    if known is None or found is None:
        return None, ""
    start = text.rfind("\n", 0, found.start()) + 1
    end = text.find("\n", found.end())
    return known, text[start : end if end >= 0 else len(text)].partition("\n")[0]


def _explained(incident: Incident, known: Diagnosis | None) -> Incident:
    return replace(incident, diagnosis=known.name, remedy=known.remedy) if known else incident


def _clean(line: str) -> str:
    shown = line.rstrip("\r").rpartition("\r")[2]
    return _CONTROLS.sub("", _COLOURS.sub("", shown))[:_LINE_READ].rstrip()

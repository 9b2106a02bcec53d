"""Which groups should exist and on which revision: scale, suspend and replacement, one group at a time.

Pure arithmetic over entries. A group that does not serve costs nothing to replace, so those go first and need no
budget; a serving group is stopped only while every other group serves. A refused spec moves nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from deepseek_operator.lifecycle.clock import stamp
from deepseek_operator.lifecycle.entries import GroupEntry
from deepseek_operator.lifecycle.groups import StartWith, remove, stop


def plan_groups(
    entries: Sequence[GroupEntry],
    *,
    desired: int,
    suspended: bool,
    target: StartWith | None,
    now: datetime,
) -> tuple[GroupEntry, ...]:
    """The entries with their intents adjusted; `target` None means that the spec was refused."""
    scaled = _scale_down(entries, desired=desired, now=now)
    if suspended:
        stopped = (stop(e, why="suspended", now=now) if e.intent == "Run" else e for e in scaled)
        return _scale_up(tuple(stopped), desired=desired, target=target, suspended=True, now=now)
    if target is not None:
        scaled = _replace_outdated(scaled, target=target, now=now)
    return _scale_up(scaled, desired=desired, target=target, suspended=False, now=now)


def outdated(entry: GroupEntry, target: StartWith) -> bool:
    """The group runs another revision, or the same one planned anew."""
    return (entry.revision, entry.template_hash) != (target.revision, target.template_hash)


def _scale_down(entries: Sequence[GroupEntry], *, desired: int, now: datetime) -> tuple[GroupEntry, ...]:
    active = [entry for entry in entries if entry.intent != "Remove"]
    order = sorted(active, key=lambda entry: (entry.ready, -entry.index))
    surplus = {entry.index for entry in order[: max(0, len(active) - desired)]}
    return tuple(remove(entry, now=now) if entry.index in surplus else entry for entry in entries)


def _scale_up(
    entries: Sequence[GroupEntry],
    *,
    desired: int,
    target: StartWith | None,
    suspended: bool,
    now: datetime,
) -> tuple[GroupEntry, ...]:
    missing = desired - sum(entry.intent != "Remove" for entry in entries)
    if target is None or missing <= 0:
        return tuple(sorted(entries, key=lambda entry: entry.index))
    taken = {entry.index for entry in entries}
    free = [index for index in range(desired + len(entries)) if index not in taken]
    added = (
        GroupEntry(
            index=index,
            revision=target.revision,
            template_hash=target.template_hash,
            # A suspended group starts, later, as its first incarnation.
            incarnation=0 if suspended else 1,
            intent="Stop" if suspended else "Run",
            stage="Suspended" if suspended else "Pending",
            since=stamp(now),
        )
        for index in free[:missing]
    )
    return tuple(sorted((*entries, *added), key=lambda entry: entry.index))


def _replace_outdated(entries: Sequence[GroupEntry], *, target: StartWith, now: datetime) -> tuple[GroupEntry, ...]:
    running = [entry for entry in entries if entry.intent == "Run"]
    old = [entry for entry in running if outdated(entry, target)]
    chosen = {entry.index for entry in old if not entry.ready}
    others_serve = all(entry.ready for entry in entries if entry.intent != "Remove")
    if not chosen and old and others_serve:
        chosen = {old[0].index}
    why = f"replaced by revision {target.revision}"
    return tuple(stop(entry, why=why, now=now) if entry.index in chosen else entry for entry in entries)

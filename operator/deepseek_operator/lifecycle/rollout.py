"""Which groups should exist and on which revision: scale, suspend and replacement of whole groups.

Pure arithmetic over entries. A group that does not serve costs nothing to replace, so those go first and need no
budget. A serving one is stopped only while enough others serve: ``replicas - maxUnavailable`` at least. With a surge,
groups of the new revision are added first, and each that serves lets an old one be removed. A new revision that does
not come to serve stops the exchange by itself, and going back to the old one replaces only what does not serve. A
refused spec moves nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from deepseek_operator.lifecycle.clock import stamp
from deepseek_operator.lifecycle.entries import GroupEntry
from deepseek_operator.lifecycle.groups import StartWith, remove, stop
from deepseek_operator.lifecycle.policy import Policy


def plan_groups(
    entries: Sequence[GroupEntry],
    *,
    desired: int,
    suspended: bool,
    target: StartWith | None,
    policy: Policy,
    now: datetime,
    held: Collection[int] = frozenset(),
    prepared: bool = True,
) -> tuple[GroupEntry, ...]:
    """The entries with their intents adjusted; `target` None means that the spec was refused.

    ``held`` are serving groups that must not be replaced yet. Until the target's weights are ``prepared``, no serving
    group is stopped for it.
    """
    if suspended:
        scaled = _scale_down(entries, wanted=desired, target=target, now=now)
        # A completed batch holds nothing that could be freed, and must not run again afterwards.
        stopped = tuple(
            stop(e, why="suspended", now=now) if e.intent == "Run" and not e.completed else e for e in scaled
        )
        return _scale_up(stopped, wanted=desired, target=target, suspended=True, now=now)
    if target is None:
        return _sorted(_scale_down(entries, wanted=desired, target=None, now=now))
    wanted = desired + _surge(entries, desired=desired, target=target, policy=policy)
    scaled = _scale_down(entries, wanted=wanted, target=target, now=now)
    scaled = _replace_outdated(
        scaled, desired=desired, target=target, policy=policy, held=held, now=now, prepared=prepared
    )
    # A group that is being removed holds its accelerators still, and a surge must not take more.
    leaving = sum(entry.intent == "Remove" for entry in scaled)
    return _scale_up(scaled, wanted=max(desired, wanted - leaving), target=target, suspended=False, now=now)


def outdated(entry: GroupEntry, target: StartWith) -> bool:
    """The group runs another revision, or the same one planned anew."""
    return (entry.revision, entry.template_hash) != (target.revision, target.template_hash)


def _surge(entries: Sequence[GroupEntry], *, desired: int, target: StartWith, policy: Policy) -> int:
    """Groups beyond the desired number: as many as serving ones are still to be exchanged."""
    old = sum(entry.intent == "Run" and entry.ready and outdated(entry, target) for entry in entries)
    return min(policy.max_surge, old) if desired else 0


def _scale_down(
    entries: Sequence[GroupEntry], *, wanted: int, target: StartWith | None, now: datetime
) -> tuple[GroupEntry, ...]:
    """Groups that do not serve go first, then those of an older revision, then the highest index."""
    active = [entry for entry in entries if entry.intent != "Remove"]
    order = sorted(active, key=lambda e: (e.ready, not (target and outdated(e, target)), -e.index))
    surplus = {entry.index for entry in order[: max(0, len(active) - wanted)]}
    return tuple(remove(entry, now=now) if entry.index in surplus else entry for entry in entries)


def _scale_up(
    entries: Sequence[GroupEntry],
    *,
    wanted: int,
    target: StartWith | None,
    suspended: bool,
    now: datetime,
) -> tuple[GroupEntry, ...]:
    missing = wanted - sum(entry.intent != "Remove" for entry in entries)
    if target is None or missing <= 0:
        return _sorted(entries)
    taken = {entry.index for entry in entries}
    free = [index for index in range(wanted + len(entries)) if index not in taken]
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
    return _sorted((*entries, *added))


def _replace_outdated(
    entries: Sequence[GroupEntry],
    *,
    desired: int,
    target: StartWith,
    policy: Policy,
    held: Collection[int],
    now: datetime,
    prepared: bool,
) -> tuple[GroupEntry, ...]:
    active = [entry for entry in entries if entry.intent != "Remove"]
    old = [entry for entry in active if entry.intent == "Run" and outdated(entry, target)]
    idle = [entry for entry in old if not entry.working]
    serving = [entry for entry in old if entry.working and entry.index not in held]
    spare = sum(entry.working for entry in active) - (desired - policy.max_unavailable)
    leaving = [*idle, *serving[: max(0, spare) if prepared else 0]]
    # A surge is over when the old group that it replaced goes for good.
    beyond = len(active) - desired
    removed = {entry.index for entry in [entry for entry in leaving if entry.working][: max(0, beyond)]}
    stopped = {entry.index for entry in leaving} - removed
    why = f"replaced by revision {target.revision}"

    def moved(entry: GroupEntry) -> GroupEntry:
        if entry.index in removed:
            return remove(entry, now=now)
        return stop(entry, why=why, now=now) if entry.index in stopped else entry

    return tuple(moved(entry) for entry in entries)


def _sorted(entries: Sequence[GroupEntry]) -> tuple[GroupEntry, ...]:
    return tuple(sorted(entries, key=lambda entry: entry.index))

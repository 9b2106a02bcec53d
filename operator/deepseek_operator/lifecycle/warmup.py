"""A changed image is on the nodes of a serving group before the group is stopped. Pure.

An engine's image has tens of GiB: pulled after the stop, it would keep the group down for as long. Groups are warmed
up in the order in which they are replaced, one ahead of those that may be down at once. A group that does not serve is
replaced without, since nothing is lost; so are groups that a surge replaces, since the new one pulls while the old one
serves.

=========  ===================================  ============================================================
state      what is seen                         what follows
=========  ===================================  ============================================================
Pulling    a node cannot pull                   Failing: no serving group is stopped, the kubelet tries on
Pulling    the time is up                       TimedOut: the group is replaced nevertheless, and it is told
Failing    the time is up                       Failed: as Failing, and condition Stalled says so
any        every node has it                    Pulled: the group may be stopped
any        another revision is wanted           begins anew for that one
=========  ===================================  ============================================================

The state is in ``status.groups[].warmUp``; which node has the image, its pod shows (``pulls``).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from deepseek_operator.api.status import WarmUpState
from deepseek_operator.lifecycle.clock import moment, stamp
from deepseek_operator.lifecycle.entries import GroupEntry, WarmUp
from deepseek_operator.lifecycle.groups import StartWith
from deepseek_operator.lifecycle.policy import Policy
from deepseek_operator.lifecycle.pulls import Progress, progress
from deepseek_operator.lifecycle.records import PullRecord

AT_ONCE: Final = 8
"""Groups that are warmed up at the same time, at most."""
_ENDED: Final = frozenset({"Pulled", "TimedOut"})
_BROKEN: Final = frozenset({"Failing", "Failed"})


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmUps:
    """What a warm-up is judged by."""

    target: StartWith
    image: str
    """Of the target."""
    policy: Policy
    pulls: Sequence[PullRecord]
    image_of: Callable[[GroupEntry], str]
    """Of what a group runs; empty when it is not known."""
    nodes_of: Callable[[int], Collection[str]]
    """Nodes of a group that can take a pod."""

    def warmed(self, entries: Sequence[GroupEntry], *, now: datetime) -> tuple[GroupEntry, ...]:
        """The entries with their warm-ups a step further; those that need none have none."""
        needing = [entry for entry in entries if self._needs(entry)]
        begun = [entry for entry in needing if self._begun(entry)]
        fresh = [entry for entry in needing if not self._begun(entry)]
        chosen = [*begun, *fresh[: max(0, min(self.policy.max_unavailable + 1, AT_ONCE) - len(begun))]]
        moved = {entry.index: self._step(entry, now=now) for entry in chosen}
        return tuple(moved.get(entry.index, without(entry)) for entry in entries)

    def held(self, recorded: Iterable[GroupEntry], warmed: Iterable[GroupEntry]) -> frozenset[int]:
        """Groups that must not be stopped yet; all of them while an image cannot be pulled.

        A group is stopped once it is on record that it may be: what is seen now is written first.
        """
        broken = any(entry.warm_up and entry.warm_up.state in _BROKEN for entry in warmed)
        return frozenset(entry.index for entry in recorded if self._needs(entry) and (broken or not self._warm(entry)))

    def _warm(self, entry: GroupEntry) -> bool:
        return self._begun(entry) and entry.warm_up is not None and entry.warm_up.state in _ENDED

    def _needs(self, entry: GroupEntry) -> bool:
        return (
            entry.intent == "Run"
            and entry.ready
            and (entry.revision, entry.template_hash) != (self.target.revision, self.target.template_hash)
            and self.policy.max_unavailable > 0
            and self.policy.warm_up > 0
            and self.image_of(entry) != self.image
        )

    def _begun(self, entry: GroupEntry) -> bool:
        return entry.warm_up is not None and entry.warm_up.template_hash == self.target.template_hash

    def _step(self, entry: GroupEntry, *, now: datetime) -> GroupEntry:
        known = entry.warm_up if self._begun(entry) else None
        if known is not None and known.state in _ENDED:
            return entry
        before = known or WarmUp(template_hash=self.target.template_hash, since=stamp(now))
        found = progress(self.nodes_of(entry.index), self.image, self.pulls)
        late = now >= due(before, self.policy)
        after = replace(before, state=_state(found, late=late), message=f"{self.image} is pulled: {found.message}")
        return replace(entry, warm_up=after)


def due(warm_up: WarmUp, policy: Policy) -> datetime:
    """When a warm-up is waited for no longer."""
    return moment(warm_up.since) + timedelta(seconds=policy.warm_up)


def pulling(entry: GroupEntry) -> bool:
    """The entry's nodes are to get an image."""
    return entry.warm_up is not None and entry.warm_up.state not in _ENDED


def without(entry: GroupEntry) -> GroupEntry:
    """The entry without a warm-up."""
    return replace(entry, warm_up=None) if entry.warm_up else entry


def _state(found: Progress, *, late: bool) -> WarmUpState:
    if found.done:
        return "Pulled"
    if found.failing:
        return "Failed" if late else "Failing"
    return "TimedOut" if late else "Pulling"

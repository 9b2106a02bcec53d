"""An image on a set of nodes: which have it, what keeps it from the others, and what is to be done. Pure.

The pods that pull are the record: one that is gone is made again, one that is not wanted any more is deleted. Whoever
wants an image somewhere asks ``progress`` how far it is and lets ``work`` bring it there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from deepseek_operator.lifecycle.actions import DeletePod, PullImage
from deepseek_operator.lifecycle.clock import moment
from deepseek_operator.lifecycle.records import PullRecord
from deepseek_operator.render.owner import Owner
from deepseek_operator.render.pull import engine_image, pull_pod
from deepseek_operator.render.revision import RevisionContent

AT_ONCE: Final = 16
"""Nodes of one deployment that pull at the same time: a registry serves all of them."""
AGAIN_SECONDS: Final = 30
"""A pod that ended before it had pulled (evicted, refused by its node) is made again after so long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far an image is on some nodes."""

    total: int
    pulled: int
    failing: Mapping[str, str]
    """Nodes that cannot pull it, and why."""
    waiting: Mapping[str, str]
    """Nodes that do not have it yet, and why, where that is known."""

    @property
    def done(self) -> bool:
        """Every node has it."""
        return self.pulled == self.total

    @property
    def message(self) -> str:
        """How many nodes have it, and what keeps it from one that has not."""
        told = [f"{node}: {why}" for node, why in (*self.failing.items(), *self.waiting.items()) if why]
        return f"{self.pulled} of {self.total} nodes have it" + (f"; {told[0]}" if told else "")


def progress(nodes: Collection[str], image: str, pulls: Iterable[PullRecord]) -> Progress:
    """How far an image is on the nodes."""
    found = {pull.node: pull for pull in pulls if pull.image == image and not pull.deleting}
    mine = {node: found[node] for node in sorted(nodes) if node in found}
    failing = {node: pull.message for node, pull in mine.items() if pull.state == "failing"}
    pulled = sum(pull.state == "pulled" for pull in mine.values())
    waiting = {
        node: mine[node].message if node in mine else ""
        for node in sorted(nodes)
        if node not in failing and (node not in mine or mine[node].state != "pulled")
    }
    return Progress(total=len(nodes), pulled=pulled, failing=failing, waiting=waiting)


def work(
    owner: Owner,
    nodes: Collection[str],
    revision: RevisionContent | None,
    pulls: Iterable[PullRecord],
    *,
    now: datetime,
) -> Iterator[PullImage | DeletePod]:
    """What brings a revision's image to the nodes, and takes away pods that are of no use any more."""
    image = engine_image(revision) if revision else ""
    present: set[str] = set()
    busy = 0
    for pull in pulls:
        wanted = pull.image == image and pull.node in nodes
        again = pull.state == "ended" and _due_again(pull) <= now
        if not pull.deleting and (not wanted or again):
            yield DeletePod(name=pull.name, uid=pull.uid, grace_seconds=None)
        if wanted:
            # One that is being deleted keeps its name until it is gone.
            present.add(pull.node)
            busy += pull.state != "pulled"
    if revision is None:
        return
    for node in sorted(set(nodes) - present)[: max(0, AT_ONCE - busy)]:
        yield PullImage(manifest=pull_pod(owner, node, revision))


def next_try(pulls: Iterable[PullRecord]) -> list[datetime]:
    """When pods that ended too early are made again."""
    return [_due_again(pull) for pull in pulls if pull.state == "ended" and not pull.deleting]


def _due_again(pull: PullRecord) -> datetime:
    return moment(pull.created) + timedelta(seconds=AGAIN_SECONDS)

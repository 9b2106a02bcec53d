"""Faults by the clock: when status told of one, when the group served again, what users noticed, who is named."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.nodes.load import Load
from tests.nodes.site import Site
from tests.nodes.timeline import State, condition, group, watched

HEAD = """\
# Faults on real nodes

Written by `make measure-nodes`. Real kubelets, containerd and runc on one machine, the stand-in engine, a client that
asks twice a second through the Service. *Seen*: from the fault until status carries the incident. *Serves*: from the
fault until the deployment is Ready again. *Failed*: requests begun in that time that got no words within 10 s. *Named*:
what status says of the first failure.

"""
NOTHING = "-"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One fault and what came of it; seconds since the fault, None for what did not happen."""

    fault: str
    at: str
    seen: float | None
    serves: float | None
    failed: int
    asked: int
    named: str
    right: bool | None
    """Whether status names the rank that failed first; None where there is none to name."""

    def cells(self) -> tuple[str, ...]:
        def told(seconds: float | None) -> str:
            return NOTHING if seconds is None else f"{seconds:.1f} s"

        right = {True: "yes", False: "**no**", None: NOTHING}[self.right]
        asked = f"{self.failed} of {self.asked}" if self.asked else NOTHING
        return (self.fault, self.at, told(self.seen), told(self.serves), asked, self.named or NOTHING, right)


@dataclass
class Measurements:
    """All faults of a run, in their order."""

    rows: list[Row] = field(default_factory=list)
    path: Path | None = None
    """Where the table goes after each fault: a run that is stopped has told what it saw."""

    def add(self, row: Row) -> None:
        self.rows.append(row)
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(f"{HEAD}{_machine()}\n\n{self.table()}", encoding="utf-8")

    def table(self) -> str:
        """The rows in Markdown."""
        head = ("Fault", "At", "Seen", "Serves", "Failed", "Named", "The right one")
        lines = [head, ("---",) * len(head), *(row.cells() for row in self.rows)]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _machine() -> str:
    kernel = platform.release().split("-")[0]
    return (
        f"{os.cpu_count()} processors, Linux {kernel}, {platform.machine()}, load {os.getloadavg()[0]:.1f} at the end."
    )


def restarts(
    site: Site,
    measurements: Measurements,
    *,
    fault: str,
    rank: int,
    inject: Callable[[], None],
    load: Load,
    seconds: float = 120,
) -> dict[str, Any]:
    """Hurt a rank; return the incident when the group serves again as the next incarnation.

    Whether the incident names this rank and its node is the caller's to judge; the table says it in any case. It is
    read at the end: a kubelet on a busy machine may tell of another rank's end first, and evidence is then put right.
    """
    node = site.machine_of(rank).name
    with watched(site.cluster, site.namespace) as timeline:
        _, before = timeline.wait(group, after=0, seconds=20, what="the watch begins")
        known = before.get("incidents", [])

        def incident(state: State) -> State | None:
            found = group(state).get("incidents") or []
            return found[0] if found and found[:1] != known[:1] else None

        def serves(state: State) -> bool:
            newer = group(state).get("incarnation", 0) > before["incarnation"]
            return newer and condition(state, "Ready") == "True"

        hurt, begun = time.monotonic(), time.time()
        inject()
        seen, _ = timeline.wait(incident, after=hurt, seconds=seconds, what=f"an incident after: {fault}")
        served, _ = timeline.wait(serves, after=seen, seconds=180, what=f"serving again after: {fault}")
        answers = load.between(begun, begun + served - hurt)
        found: dict[str, Any] = site.group()["incidents"][0]
    measurements.add(
        Row(
            fault=fault,
            at=f"rank {rank}",
            seen=seen - hurt,
            serves=served - hurt,
            failed=sum(bool(each.why) for each in answers),
            asked=len(answers),
            named=f"rank {found.get('rank')}, {found['reason']}",
            right=(found.get("rank"), found.get("node")) == (rank, node),
        )
    )
    return found


def survives(
    site: Site, measurements: Measurements, *, fault: str, at: str, disturb: Callable[[], None], load: Load
) -> list[str]:
    """Disturb something that must not end the group; return why requests failed meanwhile."""
    before = site.group()
    pods = {pod["metadata"]["uid"] for pod in site.pods()}
    begun = time.time()
    disturb()
    answers = load.between(begun, time.time())
    after = site.group()
    failed = [each.why for each in answers if each.why]
    measurements.add(
        Row(
            fault=fault,
            at=at,
            seen=None,
            serves=0.0 if not failed else None,
            failed=len(failed),
            asked=len(answers),
            named="no incident"
            if after.get("incidents") == before.get("incidents")
            else after["incidents"][0]["reason"],
            right=None,
        )
    )
    assert after["incarnation"] == before["incarnation"]
    assert {pod["metadata"]["uid"] for pod in site.pods()} == pods
    return failed

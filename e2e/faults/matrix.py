"""The crash matrix: every scenario, every write of it, killed before and after the operator learns of the write."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from e2e.cluster import Cluster
from e2e.cluster.nodes import read as read_nodes
from e2e.faults.api import Api
from e2e.faults.case import FAULTS, KILLS, Environment, Moment, Result, Undisturbed, killed, undisturbed
from e2e.faults.incarnations import Incarnations
from e2e.faults.mask import Mask
from e2e.faults.operators import Nursery
from e2e.faults.proxy import Proxy
from e2e.faults.scenarios import SCENARIOS, Scenario

ROOT: Final = Path(__file__).parents[2]
NODE_FILE: Final = ROOT / "e2e" / "cluster" / "nodes" / "nvidia-h100.yaml"
CRD: Final = ROOT / "crds" / "deepseekdeployments.yaml"
CRD_NAME: Final = "deepseekdeployments.serving.deepseek-operator.io"
NODES_A_CASE: Final = 8
"""Two groups of two nodes, and as many for pods of earlier cases that have not gone yet."""
NODES_AT_ONCE: Final = 60
"""kubectl waits for one node after the other, within one time limit for all."""
FAULTED: Final = ("create", "edit", "engine-killed")
"""Scenarios whose writes are also refused, lost and repeated, each once; together they hold every kind of write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One case to run."""

    wanted: Undisturbed
    write: int
    moment: Moment


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """What was run."""

    undisturbed: tuple[Undisturbed, ...]
    results: tuple[Result, ...]
    mixed: tuple[str, ...]
    """Groups in which pods of two starts were seen at once."""
    pods: int
    """Pods that were watched for that."""
    seconds: float
    left: int
    """Cells that a sample did not come to."""

    @property
    def unequal(self) -> tuple[Result, ...]:
        """The cases that did not end like the undisturbed run."""
        return tuple(result for result in self.results if result.difference)


def cells(runs: Sequence[Undisturbed]) -> list[Cell]:
    """Every cell up to the undisturbed runs' last writes."""
    found = []
    for run in runs:
        found.append(Cell(wanted=run, write=0, moment="before"))
        moments = (*KILLS, *FAULTS) if run.scenario.name in FAULTED else KILLS
        found += [Cell(wanted=run, write=w + 1, moment=m) for w in range(len(run.writes)) for m in moments]
    return found


def add_nodes(cluster: Cluster, count: int, *, folder: Path) -> None:
    """Make that many fake nodes of two to a case, alike but for their names."""
    template = read_nodes(NODE_FILE)[0]
    first = template["metadata"]["name"]
    text = yaml.safe_dump(template)
    nodes = [yaml.safe_load(text.replace(first, f"faults-{number}")) for number in range(count)]
    file = folder / "nodes.yaml"
    for begin in range(0, count, NODES_AT_ONCE):
        file.write_text(yaml.safe_dump_all(nodes[begin : begin + NODES_AT_ONCE]), encoding="utf-8")
        cluster.apply_nodes(file)


def install_crd(cluster: Cluster) -> None:
    """Install the custom resource and wait until it is served."""
    cluster.kubectl("apply", "--server-side", "-f", str(CRD))
    cluster.wait_for_crd(CRD_NAME)


@asynccontextmanager
async def environment(cluster: Cluster, folder: Path) -> AsyncIterator[tuple[Environment, Incarnations]]:
    """Everything cases share, and the watch over all pods."""
    watched = Incarnations()
    async with Api(cluster) as api, Nursery(folder) as nursery:
        following = asyncio.create_task(watched.follow(api))
        try:
            shared = Environment(
                api=api, nursery=nursery, mask=Mask.load(), folder=folder, new_proxy=lambda: Proxy(cluster)
            )
            yield shared, watched
        finally:
            following.cancel()
            with suppress(asyncio.CancelledError):
                await following


async def run_matrix(
    cluster: Cluster,
    folder: Path,
    *,
    at_once: int,
    scenarios: Iterable[Scenario] = SCENARIOS,
    moments: Collection[Moment] = (*KILLS, *FAULTS),
    sample: random.Random | None = None,
    seconds: float = float("inf"),
    least: int = 0,
) -> Matrix:
    """Run the whole matrix, or a random sample of it.

    A sample ends when the time, undisturbed runs included, is up and ``least`` cases were begun: a busy machine must
    not make an empty sample pass, nor fail.
    """
    began = time.monotonic()
    async with environment(cluster, folder) as (shared, watched):
        limit = asyncio.Semaphore(at_once)

        async def one(scenario: Scenario) -> Undisturbed:
            async with limit:
                return await undisturbed(shared, scenario)

        runs = await asyncio.gather(*(one(scenario) for scenario in scenarios))
        todo = [cell for cell in cells(runs) if cell.moment in moments]
        if sample is not None:
            sample.shuffle(todo)
        results: list[Result] = []
        all_cells = len(todo)

        async def work() -> None:
            while todo and (time.monotonic() - began < seconds or all_cells - len(todo) < least):
                cell = todo.pop(0)
                result = await killed(shared, cell.wanted, write=cell.write, moment=cell.moment)
                results.append(result)
                _tell(result, left=len(todo))

        await asyncio.gather(*(work() for _ in range(at_once)))
        while sample is None and (more := [cell for cell in _beyond(runs, results) if cell.moment in moments]):
            todo.extend(more)
            await asyncio.gather(*(work() for _ in range(at_once)))
    return Matrix(
        undisturbed=tuple(runs),
        results=tuple(sorted(results, key=_order)),
        mixed=tuple(watched.mixed),
        pods=watched.seen,
        seconds=time.monotonic() - began,
        left=len(todo),
    )


def _beyond(runs: Sequence[Undisturbed], results: Sequence[Result]) -> list[Cell]:
    """The next writes of scenarios whose furthest case was still reached: runs vary in how often they tell progress."""
    more = []
    for run in runs:
        mine = [r for r in results if r.scenario == run.scenario.name and r.moment in KILLS]
        furthest = max((result.write for result in mine), default=0)
        if furthest >= len(run.writes) and any(r.reached and r.write for r in mine if r.write == furthest):
            more += [Cell(wanted=run, write=furthest + 1, moment=moment) for moment in KILLS]
    return more


def _order(result: Result) -> tuple[int, int, int]:
    names = [scenario.name for scenario in SCENARIOS]
    return names.index(result.scenario), result.write, (*KILLS, *FAULTS).index(result.moment)


def _tell(result: Result, *, left: int) -> None:
    verdict = "DIFFERS" if result.difference else "equal" if result.reached else "not reached"
    told = f"{result.scenario} write {result.write} {result.moment} ({result.label}): {verdict}"
    print(f"{told}, {result.seconds:.1f} s, {left} left [{result.namespace}]", file=sys.stderr, flush=True)
    if result.difference:
        print(result.difference, file=sys.stderr, flush=True)

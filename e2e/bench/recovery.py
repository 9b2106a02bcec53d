"""``make bench-recovery``: from a rank's failure to the stop of its group, and to the group that serves again.

Times are the API server's own: a failure is visible when the write of the pod's status was answered, a stop is issued
when the operator's patch of the StatefulSet arrived (audit log, microseconds, one clock). Ready is when the watch of
the deployments delivered the status that says so. Pods are kwok's: they run at once and end at once.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any, Final

from deepseek_operator.api import names
from deepseek_operator.control import kinds
from e2e.cluster import Cluster, ClusterError, up
from e2e.faults.api import NAMESPACE, Api
from e2e.faults.matrix import ROOT, add_nodes, install_crd
from e2e.faults.operators import Nursery
from e2e.faults.user import SPEC

PAGE: Final = ROOT / "docs" / "measurements" / "recovery.md"
SPACE: Final = "bench"
GROUPS_EACH: Final = 50
"""Groups a deployment; 64 is the most."""
NODES_A_GROUP: Final = 2
SETUP_SECONDS: Final = 1800.0
RECOVERY_SECONDS: Final = 300.0
FAILURES_AT_ONCE: Final = 32

TEXT: Final = """# Recovery

Written by `make bench-recovery`: groups of two nodes serve, then the engine of one worker rank of so many groups ends,
all at once. *Stop* is from the moment the failure is visible in the API to the operator's patch that sets the group's
StatefulSet to 0 (audit log of the API server, one clock); *recorded* is the part of it until the status that holds the
intent and the evidence arrives, which always comes before the stop. *Ready* is from the same moment to the status that
says that the group serves again, with pods that end and start at once (kwok); a first restart, so without backoff. The
goal is a stop within 1 s.

{groups} groups of 2 pods in deployments of {each} groups; {cores} cores shared with the control plane, the fake nodes
and whatever else ran (load average {load:.1f} over the last five minutes).

| Failed at once | Of groups | Recorded: median | p99 | Stop: median | p99 | Ready: median | p99 |
|---|---|---|---|---|---|---|---|
{rows}
"""

Group = tuple[str, int]
"""Name of the deployment, index."""


@dataclass(slots=True, kw_only=True)
class Watched:
    """When groups were last seen ready, and in which incarnation."""

    incarnations: dict[Group, int] = field(default_factory=dict)
    """Of groups that are ready now."""
    ready_at: dict[tuple[Group, int], float] = field(default_factory=dict)
    """Wall clock, by group and incarnation."""

    async def follow(self, api: Api) -> None:
        """Watch all deployments for ever."""
        async for _, deployment in api.watch(kinds.DEPLOYMENT):
            name = deployment["metadata"].get("name", "")
            for group in deployment.get("status", {}).get("groups", ()):
                key = (name, group["index"])
                if group.get("ready"):
                    self.incarnations[key] = group["incarnation"]
                    self.ready_at.setdefault((key, group["incarnation"]), time.time())
                else:
                    self.incarnations.pop(key, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One round of failures; seconds."""

    failed: int
    groups: int
    to_record: tuple[float, ...]
    to_stop: tuple[float, ...]
    to_ready: tuple[float, ...]


async def measure(cluster: Cluster, folder: Path, *, groups: int, rounds: Sequence[int]) -> list[Measured]:
    """Bring the groups up, then fail so many of them at once in each round."""
    async with Api(cluster) as api, Nursery(folder) as nursery:
        await api.create(NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE}})
        operator = await nursery.start(kubeconfig=cluster.kubeconfig, namespace=SPACE)
        watched = Watched()
        following = asyncio.create_task(watched.follow(api))
        try:
            await _set_up(api, watched, groups=groups)
            fresh = iter(sorted(watched.incarnations, key=lambda group: (group[1], group[0])))
            results = []
            for count in rounds:
                chosen = [group for _, group in zip(range(count), fresh, strict=False)]
                if len(chosen) < count:
                    raise ClusterError(f"{groups} groups are too few for the rounds {list(rounds)}")
                results.append(await _round(cluster, api, watched, chosen, groups=groups))
                if operator.ended.is_set():
                    raise ClusterError(f"the operator has ended; see {operator.log}")
            return results
        finally:
            following.cancel()
            with suppress(asyncio.CancelledError):
                await following


async def _set_up(api: Api, watched: Watched, *, groups: int) -> None:
    began = time.monotonic()
    for number in range(ceil(groups / GROUPS_EACH)):
        manifest = {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "metadata": {"name": f"d{number}", "namespace": SPACE},
            "spec": {**SPEC, "replicas": min(GROUPS_EACH, groups - number * GROUPS_EACH)},
        }
        await api.create(kinds.DEPLOYMENT, manifest)
    while len(watched.incarnations) < groups:
        if time.monotonic() - began > SETUP_SECONDS:
            raise ClusterError(f"only {len(watched.incarnations)} of {groups} groups are ready")
        await asyncio.sleep(5)
        _tell(f"{len(watched.incarnations)} of {groups} groups ready after {time.monotonic() - began:.0f} s")


async def _round(cluster: Cluster, api: Api, watched: Watched, chosen: Sequence[Group], *, groups: int) -> Measured:
    before = {group: watched.incarnations[group] for group in chosen}
    mark = cluster.audit_log.stat().st_size
    limit = asyncio.Semaphore(FAILURES_AT_ONCE)

    async def fail(group: Group) -> None:
        async with limit:
            await _end_worker(api, group)

    await asyncio.gather(*(fail(group) for group in chosen))
    deadline = time.monotonic() + RECOVERY_SECONDS
    while any(watched.incarnations.get(group, 0) <= before[group] for group in chosen):
        if time.monotonic() > deadline:
            raise ClusterError(f"{len(chosen)} failed groups were not ready again within {RECOVERY_SECONDS:.0f} s")
        await asyncio.sleep(0.2)
    visible, recorded, stopped = _from_audit(cluster.audit_log, mark)
    ready = {group: watched.ready_at[group, watched.incarnations[group]] for group in chosen}
    measured = Measured(
        failed=len(chosen),
        groups=groups,
        to_record=tuple(sorted(recorded[group] - visible[group] for group in chosen)),
        to_stop=tuple(sorted(stopped[group] - visible[group] for group in chosen)),
        to_ready=tuple(sorted(ready[group] - visible[group] for group in chosen)),
    )
    _tell(_row(measured))
    return measured


async def _end_worker(api: Api, group: Group) -> None:
    """The engine of the group's last rank ends with an error."""
    pod = await api.get(kinds.POD, SPACE, names.pod_name(*group, NODES_A_GROUP - 1))
    if pod is None:
        raise ClusterError(f"group {group} has no worker")
    for container in pod["status"]["containerStatuses"]:
        if container["name"] == names.ENGINE_CONTAINER:
            container["state"] = {"terminated": {"exitCode": 1, "reason": "Error"}}
            container["ready"] = container["started"] = False
    await api.replace(kinds.POD, pod, subresource="status")


def _from_audit(log: Path, mark: int) -> tuple[dict[Group, float], dict[Group, float], dict[Group, float]]:
    """When each group's failure was visible, when the last status before its stop arrived, and its stop."""
    visible: dict[Group, float] = {}
    recorded: dict[Group, float] = {}
    stopped: dict[Group, float] = {}
    told: dict[str, list[float]] = defaultdict(list)
    for event in _events(log, mark):
        target = event.get("objectRef") or {}
        name, what = target.get("name", ""), (target.get("resource"), target.get("subresource"), event["verb"])
        ours = "deepseek-operator" in event.get("userAgent", "")
        if what == ("pods", "status", "update"):
            visible.setdefault(_group(name.rpartition("-")[0]), _moment(event["stageTimestamp"]))
        elif what == (names.PLURAL, "status", "update") and ours:
            told[name].append(_moment(event["requestReceivedTimestamp"]))
        elif what == ("statefulsets", None, "patch") and ours and (group := _group(name)) not in stopped:
            stopped[group] = _moment(event["requestReceivedTimestamp"])
    for group, stop in stopped.items():
        recorded[group] = max((moment for moment in told[group[0]] if moment <= stop), default=stop)
    return visible, recorded, stopped


def _events(log: Path, mark: int) -> Iterator[dict[str, Any]]:
    with log.open("rb") as lines:
        lines.seek(mark)
        for line in lines:
            if line.endswith(b"\n"):
                yield json.loads(line)


def _group(name: str) -> Group:
    deployment, _, index = name.rpartition("-g")
    return deployment, int(index)


def _moment(stamp: str) -> float:
    return datetime.strptime(stamp, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC).timestamp()


def _p99(values: Sequence[float]) -> float:
    return values[min(len(values) - 1, ceil(0.99 * len(values)) - 1)]


def _row(measured: Measured) -> str:
    parts = (measured.to_record, measured.to_stop, measured.to_ready)
    figures = [figure(part) for part in parts for figure in (median, _p99)]
    cells = (measured.failed, measured.groups, *(f"{value * 1000:.0f} ms" for value in figures))
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def page(results: Sequence[Measured]) -> str:
    """The page with the table."""
    rows = "\n".join(_row(measured) for measured in results)
    return TEXT.format(
        groups=results[0].groups, each=GROUPS_EACH, cores=os.cpu_count(), load=os.getloadavg()[1], rows=rows
    )


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m e2e.bench.recovery", description=__doc__)
    parser.add_argument("--groups", type=int, default=1000, help="groups that serve (default 1000)")
    parser.add_argument("--page", type=Path, default=PAGE, help="where the page is written")
    chosen = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    rounds = [1, min(100, chosen.groups // 3), max(1, chosen.groups // 10)]
    folder = ROOT / ".state" / "bench"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    cluster = up(folder / "cluster")
    try:
        install_crd(cluster)
        add_nodes(cluster, chosen.groups * NODES_A_GROUP, folder=folder)
        results = asyncio.run(measure(cluster, folder / "operator", groups=chosen.groups, rounds=rounds))
    finally:
        cluster.down()
    chosen.page.parent.mkdir(parents=True, exist_ok=True)
    chosen.page.write_text(page(results), encoding="utf-8")
    print(page(results))


if __name__ == "__main__":
    main()

"""Reading the log of a failed rank: beside the work, once, within a second, and never another pod's."""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from deepseek_operator.control import kinds
from deepseek_operator.control.cache import Key
from deepseek_operator.control.client import LOG_LIMIT, KubeClient
from deepseek_operator.control.lastlines import SECONDS, LogReader
from deepseek_operator.lifecycle.entries import LastLines
from deepseek_operator.lifecycle.records import DeploymentRecord
from tests.unit.control import bodies
from tests.unit.control.stand_in import StandIn
from tests.unit.lifecycle.observed import pod

TIME = "2026-01-01T12:00:00Z"
INCIDENT = {"time": TIME, "reason": "EngineExited", "rank": 1, "pod": "x-g0-1"}
GET_LOG = "GET pods/x-g0-1/log"


def status(**changes: Any) -> dict[str, Any]:
    return {"groups": [{"index": 0, "intent": "Stop", "incarnation": 2, "incidents": [{**INCIDENT, **changes}]}]}


DEPLOYMENT = DeploymentRecord(
    name="x", namespace="default", uid="cr", generation=1, resource_version=1, deleting=False, spec={}, status={}
)
POD = pod(1, incarnation=2, uid="pod-0-1")


class Reading:
    def __init__(self, server: StandIn, client: KubeClient) -> None:
        self.server = server
        self.woken: list[Key] = []
        self.reader = LogReader(client, self.woken.extend)

    async def look(
        self, decided: dict[str, Any] | None = None, *pods: Any, written: dict[str, Any] | None = None
    ) -> LastLines | None:
        """One look, and the end of whatever it started."""
        self.reader.look(replace(DEPLOYMENT, status=written or {}), decided or status(), {0: pods or (POD,)})
        await asyncio.gather(*self.reader._tasks.values())  # noqa: SLF001 - the reader has no other end
        return self.reader.found("cr").get(0)


@pytest.fixture
async def reading(server: StandIn, client: KubeClient) -> AsyncIterator[Reading]:
    server.add(kinds.POD, bodies.pod(1))
    reading = Reading(server, client)
    yield reading
    await reading.reader.close()


async def test_the_last_lines_are_read_and_the_deployment_is_looked_at_again(reading: Reading) -> None:
    reading.server.logs["x-g0-1", False] = b"loading\nRuntimeError: CUDA out of memory.\n"
    found = await reading.look()
    assert found is not None
    assert (found.time, found.rank, found.diagnosis) == (TIME, 1, "DeviceOutOfMemory")
    assert found.lines == ("loading", "RuntimeError: CUDA out of memory.")
    assert reading.woken == [("default", "x")]


async def test_the_run_before_a_restart_is_what_counts(reading: Reading) -> None:
    reading.server.logs["x-g0-1", True] = b"the crash\n"
    reading.server.logs["x-g0-1", False] = b"this rank was started before; it waits\n"
    found = await reading.look()
    assert found is not None
    assert found.lines == ("the crash",)


async def test_one_read_an_incident_and_rank_whatever_came_of_it(reading: Reading) -> None:
    assert await reading.look() is None
    assert await reading.look() is None
    assert len(reading.server.asked(GET_LOG)) == 2, "before the restart, after it, and never again"
    reading.server.logs["x-g0-1", False] = b"words\n"
    assert await reading.look(status(time="2026-01-01T13:00:00Z")) is not None


async def test_what_status_has_taken_over_is_forgotten(reading: Reading) -> None:
    reading.server.logs["x-g0-1", False] = b"words\n"
    assert await reading.look() is not None
    decided = status(log=["words"])
    assert await reading.look(decided) is not None, "decided is not written"
    assert await reading.look(decided, written=decided) is None


@pytest.mark.parametrize(
    "case",
    ["it served again", "a later start", "the pod is gone", "nothing to ask a log for"],
)
async def test_no_log_is_read_when(reading: Reading, case: str) -> None:
    reading.server.logs["x-g0-1", False] = b"words\n"
    running = copy.deepcopy(status())
    running["groups"][0]["intent"] = "Run"
    found = {
        "it served again": await reading.look(running),
        "a later start": await reading.look(None, pod(1, incarnation=3)),
        "the pod is gone": await reading.look(None, pod(0, incarnation=2)),
        "nothing to ask a log for": await reading.look(status(reason="NodeLost")),
    }[case]
    assert found is None
    assert reading.server.asked(GET_LOG) == []


async def test_a_successors_log_is_not_taken_for_the_failed_ones(reading: Reading) -> None:
    reading.server.logs["x-g0-1", False] = b"words of the next incarnation\n"
    reading.server.find(kinds.POD, "x-g0-1")["metadata"]["uid"] = "another"
    assert await reading.look() is None


async def test_a_pod_that_went_while_it_was_read_has_told_its_own(reading: Reading, client: KubeClient) -> None:
    reading.server.logs["x-g0-1", False] = b"words\n"
    reading.server.held["GET pods/x-g0-1"] = asyncio.Event()
    reading.reader.look(DEPLOYMENT, status(), {0: (POD,)})
    while not reading.server.asked("GET pods/x-g0-1"):  # noqa: ASYNC110 - the request is what is awaited
        await asyncio.sleep(0)
    reading.server.drop(kinds.POD, "x-g0-1")
    reading.server.held["GET pods/x-g0-1"].set()
    found = await reading.look()
    assert found is not None
    assert found.lines == ("words",)


async def test_a_silent_kubelet_costs_a_second_and_nobody_waits_for_it(reading: Reading) -> None:
    reading.server.held[GET_LOG] = asyncio.Event()
    begun = time.monotonic()
    reading.reader.look(DEPLOYMENT, status(), {0: (POD,)})
    assert time.monotonic() - begun < SECONDS / 2
    assert await reading.look() is None
    assert SECONDS <= time.monotonic() - begun < 3 * SECONDS
    reading.server.held[GET_LOG].set()


async def test_of_an_endless_log_the_end_is_kept_from_the_start_of_a_line(server: StandIn, client: KubeClient) -> None:
    server.add(kinds.POD, bodies.pod(1))
    server.logs["x-g0-1", False] = b"".join(b"%07d\n" % number for number in range(40_000))
    text = await client.log("default", "x-g0-1", "engine", lines=1_000_000, previous=False)
    assert len(text) <= LOG_LIMIT
    lines = text.splitlines()
    assert (len(lines[0]), lines[-1]) == (7, "0039999")

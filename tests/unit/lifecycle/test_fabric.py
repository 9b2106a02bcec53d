"""FabricReady: from the plan, then from what ranks measured; a preflight that fails is the whole group's incident."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from deepseek_operator.control.projections import project_pod
from deepseek_operator.lifecycle.entries import FabricReport, GroupEntry, Incident, read_entry, write_entries
from deepseek_operator.lifecycle.fabric import fabric_ready, with_fabric
from deepseek_operator.lifecycle.incidents import find_incident
from deepseek_operator.lifecycle.records import ContainerRecord, PodRecord
from deepseek_operator.lifecycle.stages import stage_of
from tests.unit.control import bodies
from tests.unit.lifecycle.observed import entry, pod
from tests.unit.lifecycle.test_reported import outcome_with

GOOD = {"rank": 0, "devices": 8, "worldSize": 16, "transport": "NET/IB/GDRDMA", "busBandwidthGBps": 318.2}


def passed(rank: int, **told: Any) -> PodRecord:
    message = json.dumps({**GOOD, "rank": rank, **told})
    return pod(rank, preflight=ContainerRecord(state="terminated", exit_code=0, message=message))


def measured(transport: str, revision: str, bandwidth: str = "12.00") -> GroupEntry:
    report = FabricReport(incarnation=1, transport=transport, bus_bandwidth=bandwidth, ranks=2)
    return entry(revision=revision, ready=True, fabric=report)


def test_the_slowest_rank_speaks_for_the_group_and_survives_status() -> None:
    both = [passed(0), passed(1, transport="NET/Socket", busBandwidthGBps=2.86)]
    found = with_fabric(entry(), both)
    assert found.fabric == FabricReport(incarnation=1, transport="NET/Socket", bus_bandwidth="2.86", ranks=2)
    (written,) = write_entries([found])
    assert written["fabric"] == {
        "incarnation": 1,
        "transport": "NET/Socket",
        "busBandwidthGBps": "2.86",
        "ranks": 2,
    }
    assert read_entry(written).fabric == found.fabric
    # Pods that are gone or tell less do not take it away; the next start does.
    assert with_fabric(found, both[:1]).fabric == found.fabric
    assert with_fabric(replace(found, incarnation=2), both).fabric is None


@pytest.mark.parametrize("message", ["", "no JSON", "[1]", '{"rank": 0}', '"text"'])
def test_words_that_are_no_report_are_none(message: str) -> None:
    told = pod(0, preflight=ContainerRecord(state="terminated", exit_code=0, message=message))
    assert with_fabric(entry(), [told]).fabric is None


def test_before_anybody_measured_the_plan_is_told() -> None:
    found = fabric_ready(outcome_with(), [entry()])
    assert (found.status, found.reason) == ("True", "Planned")
    assert "rdma/hca" in found.message


def test_sockets_in_spite_of_rdma_are_not_ready() -> None:
    outcome = outcome_with(fabric={"preflight": True})
    assert outcome.content is not None
    found = fabric_ready(outcome, [measured("NET/Socket", outcome.content.hash)])
    assert (found.status, found.reason) == ("False", "SocketsInsteadOfRDMA")
    assert "rdma/hca" in found.message
    for transport in ("NET/IB", "NET/IB/GDRDMA", "NET/OFI"):
        found = fabric_ready(outcome, [measured(transport, outcome.content.hash)])
        assert (found.status, found.reason) == ("True", "Measured")
        assert transport in found.message
        assert "12.00 GB/s" in found.message


def test_sockets_are_what_a_plan_without_rdma_rests_on() -> None:
    outcome = outcome_with(fabric={"preflight": True, "preset": "pod-network"})
    assert outcome.content is not None
    assert fabric_ready(outcome, [measured("NET/Socket", outcome.content.hash)]).status == "True"


def failing(rank: int, since: str, message: str) -> PodRecord:
    ended = ContainerRecord(state="waiting", reason="CrashLoopBackOff", exit_code=1, message=message, since=since)
    return pod(rank, ready=False, phase="Pending", engine=ContainerRecord(state="waiting"), preflight=ended)


def test_a_failed_preflight_is_an_incident_of_the_group_by_the_rank_that_failed_first() -> None:
    late = failing(0, "2026-01-01T12:05:00Z", "rank 0: not done after 300 s: device 0 is at the first all-reduce")
    first = failing(1, "2026-01-01T12:00:01Z", "rank 1: device 3 failed at the first all-reduce: no socket interface")
    found = find_incident(entry(), [late, first], dead_nodes=(), time="2026-01-01T12:05:01Z")
    assert found is not None
    assert (found.reason, found.rank, found.exit_code) == ("PreflightFailed", 1, 1)
    assert "device 3" in found.message
    told = fabric_ready(outcome_with(), [entry(ready=False, intent="Stop", incidents=(found,))])
    assert (told.status, told.reason) == ("False", "PreflightFailed")
    assert "device 3" in told.message


def test_after_a_preflight_that_passed_the_earlier_failure_is_history() -> None:
    incident = Incident(time="2026-01-01T12:00:00Z", reason="PreflightFailed", message="m")
    before = entry(ready=False, incidents=(incident,))
    assert fabric_ready(outcome_with(), [with_fabric(before, [passed(0), passed(1)])]).status == "True"


def test_a_pod_at_its_preflight_fetches_no_weights() -> None:
    running = {"name": "preflight", "state": {"running": {"startedAt": "2026-01-01T12:00:00Z"}}}
    waiting = {"name": "verify-weights", "state": {"waiting": {"reason": "PodInitializing"}}}
    body = bodies.pod(version=1)
    body["spec"]["initContainers"] = [{"name": "preflight"}, {"name": "verify-weights"}]
    body["status"] = {"phase": "Pending", "initContainerStatuses": [running, waiting], "containerStatuses": []}
    at = project_pod(body)
    assert (at.step, at.fetching) == ("preflight", False)
    stage, message = stage_of([replace(at, scheduled=True)], size=1)
    assert stage == "Rendezvous"
    assert "preflight" in message
    ended = {"exitCode": 0, "message": json.dumps(GOOD), "finishedAt": "2026-01-01T12:00:10Z"}
    running["state"] = {"terminated": ended}
    after = project_pod(body)
    assert (after.step, after.fetching) == ("verify-weights", True)
    assert json.loads(after.preflight.message) == GOOD

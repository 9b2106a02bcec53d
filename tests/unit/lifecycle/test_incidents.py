"""What counts as the end of a group, who is blamed, and how long the next start waits."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deepseek_operator.lifecycle.entries import Incident
from deepseek_operator.lifecycle.incidents import backoff_seconds, drains_in_vain, find_incident
from deepseek_operator.lifecycle.records import ContainerRecord, PodRecord
from tests.unit.lifecycle.observed import pod, serving_entry

TIME = "2026-01-01T12:00:00Z"


def found(*pods: PodRecord, dead: frozenset[str] = frozenset()) -> Incident | None:
    return find_incident(serving_entry(), pods, dead_nodes=dead, time=TIME)


def test_a_healthy_group_has_no_incident() -> None:
    assert found(pod(0), pod(1)) is None


def engine(**fields: object) -> ContainerRecord:
    return ContainerRecord(**{"state": "terminated", **fields})  # type: ignore[arg-type]


CASES = {
    "a crash tells code and last words": (
        pod(1, engine=engine(exit_code=1, reason="Error", message=" boom\n")),
        ("EngineExited", "The engine of rank 1 ended with exit code 1: boom"),
    ),
    "an end without a code tells only that": (
        pod(1, engine=engine()),
        ("EngineExited", "The engine of rank 1 ended"),
    ),
    "a clean end is an end": (
        pod(1, engine=engine(exit_code=0, reason="Completed")),
        ("EngineExited", "The engine of rank 1 ended with exit code 0"),
    ),
    "the kernel's verdict is the reason": (
        pod(1, engine=engine(exit_code=137, reason="OOMKilled")),
        ("OOMKilled", "The engine of rank 1 ended with exit code 137 (SIGKILL)"),
    ),
    "a restarted engine waits in vain for its old group": (
        pod(1, engine=ContainerRecord(state="waiting", reason="CrashLoopBackOff", restarts=2, exit_code=3)),
        ("CrashLoopBackOff", "The engine of rank 1 ended with exit code 3"),
    ),
    "eviction": (
        pod(1, phase="Failed", phase_reason="Evicted"),
        ("Evicted", "The pod of rank 1 ended in phase Failed"),
    ),
    "a pod that failed without a reason": (
        pod(1, phase="Failed"),
        ("PodFailed", "The pod of rank 1 ended in phase Failed"),
    ),
    "a pod that succeeded serves no more": (
        pod(1, phase="Succeeded"),
        ("PodFailed", "The pod of rank 1 ended in phase Succeeded"),
    ),
    "deletion": (pod(1, deleting=True), ("PodDeleted", "The pod of rank 1 is being deleted")),
}


@pytest.mark.parametrize("case", CASES)
def test_evidence(case: str) -> None:
    broken, expected = CASES[case]
    incident = found(pod(0), broken)
    assert incident is not None
    assert (incident.reason, incident.message) == expected
    assert (incident.time, incident.rank, incident.pod, incident.node) == (TIME, 1, "x-g0-1", "node-1")
    assert incident.exit_code == broken.engine.exit_code


def test_the_engine_that_ended_is_blamed_before_a_lower_rank_that_is_being_deleted() -> None:
    incident = found(pod(0, deleting=True), pod(1, engine=engine(exit_code=9)))
    assert incident is not None
    assert incident.rank == 1


def test_a_dead_node_is_blamed_before_the_deletion_of_its_pod() -> None:
    incident = found(pod(0), pod(1, deleting=True), dead=frozenset({"node-1"}))
    assert incident is not None
    assert incident.reason == "NodeLost"
    assert "node-1" in incident.message


def test_a_dead_node_without_a_rank_of_ours_and_an_unscheduled_pod_are_no_matter() -> None:
    assert found(pod(0), pod(1), dead=frozenset({"node-7"})) is None
    assert found(pod(0), pod(1, node="", scheduled=False), dead=frozenset({""})) is None


def test_a_pod_of_an_earlier_incarnation_proves_nothing_about_this_one() -> None:
    old = pod(1, incarnation=0, deleting=True)
    assert found(pod(0), pod(1), old) is None


def test_a_replaced_pod_is_a_lost_rank_with_its_node() -> None:
    incident = found(pod(0), pod(1, uid="new"))
    assert incident is not None
    assert (incident.reason, incident.rank, incident.node) == ("PodLost", 1, "node-1")


@pytest.mark.parametrize(
    ("restarts", "least"), [(0, 0), (1, 0), (2, 10), (3, 20), (4, 40), (7, 320), (8, 600), (50, 600), (100_000, 600)]
)
def test_the_wait_doubles_up_to_ten_minutes_and_stretches_by_a_fifth_at_most(restarts: int, least: float) -> None:
    for seed in ("a", "b/0/3", "0f0e7a3c/12/5"):
        assert least <= backoff_seconds(restarts, seed=seed) <= least * 1.2


def test_groups_that_failed_together_start_apart_but_a_repeated_decision_is_the_same() -> None:
    waits = [backoff_seconds(4, seed=f"cr/{index}/4") for index in range(8)]
    assert len({round(wait, 2) for wait in waits}) > 4
    assert waits == [backoff_seconds(4, seed=f"cr/{index}/4") for index in range(8)]


DRAINING = replace(
    pod(0, deleting=True),
    created="2026-01-01T11:00:00Z",
    deletion_asked="2026-01-01T12:00:01Z",
    terminating_until="2026-01-01T12:02:01Z",
)


def drains(incident: Incident | None, draining: PodRecord = DRAINING) -> bool:
    entry = replace(serving_entry(), intent="Stop", incidents=(incident,) if incident else ())
    return drains_in_vain(entry, draining)


def test_what_is_left_of_a_group_that_lost_a_rank_gets_no_long_grace() -> None:
    assert drains(Incident(time=TIME, reason="NodeLost", message=""))
    assert drains(Incident(time=TIME, reason="RankUnready", message=""))


def test_a_grace_that_was_shortened_is_not_shortened_again() -> None:
    shortened = replace(DRAINING, terminating_until="2026-01-01T12:00:11Z")
    assert not drains(Incident(time=TIME, reason="NodeLost", message=""), shortened)


def test_a_stop_that_was_asked_for_drains() -> None:
    assert not drains(None)
    assert not drains(Incident(time=TIME, reason="EvictionByEvictionAPI", message=""))
    assert not drains(Incident(time=TIME, reason="PodDeleted", message=""))
    assert not drains(Incident(time=TIME, reason="NodeLost", message=""), replace(DRAINING, deleting=False))


def test_an_incident_of_an_earlier_start_says_nothing_about_this_one() -> None:
    assert not drains(Incident(time="2026-01-01T10:59:59Z", reason="NodeLost", message=""))

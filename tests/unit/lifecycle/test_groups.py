"""One group's life: it forms, it fails as one, and its next start waits for the end of the last."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from deepseek_operator.lifecycle.entries import GroupEntry, Incident
from deepseek_operator.lifecycle.groups import Limits, Observed, StartWith, advance
from deepseek_operator.lifecycle.records import ContainerRecord, PodRecord
from tests.unit.lifecycle.observed import (
    NOW,
    OTHER,
    TARGET,
    entry,
    later,
    limits,
    pod,
    seen,
    serving_entry,
    stateful_set,
)


def step(
    before: GroupEntry,
    observed: Observed,
    *,
    start_with: StartWith | None = TARGET,
    suspended: bool = False,
    now: datetime = NOW,
    by: Limits | None = None,
) -> GroupEntry:
    return advance(before, observed, limits=by or limits(), start_with=start_with, suspended=suspended, now=now)


def test_a_new_group_waits_for_its_pods() -> None:
    after = step(entry(), seen())
    assert (after.intent, after.stage, after.members) == ("Run", "Pending", ())


def test_members_are_recorded_once_all_ranks_have_pods() -> None:
    one = step(entry(), seen(pod(0), owner=stateful_set()))
    assert one.members == ()
    both = step(entry(), seen(pod(0), pod(1), owner=stateful_set()))
    assert [member.uid for member in both.members] == ["uid-0-0-1", "uid-0-1-1"]


def test_a_group_serves_when_all_ranks_are_ready() -> None:
    after = step(entry(), seen(pod(0), pod(1), owner=stateful_set()))
    assert (after.ready, after.formed, after.stage) == (True, True, "Serving")
    assert after.stable_since == "2026-01-01T12:00:00Z"


def test_a_group_whose_worker_is_not_ready_does_not_serve() -> None:
    after = step(serving_entry(), seen(pod(0), pod(1, ready=False), owner=stateful_set()))
    assert (after.intent, after.ready, after.stage) == ("Run", False, "Warming")


INCIDENTS = {
    "an engine that ended": (
        pod(1, engine=ContainerRecord(state="terminated", exit_code=137, reason="OOMKilled")),
        "OOMKilled",
    ),
    "an engine that was restarted": (
        pod(1, engine=ContainerRecord(state="running", restarts=1, exit_code=1)),
        "EngineExited",
    ),
    "a pod that is being deleted": (pod(1, deleting=True), "PodDeleted"),
    "an evicted pod": (pod(1, phase="Failed", phase_reason="Evicted"), "Evicted"),
    "a replaced pod": (pod(1, uid="another"), "PodLost"),
}


@pytest.mark.parametrize("case", INCIDENTS)
def test_whatever_ends_one_rank_stops_the_whole_group(case: str) -> None:
    broken, reason = INCIDENTS[case]
    after = step(serving_entry(), seen(pod(0), broken, owner=stateful_set()))
    assert (after.intent, after.ready, after.incarnation) == ("Stop", False, 1)
    assert after.incidents[0].reason == reason
    assert after.incidents[0].rank == 1


def test_a_vanished_pod_stops_the_group_and_names_its_node() -> None:
    after = step(serving_entry(), seen(pod(0), owner=stateful_set()))
    assert (after.intent, after.incidents[0].reason, after.incidents[0].node) == ("Stop", "PodLost", "node-1")


def test_a_lost_node_stops_the_group() -> None:
    observed = seen(pod(0), pod(1), owner=stateful_set(), dead=frozenset({"node-1"}))
    assert step(serving_entry(), observed).incidents[0].reason == "NodeLost"


def test_the_rank_that_ended_first_is_the_evidence_not_the_ones_that_followed() -> None:
    crashed = pod(1, engine=ContainerRecord(state="terminated", exit_code=1, message="CUDA out of memory"))
    after = step(serving_entry(), seen(pod(0, deleting=True), crashed, owner=stateful_set()))
    assert after.incidents[0].rank == 1
    assert "CUDA out of memory" in after.incidents[0].message


@pytest.mark.parametrize("restarts", [0, 3])
def test_a_restarted_init_container_is_no_incident(restarts: int) -> None:
    fetching = pod(1, phase="Pending", fetching=True, ready=False, engine=ContainerRecord())
    after = step(entry(restarts=restarts), seen(pod(0), fetching, owner=stateful_set()))
    assert (after.intent, after.stage, after.restarts) == ("Run", "FetchingWeights", restarts)


def test_a_deleted_stateful_set_restarts_the_group() -> None:
    assert step(serving_entry(), seen(owner=None)).incidents[0].reason == "PodLost"
    assert step(entry(), seen(pod(0), owner=None)).incidents[0].reason == "StatefulSetDeleted"


def test_a_stateful_set_scaled_to_zero_by_hand_restarts_the_group() -> None:
    after = step(entry(), seen(owner=stateful_set(replicas=0)))
    assert after.incidents[0].reason == "ScaledByHand"


DRAINING = {
    "a pod is left": seen(pod(1, deleting=True), owner=stateful_set(replicas=0, current_replicas=1)),
    "the controller still counts one": seen(owner=stateful_set(replicas=0, current_replicas=1)),
    "the controller has not seen the stop": seen(owner=stateful_set(replicas=0, current_replicas=0, observed=False)),
    "the stop was not written": seen(owner=stateful_set(replicas=2, current_replicas=0)),
}


@pytest.mark.parametrize("case", DRAINING)
def test_the_next_incarnation_waits_while(case: str) -> None:
    after = step(entry(intent="Stop"), DRAINING[case])
    assert (after.intent, after.incarnation, after.stage) == ("Stop", 1, "Draining")


STOPPED = seen(owner=stateful_set(replicas=0, current_replicas=0))


def test_a_stopped_group_starts_anew_with_the_next_incarnation() -> None:
    after = step(entry(intent="Stop", members=serving_entry().members), STOPPED)
    assert (after.intent, after.incarnation, after.members, after.ready) == ("Run", 2, (), False)


def test_a_stopped_group_starts_with_the_revision_that_is_wanted_now() -> None:
    after = step(entry(intent="Stop"), STOPPED, start_with=OTHER)
    assert (after.revision, after.template_hash) == ("r2", "t2")


def test_a_suspended_group_stays_stopped() -> None:
    after = step(entry(intent="Stop"), STOPPED, suspended=True)
    assert (after.intent, after.stage) == ("Stop", "Suspended")


def test_a_group_without_any_revision_says_so_instead_of_starting() -> None:
    after = step(entry(intent="Stop"), STOPPED, start_with=None)
    assert (after.intent, after.stage) == ("Stop", "Failed")
    assert "Accepted" in after.message


def fail_again(before: GroupEntry, *, now: datetime = NOW) -> GroupEntry:
    broken = pod(1, engine=ContainerRecord(state="terminated", exit_code=1))
    return step(before, seen(pod(0), broken, owner=stateful_set()), now=now)


def test_the_first_restart_is_immediate_and_the_next_ones_wait_longer_and_longer() -> None:
    first = fail_again(entry())
    assert (first.restarts, first.not_before) == (1, "")
    second = fail_again(entry(restarts=1))
    third = fail_again(entry(restarts=2))
    assert "" < second.not_before < third.not_before


def test_backoff_is_served_before_the_next_start() -> None:
    waiting = entry(intent="Stop", restarts=3, not_before="2026-01-01T12:00:20Z")
    assert step(waiting, STOPPED).stage == "BackingOff"
    assert step(waiting, STOPPED, now=later(21)).intent == "Run"


def test_a_changed_spec_does_not_wait_for_the_backoff() -> None:
    waiting = entry(intent="Stop", restarts=3, not_before="2026-01-01T12:10:00Z")
    assert step(waiting, STOPPED, start_with=OTHER).intent == "Run"


def test_ten_minutes_of_serving_forgive_earlier_incidents() -> None:
    assert fail_again(entry(restarts=5, stable_since="2026-01-01T11:50:00Z")).restarts == 1
    assert fail_again(entry(restarts=5, stable_since="2026-01-01T11:59:00Z")).restarts == 6


def test_only_the_last_three_incidents_are_kept() -> None:
    current = entry()
    for number in range(5):
        current = fail_again(entry(incidents=current.incidents, restarts=number))
    assert len(current.incidents) == 3


def broken(rank: int = 1, *, incarnation: int = 1, words: str = "", **changes: Any) -> PodRecord:
    engine = ContainerRecord(state="terminated", exit_code=1, message=words, **changes)
    return pod(rank, incarnation=incarnation, engine=engine)


def test_of_several_ended_ranks_the_first_to_end_is_blamed() -> None:
    first = broken(1, since="2026-01-01T11:59:00Z", words="the cause")
    then = broken(0, since="2026-01-01T11:59:30Z", words="the echo")
    after = step(serving_entry(), seen(then, first, owner=stateful_set()))
    assert after.incidents[0].rank == 1
    assert "the cause" in after.incidents[0].message


def test_an_incident_carries_the_diagnosis_and_the_remedy() -> None:
    after = step(serving_entry(), seen(pod(0), broken(words="CUDA out of memory"), owner=stateful_set()))
    assert after.incidents[0].diagnosis == "DeviceOutOfMemory"
    assert "spec.context.maxLength" in after.incidents[0].remedy


@pytest.mark.parametrize("reason", ["EvictionByEvictionAPI", "PreemptionByScheduler"])
def test_what_is_nobodys_fault_costs_no_restart_and_no_wait(reason: str) -> None:
    before = replace(serving_entry(restarts=3), stable_since="2026-01-01T11:59:00Z")
    after = step(before, seen(pod(0), pod(1, deleting=True, disruption=reason), owner=stateful_set()))
    assert (after.intent, after.restarts, after.not_before) == ("Stop", 3, "")
    assert after.incidents[0].reason == reason


def test_one_incident_too_many_ends_the_attempts_until_the_spec_changes() -> None:
    before = entry(restarts=8, incarnation=9)
    failed = step(before, seen(pod(0, incarnation=9), broken(incarnation=9), owner=stateful_set(incarnation=9)))
    stopped = stateful_set(replicas=0, incarnation=9, current_replicas=0)
    given = step(failed, seen(owner=stopped), now=later(10**6))
    assert (given.intent, given.stage) == ("Stop", "Failed")
    assert "given up after 9 incidents" in given.message
    again = step(given, seen(owner=stopped), start_with=OTHER, now=later(10**6))
    assert (again.intent, again.incarnation, again.restarts) == ("Run", 10, 0)


def test_the_budget_is_the_users() -> None:
    failed = step(entry(), seen(pod(0), broken(), owner=stateful_set()), by=limits(max_restarts=0))
    stopped = stateful_set(replicas=0, current_replicas=0)
    assert step(failed, seen(owner=stopped), now=later(10**6)).stage == "Failed"


def test_the_same_fatal_fault_twice_ends_the_attempts_at_once() -> None:
    words = "type fp8e4nv not supported in this architecture"
    first = step(entry(), seen(pod(0), broken(words=words), owner=stateful_set()))
    assert first.not_before == ""
    again = replace(first, intent="Run", incarnation=2)
    second = step(
        again,
        seen(pod(0, incarnation=2), broken(incarnation=2, words=words), owner=stateful_set(incarnation=2)),
    )
    stopped = stateful_set(replicas=0, incarnation=2, current_replicas=0)
    after = step(second, seen(owner=stopped), now=later(10**6))
    assert after.stage == "Failed"
    assert "bf16" in after.message


def test_a_fatal_looking_fault_of_a_group_that_served_is_tried_again() -> None:
    words = "type fp8e4nv not supported in this architecture"
    first = step(entry(), seen(pod(0), broken(words=words), owner=stateful_set()))
    served = replace(first, intent="Run", incarnation=2, formed=True)
    second = step(
        served,
        seen(pod(0, incarnation=2), broken(incarnation=2, words=words), owner=stateful_set(incarnation=2)),
    )
    stopped = stateful_set(replicas=0, incarnation=2, current_replicas=0)
    assert step(second, seen(owner=stopped), now=later(10**6)).intent == "Run"


def failing_twice_on(node: str) -> GroupEntry:
    incident = Incident(time="2026-01-01T11:00:00Z", reason="EngineExited", message="", rank=1, node=node)
    return entry(intent="Stop", restarts=2, incidents=(incident, incident))


def test_a_node_on_which_a_group_fails_twice_is_avoided_where_others_are_left() -> None:
    stopped = stateful_set(replicas=0, current_replicas=0)
    after = step(failing_twice_on("node-1"), seen(owner=stopped), by=limits(spare_nodes=1))
    assert after.avoided_nodes == ("node-1",)
    assert "node-1" in after.message
    kept = step(failing_twice_on("node-1"), seen(owner=stopped), by=limits(spare_nodes=0))
    assert kept.avoided_nodes == ()


def test_a_changed_spec_tries_every_node_again() -> None:
    before = replace(failing_twice_on("node-1"), avoided_nodes=("node-1",))
    stopped = stateful_set(replicas=0, current_replicas=0)
    assert step(before, seen(owner=stopped), start_with=OTHER, by=limits(spare_nodes=1)).avoided_nodes == ()


def test_a_pod_that_does_not_end_though_its_node_lives_is_named() -> None:
    stuck = pod(1, deleting=True, terminating_until="2026-01-01T11:55:00Z")
    after = step(entry(intent="Stop"), seen(stuck, owner=stateful_set(replicas=0)))
    assert "kubelet" in after.message
    assert "node-1" in after.message

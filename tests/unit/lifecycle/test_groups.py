"""One group's life: it forms, it fails as one, and its next start waits for the end of the last."""

from __future__ import annotations

from datetime import datetime

import pytest

from deepseek_operator.lifecycle.entries import GroupEntry
from deepseek_operator.lifecycle.groups import Observed, StartWith, advance
from deepseek_operator.lifecycle.records import ContainerRecord
from tests.unit.lifecycle.observed import (
    NOW,
    OTHER,
    TARGET,
    entry,
    later,
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
) -> GroupEntry:
    return advance(before, observed, size=2, start_with=start_with, suspended=suspended, seed="cr", now=now)


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

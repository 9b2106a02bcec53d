"""A batch: it runs as a Job, ends well or fails as one, and is never started again by itself."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from deepseek_operator.lifecycle.records import ContainerRecord
from deepseek_operator.plan.types import Plan
from tests.unit.lifecycle.pure_cluster import PureCluster, serving, told
from tests.unit.render.samples import H100_PLAN

BATCH: dict[str, Any] = {
    "engine": {"name": "deepseek-infer", "image": "i"},
    "batch": {"prompts": {"configMap": "prompts"}},
}
TERMINAL: dict[str, Any] = {"engine": BATCH["engine"]}
INFER_PLAN: Plan = replace(H100_PLAN, engine=replace(H100_PLAN.engine, name="deepseek-infer", api=False))
ENDED = ContainerRecord(state="terminated", reason="Completed", exit_code=0, since="2026-01-01T12:00:00Z")


def batch(**fields: Any) -> PureCluster:
    cluster = PureCluster(**{**BATCH, **fields})
    cluster.plan = INFER_PLAN
    return cluster


def running(**fields: Any) -> PureCluster:
    cluster = batch(**fields)
    cluster.settle()
    return cluster


def completed(**fields: Any) -> PureCluster:
    cluster = running(**fields)
    for rank in (0, 1):
        cluster.break_rank(rank, phase="Succeeded", ready=False, engine=ENDED)
    cluster.end_job("Complete")
    cluster.settle()
    return cluster


def reasons(cluster: PureCluster) -> dict[str, tuple[str, str]]:
    kinds = ("Ready", "Completed", "Available", "GroupsReady", "Reconciling", "Stalled")
    return {kind: (cluster.condition(kind)["status"], cluster.condition(kind)["reason"]) for kind in kinds}


def test_a_batch_that_runs_is_neither_ready_nor_available() -> None:
    cluster = running()
    assert cluster.group()["stage"] == "Running"
    assert reasons(cluster) == {
        "Ready": ("False", "Running"),
        "Completed": ("False", "NotCompleted"),
        "Available": ("False", "NoGroupServes"),
        "GroupsReady": ("False", "NotAllServing"),
        "Reconciling": ("True", "Progressing"),
        "Stalled": ("False", "NotStalled"),
    }


def test_a_completed_batch_is_ready_by_the_reason_completed() -> None:
    cluster = completed()
    assert reasons(cluster) == {
        "Ready": ("True", "Completed"),
        "Completed": ("True", "Completed"),
        "Available": ("False", "Completed"),
        "GroupsReady": ("True", "Completed"),
        "Reconciling": ("False", "Settled"),
        "Stalled": ("False", "NotStalled"),
    }
    group = cluster.group()
    assert (group["stage"], group["completed"], group["ready"]) == ("Completed", "2026-01-01T12:00:00Z", False)
    assert cluster.status["servedRevisions"] == [group["revision"]], "its plan is settled"


def test_the_event_of_completion_comes_once() -> None:
    cluster = running()
    cluster.end_job("Complete")
    assert [event.reason for event in cluster.decide().events] == ["Completed"]
    assert cluster.decide().events == ()


@pytest.mark.parametrize("gone", ["its pods", "its Job and pods"])
def test_a_completed_batch_is_not_started_again_when_what_is_left_of_it_goes(gone: str) -> None:
    cluster = completed()
    cluster.pods = []
    if gone == "its Job and pods":
        del cluster.objects["Job", "x-g0"]
    assert told(cluster.step().actions) == []
    assert cluster.condition("Completed")["status"] == "True"


def test_nothing_is_written_to_a_completed_batch_of_a_newer_operator() -> None:
    cluster = completed()
    cluster.objects["Job", "x-g0"]["metadata"]["annotations"]["serving.deepseek-operator.io/desired-hash"] = "older"
    assert told(cluster.step().actions) == []


@pytest.mark.parametrize(
    "change", [{"restartedAt": "2026-01-02T00:00:00Z"}, {"batch": {"prompts": {"configMap": "b"}}}]
)
def test_a_changed_spec_runs_again(change: dict[str, Any]) -> None:
    cluster = completed()
    cluster.edit(**{**BATCH, **change})
    cluster.settle()
    group = cluster.group()
    assert (group["stage"], group["incarnation"]) == ("Running", 2)
    assert "completed" not in group
    assert cluster.condition("Completed")["status"] == "False"


def test_a_failed_rank_ends_the_whole_job_and_is_told_with_its_last_words() -> None:
    cluster = running()
    words = ContainerRecord(
        state="terminated", reason="Error", exit_code=9, message="CUDA error: out of luck", since="2026-01-01T12:00:01Z"
    )
    late = replace(words, exit_code=143, message="", since="2026-01-01T12:00:02Z")
    cluster.break_rank(1, phase="Failed", ready=False, engine=words)
    cluster.break_rank(0, deleting=True, engine=late)
    cluster.end_job("Failed", reason="PodFailurePolicy", message="Container engine failed")
    actions = told(cluster.step().actions)
    assert actions == ["delete Job x-g0"]
    (incident,) = cluster.group()["incidents"]
    assert (incident["rank"], incident["exitCode"], incident["reason"]) == (1, 9, "EngineExited")
    assert "CUDA error: out of luck" in incident["message"]
    cluster.settle()
    assert (cluster.group()["stage"], cluster.group()["incarnation"]) == ("Running", 2)


def test_a_job_that_failed_without_a_trace_of_its_pods_is_told_in_its_own_words() -> None:
    cluster = running()
    cluster.pods = []
    cluster.status["groups"][0]["members"] = []
    cluster.end_job("Failed", reason="DeadlineExceeded", message="Job was active longer than specified deadline")
    cluster.step()
    (incident,) = cluster.group()["incidents"]
    assert (incident["reason"], "longer than specified" in incident["message"]) == ("DeadlineExceeded", True)


def test_a_batch_that_fails_too_often_is_given_up_with_its_evidence() -> None:
    cluster = batch(recovery={"maxRestarts": 2})
    for _ in range(20):
        cluster.settle()
        if cluster.group()["stage"] == "Failed":
            break
        cluster.break_rank(0, phase="Failed", engine=replace(ENDED, reason="Error", exit_code=1))
        cluster.step()
        cluster.now += timedelta(hours=1)
    assert cluster.condition("Stalled")["reason"] == "RestartBudgetExhausted"
    assert "rank 0 ended with exit code 1" in cluster.condition("Stalled")["message"]
    assert ("Job", "x-g0") not in cluster.objects, "its devices are free"


def test_a_rank_that_has_ended_well_while_others_run_on_is_no_incident() -> None:
    cluster = running()
    cluster.break_rank(1, phase="Succeeded", ready=False, ready_changed="2026-01-01T12:00:00Z", engine=ENDED)
    cluster.now += timedelta(hours=10)
    cluster.settle()
    assert cluster.group()["stage"] == "Running"
    assert "1 of 2 ranks have ended" in cluster.group()["message"]
    assert "incidents" not in cluster.group()


def test_a_rank_that_ends_well_is_an_incident_where_ranks_serve() -> None:
    cluster = serving()
    cluster.break_rank(1, engine=ENDED)
    cluster.step()
    assert cluster.group()["intent"] == "Stop"


def test_a_job_deleted_by_hand_while_it_runs_is_an_incident() -> None:
    cluster = running()
    del cluster.objects["Job", "x-g0"]
    cluster.pods = []
    cluster.status["groups"][0]["members"] = []
    cluster.pods = [each for each in running().pods if each.rank == 0]
    cluster.step()
    (incident,) = cluster.group()["incidents"]
    assert (incident["reason"], incident["message"]) == ("JobDeleted", "The Job was deleted")


def test_suspending_a_batch_that_runs_deletes_its_job_and_resuming_starts_it_anew() -> None:
    cluster = running()
    cluster.edit(**BATCH, suspend=True)
    assert told(cluster.step().actions) == ["delete Job x-g0"]
    cluster.settle()
    assert (cluster.condition("Ready")["reason"], cluster.group()["stage"]) == ("Suspended", "Suspended")
    cluster.edit(**BATCH)
    cluster.settle()
    assert (cluster.group()["stage"], cluster.group()["incarnation"]) == ("Running", 2)


def test_suspending_a_completed_batch_changes_nothing_now_or_later() -> None:
    cluster = completed()
    cluster.edit(**BATCH, suspend=True)
    assert told(cluster.step().actions) == []
    cluster.edit(**BATCH)
    assert told(cluster.step().actions) == []
    assert cluster.condition("Ready")["reason"] == "Completed"


def test_scaling_to_zero_removes_the_job_and_everything_of_its_group() -> None:
    cluster = completed()
    cluster.edit(**BATCH, replicas=0)
    cluster.settle()
    assert cluster.kinds() == ["ControllerRevision"]
    assert cluster.condition("Ready")["reason"] == "ScaledToZero"


def test_a_completed_batch_whose_status_was_lost_stays_completed() -> None:
    cluster = completed()
    cluster.status = {}
    assert told(cluster.step().actions) == []
    assert cluster.condition("Completed")["status"] == "True"


def test_a_batch_that_runs_and_whose_status_was_lost_runs_on() -> None:
    cluster = running()
    cluster.status = {}
    assert told(cluster.step().actions) == []
    assert cluster.group()["stage"] == "Running"


def test_from_the_terminal_to_a_batch_the_stateful_set_goes_before_the_job_comes() -> None:
    cluster = PureCluster(**TERMINAL)
    cluster.plan = INFER_PLAN
    cluster.settle()
    assert cluster.condition("Ready")["reason"] == "Serving"
    cluster.edit(**BATCH)
    steps = []
    for _ in range(8):
        steps += told(cluster.step().actions)
        cluster.controllers()
    order = ["stop x-g0", "delete StatefulSet x-g0", "start x-g0 incarnation 2"]
    assert [step for step in steps if step in order] == order
    assert "Job" in cluster.kinds()
    assert "StatefulSet" not in cluster.kinds()


def test_the_api_of_an_earlier_engine_goes_when_nothing_of_it_runs() -> None:
    cluster = serving()
    assert ("Service", "x") in cluster.objects
    cluster.edit(**BATCH)
    cluster.plan = INFER_PLAN
    cluster.settle()
    assert {("Service", "x"), ("NetworkPolicy", "x")}.isdisjoint(cluster.objects)
    assert ("Service", "x-g0") in cluster.objects


def test_a_job_that_someone_changed_is_left_alone() -> None:
    cluster = running()
    cluster.objects["Job", "x-g0"]["metadata"]["managedFields"] = []
    assert told(cluster.step().actions) == []

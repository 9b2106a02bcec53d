"""Decisions as a user sees their effect: what is recorded, what is done, in which order, and what is left alone."""

from __future__ import annotations

import base64
import copy
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from deepseek_operator.api.problems import Problem
from deepseek_operator.catalog.load import load
from deepseek_operator.lifecycle.actions import Apply, CreateOnce, StartGroup, StopGroup
from deepseek_operator.lifecycle.records import ContainerRecord
from tests.unit.engines.plans import launched, plan
from tests.unit.lifecycle.observed import NOW
from tests.unit.lifecycle.pure_cluster import KEYS, PureCluster, serving, told

CRASHED = ContainerRecord(state="terminated", exit_code=1, message="out of memory")


def test_a_new_deployment_gets_what_a_pod_needs_before_the_pod() -> None:
    cluster = PureCluster()
    actions = told(cluster.decide().actions)
    revision = cluster.status["currentRevision"]
    assert actions[0] == f"apply ControllerRevision x-{revision}"
    assert actions[1] == "create Secret x-keys"
    assert actions[-1] == "start x-g0 incarnation 1"
    assert sorted(actions[2:-1]) == [
        "apply NetworkPolicy x",
        "apply NetworkPolicy x-g0",
        "apply PodDisruptionBudget x-g0",
        "apply Service x",
        "apply Service x-g0",
        "create PersistentVolume default.deepseek-v3-0324-fp8",
        "create PersistentVolumeClaim deepseek-v3-0324-fp8",
    ]
    assert (cluster.group()["intent"], cluster.group()["incarnation"]) == ("Run", 1)


def test_the_generated_keys_are_those_of_this_decision() -> None:
    (secret,) = [
        action.manifest
        for action in PureCluster().decide().actions
        if isinstance(action, CreateOnce) and action.manifest["kind"] == "Secret"
    ]
    assert sorted(base64.b64decode(value).decode() for value in secret["data"].values()) == sorted(KEYS)
    assert "x-keys" not in str(told(PureCluster(access={"keys": {"mode": "none"}}).decide().actions))


def test_ranks_over_ssh_get_their_key_pair_before_their_pods(monkeypatch: pytest.MonkeyPatch) -> None:
    release = next(each for each in load().releases if each.engine == "tensorrt-llm")
    cluster = PureCluster(access={"keys": {"mode": "none"}}, engine={"name": "tensorrt-llm"})
    cluster.plan = plan(release=release)
    monkeypatch.setattr("tests.unit.lifecycle.pure_cluster.LAUNCH", launched(cluster.plan, cluster.spec))
    decision = cluster.decide()
    made = told(decision.actions)
    assert made.index("create Secret x-ssh") < made.index("start x-g0 incarnation 1")
    (secret,) = [
        action.manifest
        for action in decision.actions
        if isinstance(action, CreateOnce) and action.manifest["kind"] == "Secret"
    ]
    assert set(secret["data"]) == {"id", "id.pub"}
    private = base64.b64decode(secret["data"]["id"]).decode()
    assert private not in str([action for action in decision.actions if not isinstance(action, CreateOnce)])
    assert private not in str(decision.status)


def test_a_settled_cluster_is_left_alone() -> None:
    cluster = serving(replicas=2)
    before = copy.deepcopy(cluster.status)
    decision = cluster.step()
    assert (decision.actions, decision.events, decision.requeue_seconds) == ((), (), None)
    assert cluster.status == before


@pytest.mark.parametrize("done", range(10))
def test_a_crash_after_any_action_ends_in_the_same_state(done: int) -> None:
    whole = PureCluster()
    whole.step()
    crashed = PureCluster()
    for action in crashed.decide().actions[:done]:
        crashed.carry_out(action)
    crashed.step()
    assert crashed.objects.keys() == whole.objects.keys()
    assert crashed.once.keys() == whole.once.keys()
    assert crashed.group()["incarnation"] == 1


@pytest.mark.parametrize("done", [0, 1])
def test_a_crash_in_the_middle_of_an_incident_still_restarts_once(done: int) -> None:
    cluster = serving()
    cluster.break_rank(1, engine=CRASHED)
    for action in cluster.decide().actions[:done]:
        cluster.carry_out(action)
    cluster.settle()
    assert (cluster.group()["incarnation"], cluster.group()["restarts"]) == (2, 1)
    assert len(cluster.group()["incidents"]) == 1


def test_an_incident_is_on_record_when_the_stop_is_issued() -> None:
    cluster = serving()
    cluster.break_rank(1, engine=CRASHED)
    decision = cluster.decide()
    assert told(decision.actions) == ["stop x-g0"]
    recorded = decision.status["groups"][0]
    assert (recorded["intent"], recorded["incidents"][0]["message"]) == (
        "Stop",
        "The engine of rank 1 ended with exit code 1: out of memory",
    )


def test_the_next_start_is_not_even_tried_while_a_rank_of_the_last_is_terminating() -> None:
    cluster = serving()
    cluster.break_rank(1, engine=CRASHED)
    cluster.step()
    cluster.pods = [found for found in cluster.pods if found.rank == 0]
    cluster.break_rank(0, deleting=True)
    assert cluster.step().actions == ()
    assert cluster.group()["stage"] == "Draining"
    cluster.controllers()
    decision = cluster.step()
    assert told(decision.actions) == ["create Secret x-keys", *_weights(), "start x-g0 incarnation 2"]


def _weights() -> list[str]:
    return [
        "create PersistentVolume default.deepseek-v3-0324-fp8",
        "create PersistentVolumeClaim deepseek-v3-0324-fp8",
    ]


def test_a_pod_of_the_last_incarnation_that_shows_up_late_holds_the_start_back() -> None:
    cluster = serving()
    late = cluster.pods[1]
    cluster.break_rank(1, engine=CRASHED)
    cluster.step()
    cluster.controllers()
    assert any(isinstance(action, StartGroup) for action in cluster.decide().actions)
    cluster.pods = [late]
    assert not any(isinstance(action, StartGroup) for action in cluster.decide().actions)
    assert cluster.group()["message"] == "waiting for 1 pods of an earlier incarnation"
    cluster.pods = []
    assert any(isinstance(action, StartGroup) for action in cluster.decide().actions)


def test_a_start_names_the_stateful_set_it_was_decided_for_and_how_to_find_its_pods() -> None:
    cluster = serving()
    uid = cluster.objects["StatefulSet", "x-g0"]["metadata"]["uid"]
    cluster.break_rank(0, engine=CRASHED)
    cluster.step()
    cluster.controllers()
    (start,) = [action for action in cluster.decide().actions if isinstance(action, StartGroup)]
    assert start.uid == uid
    assert "serving.deepseek-operator.io/uid=cr" in start.pod_selector.split(",")
    assert "serving.deepseek-operator.io/group=0" in start.pod_selector.split(",")
    labels = start.manifest["spec"]["template"]["metadata"]["labels"]
    assert labels["serving.deepseek-operator.io/incarnation"] == "2"


def test_repeated_failures_wait_and_ask_to_be_woken() -> None:
    cluster = serving()
    for _ in range(2):
        cluster.break_rank(1, engine=CRASHED)
        cluster.step()
        cluster.controllers()
        decision = cluster.step()
        cluster.controllers()
    assert cluster.group()["stage"] == "BackingOff"
    assert decision.requeue_seconds is not None
    assert 10 <= decision.requeue_seconds <= 13
    assert not cluster.pods
    cluster.now = NOW + timedelta(seconds=decision.requeue_seconds)
    cluster.settle()
    assert cluster.group()["incarnation"] == 3


def test_a_changed_claim_template_replaces_the_stateful_set_at_zero() -> None:
    cluster = serving()
    old = cluster.objects["StatefulSet", "x-g0"]
    old["metadata"]["annotations"]["serving.deepseek-operator.io/immutable-hash"] = "another"
    cluster.break_rank(1, engine=CRASHED)
    cluster.step()
    cluster.controllers()
    assert told(cluster.step().actions)[-1] == "delete StatefulSet x-g0"
    assert told(cluster.step().actions)[-1] == "start x-g0 incarnation 2"
    assert cluster.objects["StatefulSet", "x-g0"]["metadata"]["uid"] != old["metadata"]["uid"]


def test_scale_down_stops_first_and_deletes_once_nothing_runs() -> None:
    cluster = serving(replicas=2)
    cluster.edit(replicas=1)
    assert told(cluster.step().actions) == ["stop x-g1"]
    assert told(cluster.step().actions) == []
    cluster.controllers()
    assert told(cluster.step().actions) == [
        "delete StatefulSet x-g1",
        "delete PodDisruptionBudget x-g1",
        "delete NetworkPolicy x-g1",
        "delete Service x-g1",
    ]
    cluster.step()
    assert [group["index"] for group in cluster.status["groups"]] == [0]


def test_scale_up_leaves_the_serving_group_alone() -> None:
    cluster = serving()
    cluster.edit(replicas=2)
    assert not any("x-g0" in line for line in told(cluster.step().actions))
    cluster.settle()
    assert cluster.status["readyReplicas"] == 2


def test_suspend_stops_and_resume_starts_the_next_incarnation() -> None:
    cluster = serving()
    cluster.edit(suspend=True)
    cluster.settle()
    assert (cluster.pods, cluster.group()["stage"]) == ([], "Suspended")
    assert ("Service", "x") in cluster.objects
    cluster.edit()
    cluster.settle()
    assert (cluster.group()["stage"], cluster.group()["incarnation"]) == ("Serving", 2)


def test_only_a_terminating_pod_of_a_dead_node_is_deleted_without_grace() -> None:
    cluster = serving()
    cluster.dead_nodes = frozenset({"node-1"})
    assert told(cluster.step().actions) == ["stop x-g0"]
    cluster.break_rank(0, deleting=True)
    cluster.break_rank(1, deleting=True)
    assert told(cluster.step().actions) == ["force x-g0-1"]


def test_what_somebody_changed_is_applied_again_with_its_uid_and_the_reason() -> None:
    cluster = serving()
    body = cluster.objects["PodDisruptionBudget", "x-g0"]
    del body["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]["f:maxUnavailable"]
    (action,) = cluster.decide().actions
    assert isinstance(action, Apply)
    assert (action.uid, action.why) == (
        body["metadata"]["uid"],
        "spec.maxUnavailable was changed by someone else",
    )


@pytest.mark.parametrize("child", [("Service", "x-g0"), ("NetworkPolicy", "x"), ("PodDisruptionBudget", "x-g0")])
def test_a_deleted_child_comes_back(child: tuple[str, str]) -> None:
    cluster = serving()
    del cluster.objects[child]
    assert told(cluster.step().actions) == [f"apply {child[0]} {child[1]}"]


def test_two_changed_groups_are_replaced_one_after_the_other() -> None:
    cluster = serving(replicas=2)
    cluster.edit(replicas=2, servedName="other")
    fewest = 2
    for _ in range(20):
        cluster.step()
        cluster.controllers()
        fewest = min(fewest, cluster.status["readyReplicas"])
    assert fewest == 1
    assert cluster.condition("Ready")["status"] == "True"
    assert {group["revision"] for group in cluster.status["groups"]} == {cluster.status["currentRevision"]}


def test_eleven_edits_leave_ten_revisions() -> None:
    cluster = serving()
    for number in range(11):
        cluster.edit(servedName=f"name-{number}")
        cluster.settle()
    assert cluster.kinds().count("ControllerRevision") == 10
    assert ("ControllerRevision", f"x-{cluster.status['currentRevision']}") in cluster.objects


def test_a_revision_planned_anew_replaces_the_stored_one() -> None:
    cluster = serving(rollout={"warmUpSeconds": 0})
    (revision,) = [key for key in cluster.objects if key[0] == "ControllerRevision"]
    cluster.plan = replace(cluster.plan, engine=replace(cluster.plan.engine, image="registry.example/newer"))
    actions = told(cluster.step().actions)
    assert actions[:3] == [
        "stop x-g0",
        f"delete ControllerRevision {revision[1]}",
        f"apply ControllerRevision {revision[1]}",
    ]


REFUSALS: dict[str, Callable[[PureCluster], None]] = {
    "nothing fits": lambda cluster: cluster.refuse(),
    "the cluster has no such nodes now": lambda cluster: cluster.refuse(waits_for_cluster=True),
    "the spec cannot be read": lambda cluster: setattr(
        cluster, "invalid", (Problem(field="spec.x", reason="InvalidField", message="no"),)
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_refused_edit_leaves_the_serving_groups_alone_and_still_heals_them(case: str) -> None:
    cluster = serving(replicas=2)
    REFUSALS[case](cluster)
    assert cluster.step().actions == ()
    assert (cluster.status["readyReplicas"], cluster.condition("Available")["status"]) == (2, "True")
    del cluster.objects["Service", "x-g0"]
    assert told(cluster.step().actions) == ["apply Service x-g0"]


@pytest.mark.parametrize("case", REFUSALS)
def test_a_group_that_fails_under_a_refused_edit_starts_again_as_it_was(case: str) -> None:
    cluster = serving()
    revision = cluster.group()["revision"]
    REFUSALS[case](cluster)
    cluster.break_rank(1, engine=CRASHED)
    cluster.settle()
    assert (cluster.group()["stage"], cluster.group()["revision"]) == ("Serving", revision)
    assert cluster.group()["incarnation"] == 2


def test_groups_survive_when_status_was_lost_and_the_spec_cannot_be_read() -> None:
    cluster = serving(replicas=2)
    cluster.status = {}
    REFUSALS["the spec cannot be read"](cluster)
    assert cluster.step().actions == ()
    assert [group["intent"] for group in cluster.status["groups"]] == ["Run", "Run"]


def test_an_edit_to_something_valid_ends_the_complaint() -> None:
    cluster = serving()
    cluster.refuse()
    cluster.step()
    assert cluster.condition("Stalled")["status"] == "True"
    cluster.edit()
    cluster.step()
    assert cluster.condition("Stalled")["status"] == "False"
    assert cluster.group()["incarnation"] == 1


def test_a_taken_name_is_told_with_its_kind_and_the_remedy() -> None:
    cluster = PureCluster()
    cluster.name_taken = ("Service", "x")
    cluster.decide()
    stalled = cluster.condition("Stalled")
    assert (stalled["status"], stalled["reason"]) == ("True", "NameTaken")
    assert stalled["message"].startswith("Service x exists and is not ours: delete or rename it")


def test_stops_come_before_everything_that_may_fail() -> None:
    cluster = serving(replicas=2)
    del cluster.objects["Service", "x"]
    del cluster.objects["NetworkPolicy", "x-g0"]
    cluster.break_rank(0, group=1, engine=CRASHED)
    actions = told(cluster.decide().actions)
    assert actions[0] == "stop x-g1"
    assert sorted(actions[1:]) == ["apply NetworkPolicy x-g0", "apply Service x"]


def test_a_stop_names_the_incarnation_and_a_start_the_version_that_was_judged() -> None:
    cluster = serving()
    cluster.break_rank(1, engine=CRASHED)
    (stop,) = [action for action in cluster.step().actions if isinstance(action, StopGroup)]
    assert stop.incarnation == 1
    cluster.controllers()
    version = int(cluster.objects["StatefulSet", "x-g0"]["metadata"]["resourceVersion"])
    (start,) = [action for action in cluster.decide().actions if isinstance(action, StartGroup)]
    assert (start.resource_version, start.group) == (version, 0)


def test_a_spec_that_cannot_be_read_does_not_wake_a_suspended_group() -> None:
    cluster = serving()
    cluster.edit(suspend=True)
    cluster.settle()
    REFUSALS["the spec cannot be read"](cluster)
    cluster.settle()
    assert (cluster.group()["intent"], cluster.group()["stage"], cluster.pods) == ("Stop", "Suspended", [])


def test_keys_that_were_deleted_before_the_engines_started_are_made_again() -> None:
    cluster = PureCluster()
    cluster.step()
    cluster.controllers()
    waiting = ContainerRecord(state="waiting", reason="CreateContainerConfigError")
    cluster.break_rank(0, ready=False, engine=waiting)
    cluster.break_rank(1, ready=False, engine=waiting)
    assert "create Secret x-keys" in told(cluster.step().actions)
    assert cluster.group()["incarnation"] == 1

"""Decisions about what nobody expected: groups that failed or came back meanwhile, and what was left behind."""

from __future__ import annotations

from deepseek_operator.lifecycle.actions import StartGroup
from tests.unit.lifecycle.pure_cluster import PureCluster, serving, told
from tests.unit.lifecycle.pure_controllers import stateful_sets


def test_pods_that_their_stateful_set_left_behind_are_deleted_and_the_group_starts_anew() -> None:
    cluster = serving()
    del cluster.objects["StatefulSet", "x-g0"]
    assert told(cluster.step().actions) == ["delete x-g0-0", "delete x-g0-1"]
    assert cluster.group()["incidents"][0]["reason"] == "StatefulSetDeleted"
    cluster.settle()
    assert (cluster.group()["stage"], cluster.group()["incarnation"]) == ("Serving", 2)


def test_an_orphan_that_is_ending_is_left_to_its_grace() -> None:
    cluster = serving()
    del cluster.objects["StatefulSet", "x-g0"]
    cluster.break_rank(0, deleting=True)
    assert told(cluster.step().actions) == ["delete x-g0-1"]


def test_an_exchange_does_not_count_on_a_group_that_failed_since_status_was_written() -> None:
    cluster = serving(replicas=3)
    cluster.edit(replicas=3, servedName="other")
    cluster.break_rank(1, group=1, ready=False)
    assert told(cluster.step().actions) == [
        "stop x-g1",
        f"apply ControllerRevision x-{cluster.status['currentRevision']}",
    ]


def test_a_group_that_came_to_serve_since_status_was_written_is_not_exchanged_as_an_idle_one() -> None:
    cluster = serving(replicas=2)
    cluster.break_rank(1, group=1, ready=False)
    cluster.step()
    assert cluster.status["readyReplicas"] == 1
    cluster.break_rank(1, group=1, ready=True)
    cluster.edit(replicas=2, servedName="other")
    assert [line for line in told(cluster.step().actions) if line.startswith("stop")] == ["stop x-g0"]


def test_a_deployment_that_was_paused_before_it_was_ever_looked_at_is_left_alone() -> None:
    cluster = PureCluster()
    cluster.paused = True
    decision = cluster.step()
    assert (decision.actions, decision.events, cluster.objects) == ((), (), {})
    assert cluster.condition("Reconciling")["reason"] == "Paused"


def test_what_a_group_left_behind_goes_when_status_was_lost_before_it_had_a_stateful_set() -> None:
    cluster = PureCluster(replicas=2)
    for action in cluster.decide().actions:
        if not isinstance(action, StartGroup):
            cluster.carry_out(action)
    cluster.status = {}
    cluster.edit(replicas=1)
    assert sorted(line for line in told(cluster.step().actions) if line.startswith("delete")) == [
        "delete NetworkPolicy x-g1",
        "delete PodDisruptionBudget x-g1",
        "delete Service x-g1",
    ]
    assert ("Service", "x-g0") in cluster.objects


def test_pods_that_nothing_tells_of_any_more_end() -> None:
    cluster = serving(replicas=2)
    del cluster.objects["StatefulSet", "x-g1"]
    cluster.status = {}
    cluster.edit(replicas=1)
    assert [line for line in told(cluster.step().actions) if "x-g1-" in line] == ["delete x-g1-0", "delete x-g1-1"]
    cluster.settle()
    assert {pod.group for pod in cluster.pods} == {0}
    assert not [key for key in cluster.objects if key[1].startswith("x-g1")]


def test_a_rank_too_many_is_taken_back_and_the_group_serves_on() -> None:
    cluster = serving()
    cluster.scale("x-g0", 3)
    del cluster.objects["StatefulSet", "x-g0"]["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]["f:replicas"]
    cluster.controllers()
    assert told(cluster.step().actions) == ["apply StatefulSet x-g0"]
    stateful_sets(cluster)
    assert [pod.rank for pod in cluster.pods if pod.deleting] == [2]
    assert cluster.step().actions == ()
    cluster.settle()
    assert (cluster.group()["incarnation"], cluster.group().get("incidents")) == (1, None)
    assert sorted(pod.rank for pod in cluster.pods) == [0, 1]

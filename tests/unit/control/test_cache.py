"""The cache: newest wins, each change names whom it concerns, and labels that others forge change nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from deepseek_operator.api import names
from deepseek_operator.control import kinds
from deepseek_operator.control.cache import Cache
from deepseek_operator.lifecycle.nodes import dead_nodes
from deepseek_operator.lifecycle.records import Snapshot
from tests.unit.control import bodies

KEY = ("default", "x")


@pytest.fixture
def cache() -> Cache:
    cache = Cache()
    assert cache.put(kinds.DEPLOYMENT, bodies.deployment()) == {KEY}
    return cache


def seen(cache: Cache) -> Snapshot:
    deployment = cache.deployment(KEY)
    assert deployment is not None
    return cache.snapshot(deployment)


def test_an_older_event_never_overwrites_a_newer_answer(cache: Cache) -> None:
    answer = bodies.deployment(version=7, status={"replicas": 1})
    assert cache.put(kinds.DEPLOYMENT, answer) == {KEY}
    assert cache.put(kinds.DEPLOYMENT, bodies.deployment(version=6)) == set()
    found = cache.deployment(KEY)
    assert found is not None
    assert found.status == {"replicas": 1}


def test_the_same_version_again_wakes_nobody(cache: Cache) -> None:
    assert cache.put(kinds.SERVICE, bodies.service(version=5)) == {KEY}
    assert cache.put(kinds.SERVICE, bodies.service(version=5)) == set()


def test_versions_are_compared_as_numbers(cache: Cache) -> None:
    cache.put(kinds.SERVICE, bodies.service(version=9))
    assert cache.put(kinds.SERVICE, bodies.service(version=10)) == {KEY}


def test_a_namesake_made_anew_is_another_object(cache: Cache) -> None:
    cache.put(kinds.SERVICE, bodies.service(version=50, uid="old"))
    cache.put(kinds.SERVICE, bodies.service(version=51, uid="new"))
    cache.forget(kinds.SERVICE, "old")
    assert seen(cache).children["Service", "x"].uid == "new"


def test_children_are_found_by_kind_and_group(cache: Cache) -> None:
    cache.put(kinds.STATEFUL_SET, bodies.stateful_set(group=3))
    cache.put(kinds.REVISION, bodies.revision(number=4))
    cache.put(kinds.SERVICE, bodies.service())
    snapshot = seen(cache)
    assert list(snapshot.workloads) == [3]
    assert snapshot.revisions["r4"].number == 4
    assert sorted(snapshot.children) == [("ControllerRevision", "x-r4"), ("Service", "x"), ("StatefulSet", "x-g3")]
    assert cache.child("cr", ("Service", "x")) == snapshot.children["Service", "x"]


def test_pods_are_in_order_of_rank_within_their_group(cache: Cache) -> None:
    for rank in (10, 2, 0):
        cache.put(kinds.POD, bodies.pod(rank))
    cache.put(kinds.POD, bodies.pod(0, group=1))
    pods = seen(cache).pods
    assert {group: [pod.rank for pod in found] for group, found in pods.items()} == {0: [0, 2, 10], 1: [0]}


def test_what_is_removed_is_gone_and_wakes_its_owner_once(cache: Cache) -> None:
    cache.put(kinds.POD, bodies.pod())
    cache.put(kinds.SERVICE, bodies.service())
    for kind, body in ((kinds.POD, bodies.pod(version=9)), (kinds.SERVICE, bodies.service(version=9))):
        assert cache.remove(kind, body) == {KEY}
        assert cache.remove(kind, body) == set()
    assert (seen(cache).pods, seen(cache).children) == ({}, {})


def test_a_deleted_deployment_is_not_worked_on_and_its_namesake_is(cache: Cache) -> None:
    cache.put(kinds.DEPLOYMENT, bodies.deployment(version=8, uid="second"))
    cache.remove(kinds.DEPLOYMENT, bodies.deployment(version=9))
    found = cache.deployment(KEY)
    assert found is not None
    assert found.uid == "second"
    cache.remove(kinds.DEPLOYMENT, bodies.deployment(version=10, uid="second"))
    assert (cache.deployment(KEY), list(cache.keys)) == (None, [])


def test_a_child_that_comes_before_its_deployment_is_there_when_it_comes() -> None:
    cache = Cache()
    assert cache.put(kinds.POD, bodies.pod()) == set()
    cache.put(kinds.DEPLOYMENT, bodies.deployment())
    assert len(seen(cache).pods[0]) == 1


def test_an_object_labelled_as_ours_but_owned_by_somebody_else_is_not_ours(cache: Cache) -> None:
    assert cache.put(kinds.SERVICE, bodies.service(owner="somebody")) == set()
    assert seen(cache).children == {}


def test_a_child_that_lost_its_owner_is_missed_and_its_owner_told(cache: Cache) -> None:
    cache.put(kinds.SERVICE, bodies.service())
    assert cache.put(kinds.SERVICE, bodies.service(version=2, owner="somebody")) == {KEY}
    assert seen(cache).children == {}
    assert cache.put(kinds.SERVICE, bodies.service(version=3, owner="somebody")) == set()


@pytest.mark.parametrize("label", ["another", ""], ids=["relabelled", "label removed"])
def test_a_child_whose_label_was_changed_is_missed_and_its_owner_told(cache: Cache, label: str) -> None:
    cache.put(kinds.SERVICE, bodies.service())
    assert cache.put(kinds.SERVICE, bodies.service(version=2, label=label)) == {KEY}
    assert seen(cache).children == {}
    assert cache.put(kinds.SERVICE, bodies.service(version=3)) == {KEY}
    assert list(seen(cache).children) == [("Service", "x")]


def test_a_pod_whose_label_was_changed_leaves_its_group_and_the_group_is_told(cache: Cache) -> None:
    cache.put(kinds.POD, bodies.pod())
    assert cache.put(kinds.POD, bodies.pod(version=2, label="another")) == {KEY}
    assert seen(cache).pods == {}


def test_a_forged_label_puts_no_child_under_another_deployment(cache: Cache) -> None:
    other = bodies.deployment(uid="other")
    other["metadata"]["name"] = "other"
    cache.put(kinds.DEPLOYMENT, other)
    cache.put(kinds.SERVICE, bodies.service(label="other"))
    found = cache.deployment(("default", "other"))
    assert found is not None
    assert cache.snapshot(found).children == {}


def test_a_node_that_planning_sees_changed_concerns_everybody(cache: Cache) -> None:
    assert cache.put(kinds.NODE, bodies.node()) == {KEY}
    version = cache.nodes_version
    heartbeat = bodies.node(version=2)
    heartbeat["status"]["conditions"][0]["lastHeartbeatTime"] = "2026-01-01T12:00:00Z"
    assert cache.put(kinds.NODE, heartbeat) == set()
    assert cache.nodes_version == version
    assert cache.put(kinds.NODE, bodies.node(version=3, spec={"unschedulable": True})) == {KEY}
    assert cache.nodes_version == version + 1


def dead(cache: Cache) -> frozenset[str]:
    found = seen(cache)
    names = {pod.node for pods in found.pods.values() for pod in pods}
    return dead_nodes(names, found.nodes, lost_after=180, now=datetime(2026, 1, 1, tzinfo=UTC))


def test_a_node_is_dead_when_it_is_gone_or_out_of_service(cache: Cache) -> None:
    cache.put(kinds.POD, bodies.pod())
    cache.put(kinds.NODE, bodies.node())
    assert dead(cache) == frozenset()
    taint: dict[str, Any] = {"taints": [{"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"}]}
    cache.put(kinds.NODE, bodies.node(version=2, spec=taint))
    assert dead(cache) == {"node-0"}
    cache.put(kinds.NODE, bodies.node(version=3))
    assert dead(cache) == frozenset()
    assert cache.remove(kinds.NODE, bodies.node(version=4)) == {KEY}
    assert dead(cache) == {"node-0"}


def test_a_pod_without_a_node_has_no_dead_node(cache: Cache) -> None:
    cache.put(kinds.POD, bodies.pod(node=""))
    assert dead(cache) == frozenset()


def test_a_node_made_anew_under_its_name_survives_the_late_farewell_to_the_old_one(cache: Cache) -> None:
    cache.put(kinds.POD, bodies.pod())
    cache.put(kinds.NODE, bodies.node(uid="old"))
    cache.put(kinds.NODE, bodies.node(uid="new", version=9))
    cache.forget(kinds.NODE, "old")
    assert dead(cache) == frozenset()
    assert list(cache.nodes) == ["node-0"]
    cache.forget(kinds.NODE, "new")
    assert dead(cache) == {"node-0"}


def test_the_cache_tells_what_it_knows_for_the_verify_loop(cache: Cache) -> None:
    cache.put(kinds.SERVICE, bodies.service(version=5))
    assert dict(cache.uids(kinds.SERVICE)) == {"svc": 5}
    assert [cache.knows(kinds.SERVICE, "svc", version) for version in (4, 5, 6)] == [True, True, False]
    assert not cache.knows(kinds.POD, "svc", 1)


GARBAGE = {
    "a pod that is not of a StatefulSet": (kinds.POD, "name", "just-a-pod"),
    "a group that is no number": (kinds.POD, names.GROUP_LABEL, "first"),
    "an incarnation that is no number": (kinds.POD, names.INCARNATION_LABEL, "v2"),
    "a rank that is no number": (kinds.POD, names.POD_INDEX_LABEL, "zero"),
}


@pytest.mark.parametrize("case", GARBAGE)
def test_labels_that_anybody_may_write_never_stop_the_operator(cache: Cache, case: str) -> None:
    kind, field, value = GARBAGE[case]
    body = bodies.pod()
    target = body["metadata"] if field == "name" else body["metadata"]["labels"]
    if field == "name":
        del body["metadata"]["labels"][names.POD_INDEX_LABEL]
    target[field] = value
    cache.put(kind, body)
    cache.put(kind, bodies.pod(1))
    assert [pod.rank for pod in seen(cache).pods[0] if pod.name == "x-g0-1"] == [1]


def test_a_stateful_set_whose_labels_were_spoilt_is_still_its_groups(cache: Cache) -> None:
    body = bodies.stateful_set(group=2)
    body["metadata"]["labels"][names.GROUP_LABEL] = "spoilt"
    body["spec"]["template"]["metadata"]["labels"][names.INCARNATION_LABEL] = "spoilt"
    cache.put(kinds.STATEFUL_SET, body)
    assert list(seen(cache).workloads) == [2]
    assert seen(cache).workloads[2].incarnation == 0


@pytest.mark.parametrize("late", [3, 8], ids=["older than known", "newer than known"])
def test_what_was_deleted_stays_deleted_whatever_arrives_late(cache: Cache, late: int) -> None:
    cache.put(kinds.POD, bodies.pod(version=5))
    assert cache.remove(kinds.POD, bodies.pod(version=9)) == {KEY}
    assert cache.put(kinds.POD, bodies.pod(version=late)) == set()
    assert seen(cache).pods == {}


def test_an_older_farewell_takes_nothing_back_from_a_newer_one(cache: Cache) -> None:
    cache.put(kinds.POD, bodies.pod(version=5))
    cache.remove(kinds.POD, bodies.pod(version=9))
    cache.remove(kinds.POD, bodies.pod(version=6))
    assert cache.put(kinds.POD, bodies.pod(version=8)) == set()
    assert seen(cache).pods == {}


def test_what_left_our_sight_and_came_back_is_seen_again(cache: Cache) -> None:
    cache.put(kinds.POD, bodies.pod(version=5))
    cache.remove(kinds.POD, bodies.pod(version=6))
    assert cache.put(kinds.POD, bodies.pod(version=7)) == {KEY}
    assert len(seen(cache).pods[0]) == 1


def test_a_deployment_that_is_deleted_is_told_of_and_stays_deleted(cache: Cache) -> None:
    assert cache.remove(kinds.DEPLOYMENT, bodies.deployment(version=9)) == {KEY}
    assert cache.put(kinds.DEPLOYMENT, bodies.deployment(version=8)) == set()
    assert list(cache.keys) == []


def test_a_thousand_deployments_that_came_and_went_leave_nothing_but_their_ends() -> None:
    cache = Cache()
    for number in range(1000):
        cache.put(kinds.DEPLOYMENT, bodies.deployment(uid=f"cr-{number}"))
        pod = bodies.pod(label=f"cr-{number}")
        pod["metadata"]["uid"] = f"pod-{number}"
        cache.put(kinds.POD, pod)
        farewells = [(kinds.POD, f"pod-{number}"), (kinds.DEPLOYMENT, f"cr-{number}")]
        for kind, uid in farewells if number % 2 else reversed(farewells):
            cache.forget(kind, uid)
    assert (len(cache._pods), len(cache._versions), len(cache._keys)) == (0, 0, 0)  # noqa: SLF001 - memory is the point


def foreign_namespace() -> dict[str, Any]:
    body = bodies.pod()
    body["metadata"] |= {"namespace": "attacker", "uid": "evil"}
    return body


def debug_copy() -> dict[str, Any]:
    """What ``kubectl debug --copy-to --keep-labels`` makes."""
    body = bodies.pod()
    body["metadata"] |= {"name": "x-g0-0-debug", "uid": "copy"}
    del body["metadata"]["ownerReferences"]
    return body


def of_a_job() -> dict[str, Any]:
    body = bodies.pod()
    body["metadata"] |= {"uid": "job"}
    body["metadata"]["ownerReferences"][0] |= {"kind": "Job"}
    return body


def of_a_namesake() -> dict[str, Any]:
    body = bodies.pod()
    body["metadata"] |= {"name": "y-g0-0", "uid": "other"}
    body["metadata"]["ownerReferences"][0] |= {"name": "y-g0"}
    return body


@pytest.mark.parametrize("stranger", [foreign_namespace, debug_copy, of_a_job, of_a_namesake])
def test_a_pod_that_only_wears_our_labels_is_not_ours(cache: Cache, stranger: Callable[[], dict[str, Any]]) -> None:
    cache.put(kinds.POD, bodies.pod(1))
    cache.put(kinds.POD, stranger())
    assert [pod.name for pods in seen(cache).pods.values() for pod in pods] == ["x-g0-1"]


def test_an_orphaned_pod_is_still_its_groups(cache: Cache) -> None:
    body = bodies.pod()
    del body["metadata"]["ownerReferences"]
    cache.put(kinds.POD, body)
    assert [pod.name for pod in seen(cache).pods[0]] == ["x-g0-0"]


def test_a_child_in_another_namespace_is_not_ours(cache: Cache) -> None:
    body = bodies.service()
    body["metadata"]["namespace"] = "attacker"
    cache.put(kinds.SERVICE, body)
    assert seen(cache).children == {}

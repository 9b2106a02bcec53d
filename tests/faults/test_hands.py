"""What people and other programs do to the operator's objects, on purpose or not."""

from __future__ import annotations

import json
import signal
from functools import partial

import pytest

from tests.faults.conftest import StartOperator
from tests.faults.test_requests import PATIENCE
from tests.world import GROUP, Operator, World, eventually

MANAGED_BY = "app.kubernetes.io/managed-by"


@pytest.fixture
def serving(world: World, operator: Operator) -> set[str]:
    """One group serves; the UIDs of its pods."""
    world.apply()
    world.wait_ready(seconds=PATIENCE)
    return uids(world)


def uids(world: World) -> set[str]:
    return {pod["metadata"]["uid"] for pod in world.items("pods")}


def wipe_status(world: World) -> None:
    world.kubectl(
        "-n", world.namespace, "patch", "dsd", "x", "--subresource=status", "--type=merge", "-p", '{"status":null}'
    )


def remembers(world: World) -> bool:
    return bool(world.deployment().get("status", {}).get("groups"))


def test_a_wiped_status_is_written_anew_and_a_serving_group_is_left_alone(world: World, serving: set[str]) -> None:
    wipe_status(world)
    eventually(lambda: remembers(world), seconds=PATIENCE, what="status is back")
    world.wait_ready(seconds=PATIENCE)
    assert uids(world) == serving


def test_a_status_wiped_while_no_operator_runs_is_written_anew(
    world: World, serving: set[str], operator: Operator
) -> None:
    operator.stop()
    wipe_status(world)
    operator.start()
    eventually(lambda: remembers(world), seconds=PATIENCE, what="status is back")
    world.wait_ready(seconds=PATIENCE)
    assert uids(world) == serving


def test_a_group_that_did_not_serve_when_status_was_wiped_is_restarted_once(world: World, operator: Operator) -> None:
    world.apply(podTemplate={"annotations": {"kwok.e2e/ready": "false"}})
    eventually(lambda: len(world.pods()) == 2, seconds=PATIENCE, what="the group starts")
    operator.stop()
    wipe_status(world)
    operator.start()
    eventually(lambda: world.incarnations() == {"2"}, seconds=PATIENCE, what="incarnation 2")
    eventually(lambda: len(world.pods()) == 2, seconds=PATIENCE, what="both ranks")
    assert world.deployment()["status"]["groups"][0]["incidents"][0]["reason"] == "StatusLost"


def test_deleted_revisions_are_stored_again_and_a_serving_group_is_left_alone(world: World, serving: set[str]) -> None:
    stored = {item["metadata"]["name"] for item in world.items("controllerrevision", f"{GROUP}/revision-of")}
    world.kubectl("-n", world.namespace, "delete", "controllerrevision", "-l", f"{GROUP}/revision-of")

    def again() -> bool:
        found = world.items("controllerrevision", f"{GROUP}/revision-of")
        return {item["metadata"]["name"] for item in found} == stored

    eventually(again, seconds=PATIENCE, what="the revision is stored again")
    world.wait_ready(seconds=PATIENCE)
    assert uids(world) == serving


def exists(world: World, kind: str, name: str) -> bool:
    return any(item["metadata"]["name"] == name for item in world.items(kind))


def labelled(world: World, kind: str, name: str, label: str) -> bool:
    return label in world.get(kind, name)["metadata"].get("labels", {})


def test_children_deleted_by_hand_are_made_again_without_touching_pods(world: World, serving: set[str]) -> None:
    kinds = ("svc", "netpol", "pdb")
    for kind in kinds:
        world.kubectl("-n", world.namespace, "delete", kind, "x-g0")
    for kind in kinds:
        eventually(partial(exists, world, kind, "x-g0"), seconds=PATIENCE, what=f"{kind} x-g0 is back")
    assert uids(world) == serving


@pytest.mark.parametrize("label", [MANAGED_BY, f"{GROUP}/uid"])
def test_stolen_labels_are_put_back_without_touching_pods(world: World, serving: set[str], label: str) -> None:
    objects = [("svc", "x"), ("svc", "x-g0"), ("netpol", "x-g0"), ("pdb", "x-g0"), ("sts", "x-g0")]
    for kind, name in objects:
        world.kubectl("-n", world.namespace, "label", kind, name, f"{label}-")
    for kind, name in objects:
        eventually(partial(labelled, world, kind, name, label), seconds=PATIENCE, what=f"{label} of {kind} {name}")
    world.wait_ready(seconds=PATIENCE)
    assert uids(world) == serving


def test_a_pod_that_lost_its_label_costs_one_restart_and_no_more(world: World, serving: set[str]) -> None:
    world.kubectl("-n", world.namespace, "label", "pod", "x-g0-1", f"{MANAGED_BY}-")
    eventually(lambda: world.incarnations() == {"2"}, seconds=PATIENCE, what="incarnation 2")
    world.wait_ready(seconds=PATIENCE)
    assert not uids(world) & serving


def test_a_stateful_set_edited_by_hand_is_put_right_without_touching_pods(world: World, serving: set[str]) -> None:
    def essence() -> str:
        live = world.get("sts", "x-g0")
        return json.dumps([live["spec"], live["metadata"]["annotations"]], sort_keys=True)

    before = essence()
    for patch in (
        {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 1}}}},
        {"spec": {"template": {"metadata": {"labels": {f"{GROUP}/revision": "stolen"}}}}},
        {"metadata": {"annotations": {f"{GROUP}/desired-hash": "stolen"}}},
    ):
        world.patch("sts", "x-g0", patch)
        eventually(lambda: essence() == before, seconds=PATIENCE, what=f"mended after {patch}")
    assert uids(world) == serving


def test_a_group_scaled_by_hand_serves_again_with_all_its_ranks(world: World, serving: set[str]) -> None:
    def whole() -> bool:
        return world.get("sts", "x-g0")["spec"]["replicas"] == 2 and len(uids(world)) == 2

    for replicas in (3, 1, 0):
        world.kubectl("-n", world.namespace, "scale", "sts/x-g0", f"--replicas={replicas}")
        eventually(whole, seconds=PATIENCE, what=f"two ranks after {replicas}")
        world.wait_ready(seconds=PATIENCE)
        assert len(world.incarnations()) == 1


@pytest.mark.parametrize("cascade", ["background", "orphan"])
def test_a_stateful_set_deleted_by_hand_comes_back(world: World, serving: set[str], cascade: str) -> None:
    uid = world.get("sts", "x-g0")["metadata"]["uid"]
    world.kubectl("-n", world.namespace, "delete", "sts", "x-g0", f"--cascade={cascade}", "--wait=false")

    def back() -> bool:
        found = [item for item in world.items("sts") if item["metadata"]["uid"] != uid]
        return bool(found) and world.condition("Ready").get("status") == "True"

    eventually(back, seconds=PATIENCE, what="x-g0 is back and serves")
    assert len(world.incarnations()) == 1


def test_a_foreign_stateful_set_of_a_groups_name_is_refused_and_never_touched(world: World, operator: Operator) -> None:
    foreign = {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "x-g0", "labels": {MANAGED_BY: "deepseek-operator", f"{GROUP}/group": "0"}},
        "spec": {
            "replicas": 1,
            "serviceName": "theirs",
            "selector": {"matchLabels": {"app": "theirs"}},
            "template": {
                "metadata": {"labels": {"app": "theirs"}},
                "spec": {"containers": [{"name": "theirs", "image": "theirs"}]},
            },
        },
    }
    world.kubectl.apply(foreign, namespace=world.namespace)
    eventually(lambda: len(uids(world)) == 1, seconds=PATIENCE, what="their pod")
    before, pods = world.get("sts", "x-g0")["spec"], uids(world)
    world.apply()
    stalled = eventually(
        lambda: (c := world.condition("Stalled")).get("status") == "True" and c, seconds=PATIENCE, what="Stalled"
    )
    assert stalled["reason"] == "NameTaken"
    assert "StatefulSet x-g0" in stalled["message"]
    assert world.get("sts", "x-g0")["spec"] == before
    assert uids(world) == pods
    world.kubectl("-n", world.namespace, "delete", "dsd", "x")
    eventually(lambda: not world.items("svc"), seconds=PATIENCE, what="ours is gone")
    assert uids(world) == pods


def test_a_deleted_deployment_of_the_same_name_leaves_its_successor_alone(
    world: World, serving: set[str], start: StartOperator, operator: Operator
) -> None:
    operator.stop(signal.SIGKILL)
    world.kubectl("-n", world.namespace, "delete", "dsd", "x", "--wait=true")
    world.apply(servedName="successor")
    world.kubectl("-n", world.namespace, "delete", "lease", "deepseek-operator")
    operator.start()
    world.wait_ready(seconds=PATIENCE)
    uid = world.deployment()["metadata"]["uid"]
    assert {pod["metadata"]["labels"][f"{GROUP}/uid"] for pod in world.items("pods")} == {uid}
    assert not uids(world) & serving

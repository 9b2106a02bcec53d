"""A changed image is on the nodes before a serving group is stopped, as users of a real API server see it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.conftest import Operator, World, eventually

pytestmark = pytest.mark.usefixtures("operator", "h100")

OLD = "registry.example/sglang:one"
NEW = "registry.example/sglang:two"
MISSING = "registry.example/sglang:missing"


def image(tag: str) -> dict[str, Any]:
    return {"engine": {"image": tag}}


def change(world: World, **spec: object) -> None:
    world.patch("dsd", "x", {"spec": spec})


def nodes(world: World) -> set[str]:
    return {pod["spec"]["nodeName"] for pod in world.pods()}


def warm_up(world: World) -> dict[str, str]:
    found: dict[str, str] = world.deployment()["status"]["groups"][0].get("warmUp", {})
    return found


def test_the_image_is_on_the_groups_nodes_before_the_group_is_stopped(world: World) -> None:
    # A pod that pulls is Pending for five seconds.
    slow: dict[str, Any] = {"podTemplate": {"annotations": {"kwok.e2e/start-seconds": "5"}}}
    world.apply(**image(OLD), **slow)
    world.wait_ready(seconds=60)
    before, where = {pod["metadata"]["uid"] for pod in world.pods()}, nodes(world)
    change(world, **image(NEW))
    pulls = eventually(lambda: len(found := world.pulls()) == 2 and found, what="a pod a node pulls")
    assert {pod["spec"]["containers"][0]["image"] for pod in pulls} == {NEW}
    assert warm_up(world)["state"] == "Pulling"
    assert {pod["metadata"]["uid"] for pod in world.pods()} == before
    assert world.condition("Ready")["reason"] == "RollingOut"
    bound = eventually(
        lambda: all(pod["spec"].get("nodeName") for pod in world.pulls()) and world.pulls(), what="they are scheduled"
    )
    assert {pod["spec"]["nodeName"] for pod in bound} == where
    eventually(lambda: world.incarnations() == {"2"}, seconds=60, what="the group is replaced")
    world.wait_ready(seconds=60)
    assert world.pulls() == []
    assert warm_up(world) == {}
    assert {pod["spec"]["containers"][0]["image"] for pod in world.pods()} == {NEW}


def test_an_image_that_does_not_exist_never_stops_a_serving_group_and_is_told(world: World) -> None:
    world.apply(**image(OLD), rollout={"warmUpSeconds": 5})
    world.wait_ready()
    before = {pod["metadata"]["uid"] for pod in world.pods()}
    change(world, **image(MISSING))
    stalled = eventually(
        lambda: (c := world.condition("Stalled")).get("status") == "True" and c, seconds=60, what="Stalled"
    )
    assert stalled["reason"] == "ImagePullFailed"
    assert "not found" in stalled["message"]
    assert "still available" in stalled["message"]
    reasons = {event["reason"] for event in world.get("events.events.k8s.io")["items"]}
    assert {"PullingImage", "ImagePullFailing", "ImagePullFailed"} <= reasons
    assert {pod["metadata"]["uid"] for pod in world.pods()} == before
    assert world.deployment()["status"]["readyReplicas"] == 1
    change(world, **image(OLD))
    world.wait_ready()
    eventually(lambda: not world.pulls(), what="the pods that pulled are gone")
    assert {pod["metadata"]["uid"] for pod in world.pods()} == before, "going back costs nothing"


def test_an_operator_that_is_killed_while_it_pulls_goes_on_where_it_was(world: World, operator: Operator) -> None:
    world.apply(**image(OLD), podTemplate={"annotations": {"kwok.e2e/start-seconds": "5"}})
    world.wait_ready(seconds=60)
    mark = world.mark()
    change(world, **image(NEW))
    eventually(lambda: len(world.pulls()) == 2, what="a pod a node pulls")
    operator.stop(9)
    assert world.incarnations() == {"1"}
    operator.start()
    eventually(lambda: world.incarnations() == {"2"}, seconds=120, what="the group is replaced")
    world.wait_ready(seconds=60)
    assert world.pulls() == []
    made = [write for write in world.writes(after=mark) if write.startswith("create pods ")]
    assert len(made) == 2, "what the first one began the second one went on with"


def test_a_quota_that_keeps_the_pods_from_being_made_holds_nothing_up_for_ever(world: World) -> None:
    world.apply(**image(OLD), rollout={"warmUpSeconds": 10})
    world.wait_ready()
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "little"},
        "spec": {"hard": {"pods": "2"}},
    }
    world.kubectl.apply(quota, namespace=world.namespace)
    eventually(lambda: world.get("resourcequota", "little")["status"].get("used"), what="the quota counts")
    change(world, **image(NEW))
    told = eventually(
        lambda: (c := world.condition("Reconciling")).get("reason") == "ApplyFailed" and c, what="the reason is told"
    )
    assert "exceeded quota: little" in told["message"]
    eventually(lambda: world.incarnations() == {"2"}, seconds=60, what="the group is replaced")
    world.wait_ready(seconds=60)

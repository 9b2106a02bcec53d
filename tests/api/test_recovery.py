"""What a user sees when nodes are drained or lost, when a group cannot be helped, and when hands are kept off."""

from __future__ import annotations

import pytest

from tests.api.conftest import GROUP, World, eventually

pytestmark = pytest.mark.usefixtures("operator", "h100")


def node_of(world: World, rank: int) -> str:
    (name,) = [p["spec"]["nodeName"] for p in world.pods() if p["metadata"]["name"] == f"x-g0-{rank}"]
    return str(name)


def group(world: World) -> dict[str, object]:
    found: dict[str, object] = world.deployment()["status"]["groups"][0]
    return found


def test_a_cordon_alone_stops_nothing_and_a_drain_moves_the_whole_group(world: World) -> None:
    world.apply()
    world.wait_ready()
    before = {pod["metadata"]["uid"] for pod in world.pods()}
    drained = node_of(world, 1)
    try:
        world.kubectl("cordon", drained)
        eventually(lambda: world.get("pdb", "x-g0")["spec"]["maxUnavailable"] == 1, what="the budget opens")
        assert before == {pod["metadata"]["uid"] for pod in world.pods()}
        pods = f"--pod-selector={GROUP}/deployment=x"
        world.kubectl("drain", drained, "--delete-emptydir-data", "--force", "--timeout=60s", pods)
        eventually(lambda: world.incarnations() == {"2"} and len(world.pods()) == 2, what="incarnation 2")
        world.wait_ready()
        assert drained not in {pod["spec"]["nodeName"] for pod in world.pods()}
        assert group(world)["restarts"] == 0
        eventually(lambda: world.get("pdb", "x-g0")["spec"]["maxUnavailable"] == 0, what="the budget is closed")
    finally:
        world.kubectl("uncordon", drained)


def test_a_node_that_stays_away_is_given_up_and_its_pod_deleted_by_force(world: World) -> None:
    world.apply(recovery={"nodeLostAfterSeconds": 10})
    world.wait_ready()
    lost = node_of(world, 1)
    try:
        world.kubectl("annotate", "node", lost, "kwok.e2e/node=down")
        eventually(lambda: world.incarnations() == {"2"} and len(world.pods()) == 2, seconds=180, what="incarnation 2")
        assert world.wait_ready()["status"]["groups"][0]["incidents"][0]["reason"] == "NodeLost"
        assert lost not in {pod["spec"]["nodeName"] for pod in world.pods()}
    finally:
        world.kubectl("annotate", "node", lost, "kwok.e2e/node-")
        world.kubectl("wait", f"node/{lost}", "--for=condition=Ready", "--timeout=60s")


def test_a_group_whose_budget_is_used_up_says_so_and_starts_again_when_the_spec_changes(world: World) -> None:
    world.apply(recovery={"maxRestarts": 0})
    world.wait_ready()
    world.kubectl("-n", world.namespace, "delete", "pod", "x-g0-1", "--wait=false")
    stalled = eventually(lambda: (c := world.condition("Stalled")).get("status") == "True" and c, what="Stalled")
    assert stalled["reason"] == "RestartBudgetExhausted"
    assert "not available" in stalled["message"]
    eventually(lambda: not world.pods(), what="the accelerators are free")
    world.patch("dsd", "x", {"spec": {"restartedAt": "2026-01-01T00:00:00Z"}})
    world.wait_ready()


def test_a_paused_deployment_is_left_alone(world: World) -> None:
    world.apply()
    world.wait_ready()
    world.kubectl("-n", world.namespace, "annotate", "dsd", "x", f"{GROUP}/paused=true")
    eventually(lambda: world.condition("Reconciling")["reason"] == "Paused", what="reason Paused")
    world.kubectl("-n", world.namespace, "delete", "service", "x-g0")
    world.patch("dsd", "x", {"spec": {"replicas": 0}})
    eventually(lambda: not world.observed(), what="the edit is not taken up")
    assert len(world.pods()) == 2
    world.kubectl("-n", world.namespace, "annotate", "dsd", "x", f"{GROUP}/paused-")
    eventually(lambda: not world.items("sts"), what="the edit is acted on")


def test_half_a_group_lets_its_nodes_go(world: World) -> None:
    """Two groups, three nodes: one serves, the other waits and holds nothing."""
    spare = "h100-3"
    world.kubectl("cordon", spare)
    try:
        world.apply(replicas=2, scheduling={"holdTimeoutSeconds": 30})
        eventually(lambda: world.deployment()["status"].get("readyReplicas") == 1, what="one group serves")
        eventually(lambda: len(world.pods()) == 2, seconds=90, what="the other holds nothing")
        waiting = next(g for g in world.deployment()["status"]["groups"] if not g["ready"])
        assert waiting["incidents"][0]["reason"] == "HoldTimeout"
        assert waiting["restarts"] == 0
    finally:
        world.kubectl("uncordon", spare)
    world.wait_ready(seconds=180)


def test_a_surge_replaces_without_a_moment_of_less_service(world: World) -> None:
    world.apply(rollout={"maxUnavailable": 0, "maxSurge": 1})
    world.wait_ready()
    least = [1]
    world.patch("dsd", "x", {"spec": {"servedName": "other"}})

    def replaced() -> bool:
        status = world.deployment()["status"]
        least.append(status["readyReplicas"])
        return bool(world.observed() and (status["updatedReplicas"], status["replicas"]) == (1, 1))

    eventually(replaced, seconds=60, what="the surge is over")
    assert min(least) == 1
    eventually(lambda: len(world.items("sts")) == 1, what="the old group is gone")
    world.wait_ready()


def test_a_quota_that_keeps_pods_from_being_made_is_told(world: World) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "little"},
        "spec": {"hard": {"pods": "1"}},
    }
    world.kubectl.apply(quota, namespace=world.namespace)
    world.apply()
    eventually(
        lambda: "exceeded quota: little" in world.condition("Ready").get("message", ""), seconds=90, what="the reason"
    )
    world.kubectl("-n", world.namespace, "delete", "resourcequota", "little")
    world.wait_ready(seconds=90)

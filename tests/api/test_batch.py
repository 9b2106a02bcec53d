"""A batch of the DeepSeek-Infer demo on a real API server and its real Job controller, from prompts to Completed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.api.conftest import GROUP, World, eventually

pytestmark = pytest.mark.usefixtures("operator", "h100")
WEIGHTS = {
    "volumes": [{"name": "weights", "configMap": "weights"}],
    "volumeMounts": [{"name": "weights", "mountPath": "/data"}],
}
"""A scheduler waits for claims, and fake nodes mount nothing."""
HELD = {"annotations": {"kwok.e2e/ready": "false"}}
"""Pods run and neither begin nor end until a test says so."""


def apply(world: World, *, template: dict[str, Any] | None = None) -> None:
    world.apply(
        engine={"name": "deepseek-infer", "image": "registry.example/deepseek-infer:1"},
        weights={"source": "path:///data/v3-mp16"},
        batch={"prompts": {"configMap": "prompts"}},
        podTemplate={**WEIGHTS, **(template or {})},
    )


def condition(world: World, kind: str) -> tuple[str, str]:
    found = {each["type"]: each for each in world.deployment()["status"]["conditions"]}
    return (found[kind]["status"], found[kind]["reason"]) if kind in found else ("", "")


def completed(world: World) -> dict[str, Any]:
    eventually(lambda: condition(world, "Completed")[0] == "True", what="Completed")
    status: dict[str, Any] = world.deployment()["status"]
    return status


def pods(world: World) -> dict[int, dict[str, Any]]:
    index = "batch.kubernetes.io/job-completion-index"
    return {int(pod["metadata"]["labels"][index]): pod for pod in world.items("pod", f"{GROUP}/group=0")}


def test_a_batch_runs_to_completed_and_then_nothing_more_happens(world: World) -> None:
    apply(world)
    status = completed(world)
    assert condition(world, "Ready") == ("True", "Completed")
    assert status["groups"][0]["stage"] == "Completed"
    assert "incidents" not in status["groups"][0]
    (job,) = world.items("job")
    assert {each["type"] for each in job["status"]["conditions"] if each["status"] == "True"} >= {"Complete"}
    ranks = pods(world)
    assert sorted(ranks) == [0, 1]
    assert {each["status"]["phase"] for each in ranks.values()} == {"Succeeded"}
    assert {each["spec"]["hostname"] for each in ranks.values()} == {"x-g0-0", "x-g0-1"}
    assert {each["spec"]["subdomain"] for each in ranks.values()} == {"x-g0"}
    assert len({each["spec"]["nodeName"] for each in ranks.values()}) == 2
    assert [each["metadata"]["name"] for each in world.items("svc,netpol")] == ["x-g0", "x-g0"]
    assert world.items("secret") == []
    # Somebody cleans up: the batch stays completed and is not run again.
    mark = world.mark()
    world.kubectl("-n", world.namespace, "delete", "job", "x-g0")
    eventually(lambda: not pods(world), what="the Job's pods are gone")
    world.patch("dsd", "x", {"metadata": {"annotations": {"note": "look again"}}})
    assert completed(world)["groups"][0]["incarnation"] == 1
    assert world.items("job") == []
    assert [write for write in world.writes(after=mark) if "jobs" in write] == []


def test_a_failed_rank_fails_the_whole_job_and_status_says_which(world: World) -> None:
    apply(world, template=HELD)
    eventually(lambda: len(pods(world)) == 2, what="both ranks")
    eventually(lambda: len(world.deployment()["status"]["groups"][0].get("members", [])) == 2, what="members recorded")
    first = world.get("job", "x-g0")["metadata"]["uid"]
    fail_rank(world, 1)
    eventually(lambda: world.incarnations() == {"2"} and len(pods(world)) == 2, what="incarnation 2")
    assert world.get("job", "x-g0")["metadata"]["uid"] != first
    group = world.deployment()["status"]["groups"][0]
    (incident,) = group["incidents"]
    assert (incident["rank"], incident["exitCode"], incident["reason"]) == (1, 9, "EngineExited")
    assert "CUDA error: out of luck" in incident["message"]
    assert group["restarts"] == 1
    release(world)
    assert completed(world)["groups"][0]["incarnation"] == 2


def test_what_runs_is_suspended_resumed_and_run_again_by_restarted_at(world: World) -> None:
    apply(world, template=HELD)
    eventually(lambda: len(pods(world)) == 2, what="both ranks")
    world.patch("dsd", "x", {"spec": {"suspend": True}})
    eventually(lambda: condition(world, "Ready")[1] == "Suspended", what="suspended")
    eventually(lambda: not world.items("job") and not pods(world), what="the devices are free")
    world.patch("dsd", "x", {"spec": {"suspend": False}})
    eventually(lambda: len(pods(world)) == 2, what="resumed")
    release(world)
    before = completed(world)["groups"][0]["incarnation"]
    world.patch("dsd", "x", {"spec": {"restartedAt": "2026-01-01T00:00:00Z", "podTemplate": {"annotations": None}}})
    eventually(lambda: completed(world)["groups"][0]["incarnation"] == before + 1, what="run again")


def test_a_batch_is_refused_for_an_engine_that_serves(world: World) -> None:
    with pytest.raises(Exception, match=r"batch is for engine deepseek-infer"):
        world.apply(batch={"prompts": {"configMap": "prompts"}})


def fail_rank(world: World, rank: int) -> None:
    """As a kubelet reports an engine that ended with exit code 9."""
    pod = pods(world)[rank]
    ended = {
        "exitCode": 9,
        "reason": "Error",
        "message": "CUDA error: out of luck",
        "startedAt": "2026-01-01T00:00:00Z",
        "finishedAt": "2026-01-01T00:00:01Z",
    }
    (container,) = pod["status"]["containerStatuses"]
    status = {**container, "ready": False, "started": False, "state": {"terminated": ended}}
    patch = {"status": {"phase": "Failed", "containerStatuses": [status]}}
    world.kubectl(
        "-n", world.namespace, "patch", "pod", pod["metadata"]["name"], "--subresource=status", "--type=merge",
        "-p", json.dumps(patch),
    )  # fmt: skip


def release(world: World) -> None:
    """The ranks become ready and end."""
    names = [pod["metadata"]["name"] for pod in pods(world).values()]
    world.kubectl("-n", world.namespace, "annotate", "pod", *names, "kwok.e2e/ready=true", "--overwrite")

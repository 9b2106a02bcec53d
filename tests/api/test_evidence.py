"""What a user learns of a rank that failed: its last lines, what they mean, and who failed first."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.api.conftest import Operator, World, eventually
from tests.api.kubelet_logs import KubeletLogs, kubelet_logs

pytestmark = pytest.mark.usefixtures("operator", "h100")

TRACEBACK = """\
[2026-11-27 20:00:00 TP3] server_args=ServerArgs(model_path='/models/x', api_key='s3cr3t-s3cr3t', port=8000)
[2026-11-27 20:04:11 TP3] Load weight begin. avail mem=78.41 GB
Traceback (most recent call last):
  File "/sgl-workspace/sglang/python/sglang/srt/managers/scheduler.py", line 2890, in run_scheduler_process
torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 14.00 GiB. GPU 3 has a total capacity of 79.11 GiB
"""


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[KubeletLogs]:
    with kubelet_logs(tmp_path) as logs:
        yield logs


@pytest.fixture
def serving(world: World, logs: KubeletLogs) -> World:
    # Real pods last at least as long as their preStop hook.
    world.apply(podTemplate={"annotations": {"kwok.e2e/termination-seconds": "3"}})
    world.wait_ready()
    for pod in world.pods():
        logs.serve(world, pod["spec"]["nodeName"])
    return world


def end_engine(world: World, rank: int, *, code: int, ago: float = 0.0, message: str = "") -> None:
    """A kubelet tells that the engine of a rank ended."""
    stamp = (datetime.now(UTC) - timedelta(seconds=ago)).strftime("%Y-%m-%dT%H:%M:%SZ")
    pod = world.get("pod", f"x-g0-{rank}")
    ended = {"exitCode": code, "reason": "Error", "startedAt": stamp, "finishedAt": stamp, "message": message}
    (container,) = pod["status"]["containerStatuses"]
    container |= {"ready": False, "started": False, "state": {"terminated": ended}}
    patch = json.dumps({"status": {"containerStatuses": [container]}})
    arguments = ("patch", "pod", f"x-g0-{rank}", "--subresource=status", "--type=merge", "-p", patch)
    world.kubectl("-n", world.namespace, *arguments)


def incident(world: World) -> dict[str, Any]:
    found: list[dict[str, Any]] = world.deployment()["status"]["groups"][0].get("incidents", [])
    return found[0] if found else {}


def test_the_last_lines_of_a_failed_rank_are_told_with_their_meaning_and_without_keys(
    serving: World, logs: KubeletLogs
) -> None:
    logs.logs["x-g0-1", False] = TRACEBACK
    end_engine(serving, 1, code=1, message="exit status 1")
    found = eventually(lambda: incident(serving).get("log") and incident(serving), what="the log is told")
    assert found["log"][-1].startswith("torch.OutOfMemoryError: CUDA out of memory")
    assert (found["rank"], found["exitCode"], found["diagnosis"]) == (1, 1, "DeviceOutOfMemory")
    assert "api_key='***'" in found["log"][0]
    assert "s3cr3t" not in json.dumps(serving.deployment()["status"])

    def told() -> list[str]:
        events = serving.get("events.events.k8s.io")["items"]
        return [event["note"] for event in events if "said last" in event.get("note", "")]

    (note,) = eventually(told, what="the event")
    assert "CUDA out of memory" in note
    assert "s3cr3t" not in note
    serving.wait_ready(seconds=60)
    assert incident(serving)["log"] == found["log"], "evidence stays when the group serves again"


def test_the_log_before_the_kubelet_started_the_engine_again_is_what_is_told(serving: World, logs: KubeletLogs) -> None:
    logs.logs["x-g0-1", False] = "this rank has run before and waits for its group to end\n"
    logs.logs["x-g0-1", True] = "NCCL WARN NET/IB : Got completion with error 12, vendor err 129\n"
    end_engine(serving, 1, code=134)
    found = eventually(lambda: incident(serving).get("log") and incident(serving), what="the log is told")
    assert (found["diagnosis"], found["signal"]) == ("FabricError", "SIGABRT")


def test_a_kubelet_that_does_not_answer_holds_no_stop_back(
    serving: World, logs: KubeletLogs, operator: Operator
) -> None:
    logs.silent.set()
    end_engine(serving, 1, code=1)
    eventually(lambda: serving.get("sts", "x-g0")["spec"]["replicas"] == 0, seconds=3, what="stopped")
    serving.wait_ready(seconds=60)
    assert logs.asked, "it was asked"
    assert "log" not in incident(serving)


def test_a_rank_that_failed_first_is_blamed_though_it_is_told_later(serving: World) -> None:
    end_engine(serving, 0, code=0, ago=5)
    eventually(lambda: incident(serving).get("rank") == 0, what="the first that is told is blamed")
    end_engine(serving, 1, code=137, ago=20)
    eventually(lambda: incident(serving).get("rank") == 1, what="the first that failed is blamed")
    found = incident(serving)
    assert (found["pod"], found["exitCode"], found["signal"]) == ("x-g0-1", 137, "SIGKILL")
    status = serving.wait_ready(seconds=60)["status"]
    assert status["groups"][0]["restarts"] == 1
    assert len(status["groups"][0]["incidents"]) == 1

"""Pods that bring an image to a node: made once, read back at once, and in nobody's way when they cannot be made."""

from __future__ import annotations

from typing import Any

import pytest

from deepseek_operator.api import names
from deepseek_operator.control import kinds
from deepseek_operator.control.cache import Cache
from deepseek_operator.control.carry import carry_out
from deepseek_operator.control.client import ConflictError, KubeClient
from deepseek_operator.control.execute import Executor
from deepseek_operator.control.leader import Elector
from deepseek_operator.control.limiter import WriteLimiter
from deepseek_operator.control.projections import project_deployment, project_pull
from deepseek_operator.lifecycle.actions import PullImage, StopGroup
from deepseek_operator.lifecycle.records import PullRecord
from deepseek_operator.render.owner import Owner
from deepseek_operator.render.pull import pull_pod
from tests.unit.control import bodies
from tests.unit.control.stand_in import StandIn
from tests.unit.lifecycle.pure_cluster import content

DEPLOYMENT = project_deployment(bodies.deployment())
POD = pull_pod(Owner(name="x", namespace="default", uid="cr"), "node-7", content())
NAME = POD["metadata"]["name"]
ACTION = PullImage(manifest=POD)


@pytest.fixture
def cache() -> Cache:
    cache = Cache()
    cache.put(kinds.DEPLOYMENT, bodies.deployment())
    return cache


@pytest.fixture
async def executor(server: StandIn, client: KubeClient, cache: Cache) -> Executor:
    elector = Elector(client, namespace="default", identity="one")
    await elector.acquire()
    server.requests.clear()
    return Executor(client, cache, elector, WriteLimiter(per_second=1000, burst=1000))


def pulls(cache: Cache) -> tuple[PullRecord, ...]:
    return cache.snapshot(DEPLOYMENT).pulls


async def test_it_is_posted_and_known_without_waiting_for_the_watch(
    server: StandIn, executor: Executor, cache: Cache
) -> None:
    await executor.run(DEPLOYMENT, ACTION)
    assert server.writes == ["POST pods"]
    (record,) = pulls(cache)
    assert (record.name, record.node, record.state) == (NAME, "node-7", "waiting")
    assert cache.snapshot(DEPLOYMENT).pods == {}, "it is no rank"


async def test_one_of_ours_that_is_there_already_is_taken_as_it_is(
    server: StandIn, executor: Executor, cache: Cache
) -> None:
    server.add(kinds.POD, POD)
    await executor.run(DEPLOYMENT, ACTION)
    assert [record.name for record in pulls(cache)] == [NAME]


async def test_somebody_elses_pod_of_the_name_is_left_alone(server: StandIn, executor: Executor, cache: Cache) -> None:
    server.add(kinds.POD, {"metadata": {"name": NAME, "namespace": "default"}, "spec": {}})
    with pytest.raises(ConflictError):
        await executor.run(DEPLOYMENT, ACTION)
    assert pulls(cache) == ()


async def test_a_pod_that_may_not_be_made_keeps_no_group_from_ending(server: StandIn, executor: Executor) -> None:
    server.refused["POST pods"] = (403, "Forbidden")
    server.add(kinds.STATEFUL_SET, bodies.stateful_set())
    stop = StopGroup(name="x-g0", uid="sts-0", group=0, incarnation=2)
    carried = await carry_out(executor, DEPLOYMENT, [ACTION, stop], withheld=None)
    assert "PATCH statefulsets/x-g0" in server.writes
    assert carried.told.startswith(f"Pod {NAME}: 403")


async def test_a_pod_that_only_wears_the_label_is_not_ours(cache: Cache) -> None:
    body = bodies.pod(label="cr")
    body["metadata"]["labels"][names.PULL_LABEL] = "x"
    body["spec"]["containers"] = [{"name": "c", "image": "i"}]
    cache.put(kinds.POD, body)
    assert pulls(cache) == ()


STATES: dict[str, tuple[dict[str, Any], tuple[str, str]]] = {
    "not placed": (
        {"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/4 nodes are available"}]},
        ("waiting", "0/4 nodes are available"),
    ),
    "pulling": ({"state": {"waiting": {"reason": "ContainerCreating"}}}, ("waiting", "")),
    "cannot pull": (
        {"state": {"waiting": {"reason": "ErrImagePull", "message": "not found"}}},
        ("failing", "ErrImagePull: not found"),
    ),
    "backs off": ({"state": {"waiting": {"reason": "ImagePullBackOff"}}}, ("failing", "ImagePullBackOff")),
    "runs": ({"state": {"running": {}}}, ("pulled", "")),
    "ended": ({"state": {"terminated": {"exitCode": 0}}, "phase": "Succeeded"}, ("pulled", "")),
    "could not run what it has": ({"state": {"waiting": {"reason": "RunContainerError"}}}, ("pulled", "")),
    "was evicted before": ({"phase": "Failed", "reason": "Evicted", "message": "disk"}, ("ended", "Evicted: disk")),
}


@pytest.mark.parametrize("case", STATES)
def test_how_far_a_pod_is_that(case: str) -> None:
    given, expected = STATES[case]
    status: dict[str, Any] = {"phase": "Pending", **given}
    state = status.pop("state", None)
    if state is not None:
        status["containerStatuses"] = [{"name": "pull", "state": state}]
        status["conditions"] = [{"type": "PodScheduled", "status": "True"}]
    record = project_pull({**POD, "metadata": {**POD["metadata"], "uid": "u"}, "status": status})
    assert (record.state, record.message) == expected

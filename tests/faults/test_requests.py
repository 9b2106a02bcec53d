"""Writes that fail, are lost, arrive twice or late: a deployment lives through its life all the same."""

from __future__ import annotations

import os
import time

import pytest

from e2e.faults.proxy import ProxyThread
from e2e.faults.rules import Delay, Drop, FirstOfEach, LoseAnswer, Match, Refuse, Rule, Twice, writes
from tests.faults.conftest import StartOperator
from tests.world import GROUP, Operator, World, eventually

PATIENCE = 120.0
"""Seconds: failures are retried with growing waits, and the machine may be busy."""
OUTAGES = [6, 60] if os.environ.get("FAULTS_WHOLE") else [6]
"""Seconds without an API server; a minute ends the operator, whose Lease runs out, and a kubelet starts it again."""


def live(world: World) -> None:
    """Create, edit, scale: every kind of write that a healthy life needs."""
    world.apply()
    world.wait_ready(seconds=PATIENCE)
    world.patch("dsd", "x", {"spec": {"servedName": "other"}})
    world.wait_ready(seconds=PATIENCE)
    world.patch("dsd", "x", {"spec": {"replicas": 2}})
    world.wait_ready(seconds=PATIENCE)


def lived_well(world: World) -> None:
    """Nothing is missing, and no group was started more often than the edits ask for."""
    kinds = "sts,svc,netpol,pdb,secret,controllerrevision"
    found = {f"{item['kind']} {item['metadata']['name']}" for item in world.items(kinds)}
    for kind in ("StatefulSet", "Service", "NetworkPolicy", "PodDisruptionBudget"):
        assert {f"{kind} x-g0", f"{kind} x-g1"} <= found
    assert {"Service x", "NetworkPolicy x", "Secret x-keys"} <= found
    groups = world.deployment()["status"]["groups"]
    assert [group["incarnation"] for group in groups] == [2, 1]
    assert not any(group.get("incidents") for group in groups)


@pytest.mark.parametrize("refusal", [Refuse(409), Refuse(429, retry_after=1), Refuse(500)], ids=["409", "429", "500"])
def test_each_write_may_be_refused_once(world: World, proxy: ProxyThread, operator: Operator, refusal: Refuse) -> None:
    rule = proxy.rule(Rule(FirstOfEach(writes), refusal))
    live(world)
    lived_well(world)
    assert rule.seen > 15


@pytest.mark.parametrize("fault", [LoseAnswer(), Drop(), Twice()], ids=["lost answer", "lost request", "twice"])
def test_each_write_may_be_lost_on_its_way_or_back_or_arrive_twice(
    world: World, proxy: ProxyThread, operator: Operator, fault: LoseAnswer | Drop | Twice
) -> None:
    rule = proxy.rule(Rule(FirstOfEach(writes), fault))
    live(world)
    lived_well(world)
    assert rule.seen > 15


def test_a_slow_api_server_slows_and_changes_nothing(world: World, proxy: ProxyThread, operator: Operator) -> None:
    proxy.rule(Rule(Match(), Delay(0.2)))
    live(world)
    lived_well(world)


@pytest.mark.parametrize("seconds", OUTAGES)
def test_the_api_server_may_be_gone_in_the_middle_of_a_rollout(
    world: World, proxy: ProxyThread, start: StartOperator, h100: None, seconds: int
) -> None:
    operator = start()
    world.apply(replicas=2)
    world.wait_ready(seconds=PATIENCE)
    world.patch("dsd", "x", {"spec": {"servedName": "other"}})
    eventually(lambda: world.incarnations() >= {"2"}, what="the first group is replaced")
    proxy.down()
    back = time.monotonic() + seconds

    def over() -> bool:
        as_a_kubelet_would(operator)
        return time.monotonic() > back

    eventually(over, seconds=2 * seconds, what="the outage is over")
    proxy.up()

    def ready() -> bool:
        as_a_kubelet_would(operator)
        return world.observed() and world.condition("Ready").get("status") == "True"

    eventually(ready, seconds=PATIENCE, what="Ready after the outage")
    groups = world.deployment()["status"]["groups"]
    assert [group["incarnation"] for group in groups] == [2, 2]
    assert not any(group.get("incidents") for group in groups)
    assert len(world.items("controllerrevision", f"{GROUP}/revision-of")) == 2


def as_a_kubelet_would(operator: Operator) -> None:
    """Start the operator again when it has ended."""
    if not operator.alive:
        operator.start()

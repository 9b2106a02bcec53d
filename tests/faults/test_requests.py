"""Writes that fail, are lost, arrive twice or late: a deployment lives through its life all the same."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import pytest

from e2e.faults.calls import Call
from e2e.faults.proxy import ProxyThread
from e2e.faults.rules import (
    Answer,
    Ask,
    Behaviour,
    CutError,
    Delay,
    Drop,
    FirstOfEach,
    LoseAnswer,
    Match,
    Refuse,
    Rule,
    Twice,
    writes,
)
from tests.faults.conftest import StartOperator
from tests.world import GROUP, Operator, World, eventually

PATIENCE = 120.0
"""Seconds: failures are retried with growing waits, and the machine may be busy."""
OUTAGES = [6, 60]
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


REVISION = Match(resources=("secrets", "controllerrevisions", "deepseekdeployments/status"))
NETWORK = Match(resources=("services", "networkpolicies", "poddisruptionbudgets"))
GROUP_OBJECTS = Match(resources=("statefulsets", "persistentvolumes", "persistentvolumeclaims"))


@pytest.mark.parametrize(
    ("fault", "match"),
    [
        pytest.param(Refuse(409), REVISION, id="409"),
        pytest.param(Refuse(429, retry_after=1), NETWORK, id="429"),
        pytest.param(Refuse(500), GROUP_OBJECTS, id="500"),
        pytest.param(LoseAnswer(), GROUP_OBJECTS, id="lost answer"),
        pytest.param(Drop(), REVISION, id="lost request"),
        pytest.param(Twice(), writes, id="twice"),
    ],
)
def test_a_write_may_be_refused_or_lost_or_arrive_twice(
    world: World, proxy: ProxyThread, operator: Operator, fault: Behaviour, match: Callable[[Call], bool]
) -> None:
    # Every write with every fault is in the matrix (make faults); here several at once, that many in a row.
    rule = proxy.rule(Rule(FirstOfEach(lambda call: call.write > 0 and match(call)), fault))
    live(world)
    lived_well(world)
    assert rule.seen >= 4


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


class KillBeforeAnswer:
    """The API server carries the request out, and the operator dies before it learns of it."""

    def __init__(self, operator: Operator) -> None:
        self._operator = operator

    async def __call__(self, call: Call, ask: Ask, /) -> Answer:
        await ask(call)
        assert self._operator.process is not None
        self._operator.process.send_signal(signal.SIGKILL)
        raise CutError


def test_a_rollout_goes_on_under_an_operator_that_starts_when_all_is_quiet(
    world: World, proxy: ProxyThread, operator: Operator
) -> None:
    world.apply(replicas=2)
    world.wait_ready(seconds=PATIENCE)
    # The patches of an edited group: its stop, a change of managedFields, its start.
    start_of_the_first = Match(verbs=("patch",), resources=("statefulsets",), name="x-g0")
    proxy.rule(Rule(start_of_the_first, KillBeforeAnswer(operator), first=3))
    world.patch("dsd", "x", {"spec": {"servedName": "other"}})
    eventually(lambda: not operator.alive, seconds=PATIENCE, what="the operator is killed")
    eventually(lambda: world.get("sts", "x-g0")["status"].get("readyReplicas") == 2, seconds=PATIENCE, what="x-g0")
    proxy.clear()
    world.kubectl("-n", world.namespace, "delete", "lease", "deepseek-operator")
    operator.start()
    world.wait_ready(seconds=PATIENCE)
    assert [group["incarnation"] for group in world.deployment()["status"]["groups"]] == [2, 2]

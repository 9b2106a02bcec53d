"""Two operators: one acts; the other takes over within the lease; a late write of the first one does no harm."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest

from deepseek_operator.control.leader import LEASE_SECONDS, RETRY_SECONDS
from e2e.faults.proxy import ProxyThread
from e2e.faults.rules import Hold, Match, Rule
from tests.faults.conftest import StartOperator
from tests.faults.test_requests import PATIENCE
from tests.world import Operator, World, eventually

pytestmark = pytest.mark.usefixtures("h100")

SLACK_SECONDS = 5.0
"""Of a busy machine."""


def leads(operator: Operator) -> bool:
    return operator.metric("deepseek_operator_leader") == 1


@pytest.fixture
def pair(start: StartOperator, proxy: ProxyThread, new_proxy: Callable[[], ProxyThread]) -> tuple[Operator, Operator]:
    """A leader behind the test's proxy, and a warm standby behind another."""
    leader = start(through=proxy)
    eventually(lambda: leads(leader), seconds=PATIENCE, what="the first leads")
    standby = start(through=new_proxy())
    eventually(lambda: "Initial authentication has finished" in standby.log, seconds=PATIENCE, what="the second runs")
    return leader, standby


def test_a_standby_takes_over_within_the_lease(world: World, pair: tuple[Operator, Operator]) -> None:
    leader, standby = pair
    world.apply()
    world.wait_ready(seconds=PATIENCE)
    assert not leads(standby)
    leader.stop(signal.SIGKILL)
    died = time.monotonic()
    world.patch("dsd", "x", {"spec": {"replicas": 2}})
    eventually(lambda: leads(standby), seconds=PATIENCE, what="the standby leads")
    assert time.monotonic() - died < LEASE_SECONDS + 2 * RETRY_SECONDS + SLACK_SECONDS
    assert world.wait_ready(seconds=PATIENCE)["status"]["readyReplicas"] == 2


@pytest.mark.parametrize(
    ("late", "already"),
    [
        (Match(verbs=("patch",), resources=("statefulsets",)), "a stop"),
        (Match(verbs=("update",), resources=("deepseekdeployments/status",)), "a status"),
    ],
    ids=["stop", "status"],
)
def test_a_late_write_of_a_stopped_and_woken_leader_changes_nothing(
    world: World, proxy: ProxyThread, pair: tuple[Operator, Operator], late: Match, already: str
) -> None:
    leader, standby = pair
    world.apply()
    world.wait_ready(seconds=PATIENCE)
    hold = Hold()
    proxy.rule(Rule(late, hold))
    world.patch("dsd", "x", {"spec": {"servedName": "other"}})
    eventually(lambda: hold.calls, seconds=PATIENCE, what=f"{already} is on its way")
    assert leader.process is not None
    os.kill(leader.process.pid, signal.SIGSTOP)
    eventually(lambda: leads(standby), seconds=PATIENCE, what="the standby leads")
    world.wait_ready(seconds=PATIENCE)
    before = {pod["metadata"]["uid"] for pod in world.pods()}
    template = world.get("sts", "x-g0")["spec"]
    writes = proxy.proxy.writes
    hold.release()
    os.kill(leader.process.pid, signal.SIGCONT)
    eventually(lambda: hold.answers, seconds=PATIENCE, what="the late write arrives")
    eventually(lambda: not leader.alive, seconds=PATIENCE, what="the old leader ends")
    assert world.get("sts", "x-g0")["spec"] == template
    assert {pod["metadata"]["uid"] for pod in world.pods()} == before
    assert world.deployment()["status"]["readyReplicas"] == 1
    answered = [seen for seen in proxy.proxy.seen if seen.call.write > writes]
    assert answered == [], "the woken leader wrote more than what was on its way"


def test_a_late_start_of_a_stopped_leader_changes_nothing(
    world: World, proxy: ProxyThread, pair: tuple[Operator, Operator]
) -> None:
    leader, standby = pair
    world.apply()
    world.wait_ready(seconds=PATIENCE)
    hold = Hold()
    # The stop is the first patch of an edit, the start (or what prepares it) the second.
    proxy.rule(Rule(Match(verbs=("patch",), resources=("statefulsets",)), hold, first=2))
    world.patch("dsd", "x", {"spec": {"servedName": "other"}})
    eventually(lambda: hold.calls, seconds=PATIENCE, what="a start is on its way")
    assert leader.process is not None
    os.kill(leader.process.pid, signal.SIGSTOP)
    eventually(lambda: leads(standby), seconds=PATIENCE, what="the standby leads")
    world.wait_ready(seconds=PATIENCE)
    world.patch("dsd", "x", {"spec": {"servedName": "third"}})
    world.wait_ready(seconds=PATIENCE)
    before = {pod["metadata"]["uid"] for pod in world.pods()}
    spec = world.get("sts", "x-g0")["spec"]
    hold.release()
    eventually(lambda: hold.answers, seconds=PATIENCE, what="the late write arrives")
    assert world.get("sts", "x-g0")["spec"] == spec
    os.kill(leader.process.pid, signal.SIGCONT)
    eventually(lambda: not leader.alive, seconds=PATIENCE, what="the old leader ends")
    assert {pod["metadata"]["uid"] for pod in world.pods()} == before

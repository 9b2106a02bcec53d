"""Watches that end, lie, repeat themselves or fall silent, and lists that are old."""

from __future__ import annotations

import signal
import threading

import pytest

from e2e.faults.proxy import ProxyThread
from e2e.faults.rules import Behaviour, CutStream, Events, Gone, Match, OldLists, Refuse, Rule, repeat
from tests.faults.conftest import StartOperator
from tests.faults.test_requests import PATIENCE, live, lived_well
from tests.world import World, eventually

VERIFY_SECONDS = 5

pytestmark = pytest.mark.usefixtures("h100")


@pytest.mark.parametrize(
    "fault",
    [Gone(), Refuse(410), Refuse(403), Refuse(500), CutStream(1), Events(repeat)],
    ids=["410", "410 as answer", "403 as answer", "500 as answer", "cut after one event", "every event twice"],
)
def test_every_watch_may_be_broken(world: World, proxy: ProxyThread, start: StartOperator, fault: Behaviour) -> None:
    rule = proxy.rule(Rule(Match(verbs=("watch",)), fault))
    operator = start(verifySeconds=VERIFY_SECONDS)
    live(world)
    lived_well(world)
    assert rule.seen >= 8
    assert operator.alive, "it went through all that in one life"


def test_what_a_silent_watch_keeps_back_is_found_by_comparing(
    world: World, proxy: ProxyThread, start: StartOperator
) -> None:
    silent = threading.Event()
    swallowing = Events(lambda event: 0 if silent.is_set() and event["type"] != "BOOKMARK" else 1)
    proxy.rule(Rule(Match(verbs=("watch",)), swallowing))
    start(verifySeconds=VERIFY_SECONDS)
    world.apply()
    world.wait_ready(seconds=PATIENCE)
    silent.set()
    uid = world.get("svc", "x-g0")["metadata"]["uid"]
    world.kubectl("-n", world.namespace, "delete", "svc", "x-g0")
    eventually(
        lambda: [s for s in world.items("svc") if s["metadata"]["name"] == "x-g0" and s["metadata"]["uid"] != uid],
        seconds=PATIENCE,
        what="the Service is back",
    )
    world.kubectl("-n", world.namespace, "delete", "pod", "x-g0-1", "--wait=false")
    eventually(lambda: world.incarnations() == {"2"}, seconds=PATIENCE, what="the group starts again")
    world.wait_ready(seconds=PATIENCE)
    world.patch("dsd", "x", {"spec": {"suspend": True}})
    eventually(lambda: not world.pods(), seconds=PATIENCE, what="no pod is left")
    assert swallowing.swallowed > 0


def test_old_lists_make_a_running_operator_do_nothing(world: World, proxy: ProxyThread, start: StartOperator) -> None:
    old = OldLists()
    proxy.rule(Rule(Match(verbs=("list",)), old))
    operator = start(verifySeconds=VERIFY_SECONDS)
    eventually(lambda: operator.metric("deepseek_operator_leader") == 1, seconds=PATIENCE, what="it leads")
    # From before the deployment: they say that nothing exists.
    eventually(lambda: operator.metric("deepseek_operator_verified_timestamp_seconds") > 0, what="it has compared")
    old.freeze()
    world.apply()
    world.wait_ready(seconds=PATIENCE)
    before = {pod["metadata"]["uid"] for pod in world.pods()}
    mark, served = proxy.proxy.writes, old.served
    eventually(lambda: old.served >= served + 30, seconds=PATIENCE, what="three comparisons with old lists")
    assert proxy.proxy.writes == mark
    assert {pod["metadata"]["uid"] for pod in world.pods()} == before


def test_an_operator_that_begins_with_old_lists_catches_up_without_harm(
    world: World, proxy: ProxyThread, start: StartOperator
) -> None:
    old = OldLists()
    proxy.rule(Rule(Match(verbs=("list",)), old))
    world.apply()
    operator = start()
    world.wait_ready(seconds=PATIENCE)
    operator.stop()
    operator = start()
    eventually(lambda: operator.metric("deepseek_operator_reconciles_total") > 0, seconds=PATIENCE, what="it looked")
    old.keep()
    world.patch("dsd", "x", {"spec": {"servedName": "other"}})
    world.wait_ready(seconds=PATIENCE)
    before = {pod["metadata"]["uid"] for pod in world.pods()}
    operator.stop(signal.SIGKILL)
    old.freeze()
    world.kubectl("-n", world.namespace, "delete", "lease", "deepseek-operator")
    late = start()
    eventually(lambda: late.metric("deepseek_operator_reconciles_total") > 0, seconds=PATIENCE, what="it looked")
    assert old.served > 0
    old.thaw()
    world.patch("dsd", "x", {"spec": {"replicas": 2}})
    world.wait_ready(seconds=PATIENCE)
    assert before <= {pod["metadata"]["uid"] for pod in world.pods()}
    lived_well(world)

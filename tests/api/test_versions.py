"""Another version of the operator, one that renders pods differently: before, after and beside this one."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from deepseek_operator.control.leader import LEASE_SECONDS
from e2e.cluster import Cluster
from tests.api.conftest import Operator, World, eventually
from tests.api.test_life import RECONCILES, quiet

pytestmark = pytest.mark.usefixtures("operator", "h100")

PATCHED = """
from deepseek_operator.cli.main import main
from deepseek_operator.render import container

container._BEFORE_SIGTERM_SECONDS = "3"
main()
"""
OTHER = (sys.executable, "-c", PATCHED)
"""It waits for three seconds before SIGTERM, not for two."""
PATIENCE = 60.0


@pytest.fixture
def restored(operator: Operator) -> Iterator[Operator]:
    """The operator that tests share, as it was afterwards."""
    yield operator
    if operator.program or not operator.alive:
        if operator.alive:
            operator.stop()
        operator.program = ()
        operator.start()


def become(operator: Operator, program: tuple[str, ...]) -> None:
    """Upgrade, or go back."""
    operator.stop()
    operator.program = program
    operator.start()


def ranks(world: World) -> set[str]:
    return {pod["metadata"]["uid"] for pod in world.pods()}


def waits(world: World) -> str:
    """Seconds before SIGTERM of the group as it runs."""
    (engine,) = world.get("sts", "x-g0")["spec"]["template"]["spec"]["containers"]
    command: list[str] = engine["lifecycle"]["preStop"]["exec"]["command"]
    return command[-1]


def settled(world: World, operator: Operator) -> None:
    eventually(lambda: operator.metric(RECONCILES) >= 1, seconds=PATIENCE, what="a reconcile")
    eventually(lambda: quiet(world, operator), seconds=PATIENCE, what="the operator settles")


def test_an_upgrade_leaves_running_groups_alone_and_so_does_going_back(world: World, restored: Operator) -> None:
    operator = restored
    world.apply()
    world.wait_ready(seconds=PATIENCE)
    before = ranks(world)
    become(operator, OTHER)
    settled(world, operator)
    assert (ranks(world), waits(world)) == (before, "2")
    world.patch("dsd", "x", {"spec": {"restartedAt": "2026-01-01T00:00:00Z"}})
    world.wait_ready(seconds=PATIENCE)
    assert waits(world) == "3", "what starts anew is what this version renders"
    after = ranks(world)
    assert not after & before
    become(operator, ())
    settled(world, operator)
    assert (ranks(world), waits(world)) == (after, "3")
    world.kubectl("-n", world.namespace, "delete", "pod", "x-g0-1", "--wait=false")
    eventually(lambda: len(world.pods()) == 2 and not ranks(world) & after, seconds=PATIENCE, what="a restart")
    world.wait_ready(seconds=PATIENCE)
    assert waits(world) == "3", "a group that fails starts again as it was, whoever starts it"
    world.patch("dsd", "x", {"spec": {"restartedAt": "2026-01-02T00:00:00Z"}})
    world.wait_ready(seconds=PATIENCE)
    assert waits(world) == "2"


def test_two_versions_side_by_side_never_undo_each_others_work(
    world: World, restored: Operator, cluster: Cluster, tmp_path: Path
) -> None:
    operator = restored
    world.apply()
    world.wait_ready(seconds=PATIENCE)
    settled(world, operator)
    before, mark = ranks(world), world.mark()
    other = Operator(kubeconfig=cluster.kubeconfig, directory=tmp_path, program=OTHER)
    other.start()
    try:
        eventually(lambda: "Initial authentication has finished" in other.log, seconds=PATIENCE, what="both run")
        for leader, standby in ((operator, other), (other, operator)):
            leader.stop(signal.SIGKILL)
            eventually(partial(leads, standby), seconds=LEASE_SECONDS + PATIENCE, what="the other leads")
            settled(world, standby)
            leader.start()
        assert world.writes(after=mark) == []
        assert ranks(world) == before
    finally:
        other.stop()


def leads(operator: Operator) -> Any:
    return operator.metric("deepseek_operator_leader") == 1

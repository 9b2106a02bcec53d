"""The clock of the operator's machine jumps by hours while groups run, start, fail and wait."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import StartOperator
from tests.faults.test_requests import PATIENCE
from tests.world import Operator, World, eventually

HOURS = 3600.0
RIGHT = 0.0

pytestmark = pytest.mark.usefixtures("h100")


class Clock:
    """The wall clock of the operator under test."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.jump(RIGHT)

    def jump(self, seconds: float) -> None:
        """Be wrong by so much from now on."""
        new = self.file.with_suffix(".new")
        new.write_text(str(seconds))
        new.replace(self.file)


@pytest.fixture
def clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock(tmp_path / "wrong-clock")
    monkeypatch.setenv("WRONG_CLOCK", str(clock.file))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).with_name("wrong_clock")))
    return clock


@pytest.fixture
def operator(clock: Clock, start: StartOperator) -> Operator:
    return start(verifySeconds=5)


def group(world: World) -> dict[str, Any]:
    found: dict[str, Any] = world.deployment()["status"]["groups"][0]
    return found


def fail(world: World, incarnation: int) -> None:
    """A pod is lost, and the group comes back as the given incarnation."""
    world.kubectl("-n", world.namespace, "delete", "pod", "x-g0-1", "--wait=false")
    eventually(lambda: world.incarnations() == {str(incarnation)}, seconds=PATIENCE, what=f"incarnation {incarnation}")
    world.wait_ready(seconds=PATIENCE)


def test_the_operators_clock_is_wrong_in_these_tests(world: World, clock: Clock, operator: Operator) -> None:
    clock.jump(-6 * HOURS)

    def behind() -> bool:
        verified = operator.metric("deepseek_operator_verified_timestamp_seconds")
        return 5 * HOURS < datetime.now(UTC).timestamp() - verified < 7 * HOURS

    eventually(behind, seconds=PATIENCE, what="a comparison that it takes for one of hours ago")


@pytest.mark.parametrize("hours", [6, -6])
def test_groups_start_serve_and_restart_under_a_clock_that_is_hours_wrong(
    world: World, clock: Clock, operator: Operator, hours: float
) -> None:
    clock.jump(hours * HOURS)
    world.apply(startup={"deadlineSeconds": 600})
    world.wait_ready(seconds=PATIENCE)
    assert (group(world)["incarnation"], group(world).get("incidents")) == (1, None)
    fail(world, 2)
    assert group(world)["restarts"] == 1
    # The second restart in a row waits some ten seconds, not hours, and not none.
    world.kubectl("-n", world.namespace, "delete", "pod", "x-g0-1", "--wait=false")
    waiting = eventually(lambda: (g := group(world)).get("stage") == "BackingOff" and g, seconds=PATIENCE, what="waits")
    until = datetime.fromisoformat(waiting["notBefore"])
    assert 0 < (until - datetime.now(UTC)).total_seconds() <= 13
    world.wait_ready(seconds=PATIENCE)
    assert group(world)["incarnation"] == 3


@pytest.mark.parametrize("hours", [6, -6])
def test_a_jump_while_a_group_starts_or_waits_neither_ends_it_nor_holds_it_up(
    world: World, clock: Clock, operator: Operator, hours: float
) -> None:
    world.apply(startup={"deadlineSeconds": 600}, podTemplate={"annotations": {"kwok.e2e/ready": "false"}})
    eventually(lambda: len(world.pods()) == 2, seconds=PATIENCE, what="the group starts")
    before = {pod["metadata"]["uid"] for pod in world.pods()}
    clock.jump(hours * HOURS)
    verified = operator.metric("deepseek_operator_reconciles_total")
    world.kubectl("-n", world.namespace, "delete", "svc", "x-g0")
    eventually(lambda: [s for s in world.items("svc") if s["metadata"]["name"] == "x-g0"], what="it has looked")
    eventually(lambda: operator.metric("deepseek_operator_reconciles_total") > verified, what="it has looked")
    assert {pod["metadata"]["uid"] for pod in world.pods()} == before
    for pod in ("x-g0-0", "x-g0-1"):
        world.kubectl("-n", world.namespace, "annotate", "pod", pod, "--overwrite", "kwok.e2e/ready=true")
    world.wait_ready(seconds=PATIENCE)
    clock.jump(RIGHT)
    fail(world, 2)
    clock.jump(-hours * HOURS)
    fail(world, 3)
    assert not any("Deadline" in incident["reason"] for incident in group(world)["incidents"])

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
    groups: list[dict[str, Any]] = world.deployment().get("status", {}).get("groups", [])
    return groups[0] if groups else {}


def test_the_operators_clock_is_wrong_in_these_tests(world: World, clock: Clock, operator: Operator) -> None:
    clock.jump(-6 * HOURS)

    def behind() -> bool:
        verified = operator.metric("deepseek_operator_verified_timestamp_seconds")
        return 5 * HOURS < datetime.now(UTC).timestamp() - verified < 7 * HOURS

    eventually(behind, seconds=PATIENCE, what="a comparison that it takes for one of hours ago")


def lose_a_pod(world: World) -> None:
    world.kubectl("-n", world.namespace, "delete", "pod", "x-g0-1", "--wait=false")


def seconds_to_wait(world: World) -> float:
    """How long the group that backs off still waits, by a clock that is right."""
    waiting = eventually(lambda: (g := group(world)).get("stage") == "BackingOff" and g, seconds=PATIENCE, what="waits")
    return (datetime.fromisoformat(waiting["notBefore"]) - datetime.now(UTC)).total_seconds()


@pytest.mark.parametrize("hours", [6, -6])
def test_groups_start_serve_and_restart_under_a_clock_that_is_hours_wrong(
    world: World, clock: Clock, operator: Operator, hours: float
) -> None:
    clock.jump(hours * HOURS)
    world.apply(startup={"deadlineSeconds": 600})
    world.wait_ready(seconds=PATIENCE)
    assert (group(world)["incarnation"], group(world).get("incidents")) == (1, None)
    lose_a_pod(world)
    eventually(lambda: world.incarnations() == {"2"}, seconds=PATIENCE, what="incarnation 2, without a wait")
    world.wait_ready(seconds=PATIENCE)
    lose_a_pod(world)
    # The second restart in a row waits some ten seconds, not hours, and not none.
    assert 0 < seconds_to_wait(world) <= 13
    clock.jump(-hours * HOURS)
    eventually(lambda: world.incarnations() == {"3"}, seconds=PATIENCE, what="incarnation 3, after the wait")
    world.wait_ready(seconds=PATIENCE)
    assert [incident["reason"] for incident in group(world)["incidents"]] == ["PodDeleted", "PodDeleted"]


@pytest.mark.parametrize("hours", [6, -6])
def test_a_jump_while_a_group_starts_does_not_end_it(
    world: World, clock: Clock, operator: Operator, hours: float
) -> None:
    world.apply(startup={"deadlineSeconds": 600}, podTemplate={"annotations": {"kwok.e2e/ready": "false"}})
    eventually(lambda: group(world).get("stage") == "Rendezvous", seconds=PATIENCE, what="the group starts")
    before = {pod["metadata"]["uid"] for pod in world.pods()}
    clock.jump(hours * HOURS)
    # Something to do, so that it has surely looked.
    uid = world.get("svc", "x-g0")["metadata"]["uid"]
    world.kubectl("-n", world.namespace, "delete", "svc", "x-g0")
    eventually(
        lambda: [s for s in world.items("svc") if s["metadata"]["name"] == "x-g0" and s["metadata"]["uid"] != uid],
        seconds=PATIENCE,
        what="the Service is back",
    )
    for pod in ("x-g0-0", "x-g0-1"):
        world.kubectl("-n", world.namespace, "annotate", "pod", pod, "--overwrite", "kwok.e2e/ready=true")
    world.wait_ready(seconds=PATIENCE)
    assert {pod["metadata"]["uid"] for pod in world.pods()} == before
    assert group(world).get("incidents") is None

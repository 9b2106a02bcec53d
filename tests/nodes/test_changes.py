"""Changes while users ask: a bad image and the way back, an operator that is killed or replaced."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import deepseek_operator
from tests.nodes import load
from tests.nodes.load import Answer
from tests.nodes.measure import Measurements, Row
from tests.nodes.site import Site, wait_for
from tests.world import Operator

pytestmark = [pytest.mark.cluster, pytest.mark.scenario, pytest.mark.timeout(900)]

MISSING = "registry.invalid/sglang:none"
LATER = "rendered by a later version"


def row(fault: str, answers: list[Answer], *, named: str) -> Row:
    failed = sum(bool(each.why) for each in answers)
    return Row(fault=fault, at="", seen=None, serves=None, failed=failed, asked=len(answers), named=named, right=None)


def test_an_image_that_is_missing_is_told_by_its_name_and_the_right_one_serves(site: Site) -> None:
    site.deploy(engine={"image": MISSING})
    told = wait_for(
        lambda: (message := site.group().get("message", "")) and MISSING in message and message,
        seconds=90,
        what="status names the image",
    )
    assert told
    assert site.group()["restarts"] == 0
    site.serve()


def test_a_bad_image_stops_by_itself_and_going_back_costs_no_request(site: Site, measurements: Measurements) -> None:
    site.serve(replicas=2)
    asking = load.start(site)
    begun = time.time()
    site.deploy(replicas=2, engine={"image": MISSING})
    wait_for(
        lambda: any(MISSING in group.get("message", "") for group in site.deployment()["status"]["groups"]),
        seconds=120,
        what="one group waits for the image",
    )
    assert sorted(group["ready"] for group in site.deployment()["status"]["groups"]) == [False, True]
    assert site.condition("Available")["status"] == "True"
    site.deploy(replicas=2)
    site.wait_ready(seconds=180)
    answers = asking.between(begun, time.time())
    measurements.add(row("rollout of a bad image and back, two groups", answers, named="the image"))
    assert [each.why for each in answers if each.why] == []


@pytest.fixture
def upgraded(operator: Operator, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment in which `operator` is a later version, whose launch script differs."""
    package = Path(deepseek_operator.__file__).parent
    shutil.copytree(package, tmp_path / package.name)
    script = tmp_path / package.name / "engines" / "launch" / "launch.sh.j2"
    script.write_text(f"{script.read_text()}# {LATER}\n")
    yield {"PYTHONPATH": str(tmp_path)}
    operator.environment = {}
    if operator.alive:
        operator.stop()
    operator.start()


def test_an_operator_that_is_killed_and_upgraded_leaves_a_serving_group_alone(
    site: Site, operator: Operator, upgraded: dict[str, str], measurements: Measurements
) -> None:
    site.serve()
    asking = load.start(site)
    pods = {pod["metadata"]["uid"] for pod in site.pods()}
    begun = time.time()
    operator.stop(signal.SIGKILL)
    operator.environment = upgraded
    operator.start()
    # The next one waits for the dead one's Lease; then a change that concerns no pod is carried out.
    site.patch("dsd", "x", {"spec": {"access": {"from": [{"podLabels": {"role": "client"}}]}}})
    wait_for(site.observed, seconds=90, what="the new operator has seen the change")
    site.patch("dsd", "x", {"spec": {"access": None}})
    wait_for(site.observed, seconds=60, what="it sees the way back")
    answers = asking.between(begun, time.time())
    measurements.add(row("operator killed and upgraded", answers, named="no incident"))
    assert [each.why for each in answers if each.why] == []
    assert {pod["metadata"]["uid"] for pod in site.pods()} == pods
    assert LATER not in json.dumps(site.pods())

    site.patch("dsd", "x", {"spec": {"restartedAt": "2026-11-27T00:00:00Z"}})
    wait_for(lambda: site.pods() and LATER in json.dumps(site.pods()), seconds=120, what="a restart takes the new form")
    site.wait_ready(seconds=150)

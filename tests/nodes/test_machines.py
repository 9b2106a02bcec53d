"""Nodes that lose a program, their cable or their place in the cluster: what a user sees of it, by the clock."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial

import pytest

from tests.nodes import load, measure
from tests.nodes.asking import chat
from tests.nodes.machines import Machine
from tests.nodes.measure import Measurements
from tests.nodes.site import Site, wait_for
from tests.world import Kubectl

pytestmark = [pytest.mark.cluster, pytest.mark.scenario, pytest.mark.timeout(900), pytest.mark.usefixtures("below")]

BLINK_SECONDS = 8
"""Below the 40 s after which a node counts as not ready."""


def program(machine: Machine, name: str) -> int:
    """The process of a node's own program."""
    found = [pid for pid, line in machine.processes().items() if line.split()[0].endswith(f"/{name}")]
    assert len(found) == 1, found
    return found[0]


def node_ready(kubectl: Kubectl, name: str) -> bool:
    conditions = kubectl.json("node", name)["status"]["conditions"]
    return any((each["type"], each["status"]) == ("Ready", "True") for each in conditions)


@pytest.fixture
def joined(site: Site) -> Iterator[None]:
    """Whatever a test leaves parted is joined again, and Ready before the next test plans."""
    yield
    for machine in site.machines:
        machine.join()
    names = [machine.name for machine in site.machines]
    wait_for(lambda: all(node_ready(site.kubectl, name) for name in names), seconds=120, what="all nodes Ready")


@pytest.mark.parametrize("name", ["kubelet", "containerd"])
def test_a_killed_program_of_a_node_that_comes_back_costs_no_request(
    name: str, site: Site, measurements: Measurements
) -> None:
    site.serve()
    asking = load.start(site)
    machine = site.machine_of(1)

    def disturb() -> None:
        machine.signal(program(machine, name))
        wait_for(lambda: _gone(machine, name), seconds=20, what=f"{name} ends")
        machine.restart(name)
        time.sleep(BLINK_SECONDS)

    failed = measure.survives(
        site, measurements, fault=f"kill -9 of the {name}", at="the node of rank 1", disturb=disturb, load=asking
    )
    assert failed == []
    wait_for(lambda: node_ready(site.kubectl, machine.name), seconds=120, what="the node is Ready")


def _gone(machine: Machine, name: str) -> bool:
    return not [line for line in machine.processes().values() if line.split()[0].endswith(f"/{name}")]


def test_a_short_partition_ends_no_group(site: Site, measurements: Measurements, joined: None) -> None:
    site.serve()
    asking = load.start(site)
    machine = site.machine_of(1)

    def disturb() -> None:
        machine.part()
        time.sleep(BLINK_SECONDS)
        machine.join()
        time.sleep(load.ANSWER_SECONDS)

    measure.survives(
        site, measurements, fault=f"cable out for {BLINK_SECONDS} s", at="the node of rank 1", disturb=disturb,
        load=asking,
    )  # fmt: skip
    assert chat(site) == "16 ranks on 2 nodes heard: good morning"


@pytest.mark.slow
def test_a_long_partition_moves_the_group_and_the_healed_node_brings_nothing_back(
    site: Site, measurements: Measurements, joined: None
) -> None:
    site.serve(recovery={"nodeLostAfterSeconds": 10})
    asking = load.start(site)
    parted = site.machine_of(1)
    old = site.engine_of(1)
    found = measure.restarts(
        site, measurements, fault="cable out", rank=1, inject=parted.part, load=asking, seconds=150
    )
    assert (found["rank"], found["node"], found["reason"]) == (1, parted.name, "NodeLost")
    assert parted.name not in {pod["spec"]["nodeName"] for pod in site.pods()}
    assert old in parted.processes(), "the parted node could not know"

    def heal() -> None:
        parted.join()
        # It waits for an order of its leader, until its pod's grace period of 120 s is over.
        wait_for(lambda: old not in parted.processes(), seconds=180, what="the rank of the last incarnation ends")

    failed = measure.survives(
        site, measurements, fault="the parted node comes back", at="the last incarnation", disturb=heal, load=asking
    )
    assert failed == []


def test_a_drained_node_is_left_and_the_group_serves_elsewhere(site: Site, measurements: Measurements) -> None:
    site.serve()
    asking = load.start(site)
    node = site.machine_of(1).name
    drain = ("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=120s")
    selected = "--pod-selector=serving.deepseek-operator.io/deployment=x"
    try:
        found = measure.restarts(
            site, measurements, fault="kubectl drain", rank=1, inject=partial(_run, site, *drain, selected), load=asking
        )
    finally:
        site.kubectl("uncordon", node)
    assert found["reason"] == "EvictionByEvictionAPI"
    assert site.group()["restarts"] == 0
    assert node not in {pod["spec"]["nodeName"] for pod in site.pods()}


def _run(site: Site, *arguments: str) -> None:
    site.kubectl(*arguments)

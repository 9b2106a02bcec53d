"""What is reported of accelerators and their nodes: told at once, acted on where a group does not serve."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from deepseek_operator.lifecycle.devices import devices_healthy, troubled
from deepseek_operator.lifecycle.groups import Observed, advance
from deepseek_operator.lifecycle.records import NodeRecord, PodRecord
from tests.unit.lifecycle.observed import NOW, TARGET, entry, later, limits, pod, serving_entry, stateful_set

GPU = "nvidia.com/gpu"
BROKEN = f"{GPU} GPU-1 is unhealthy"
ILL = "GPUMissing=True (GPUCountMismatch)"


def rank(number: int, **changes: Any) -> PodRecord:
    return pod(number, devices=((GPU, 8), ("rdma/hca", 1)), **changes)


def nodes(**changes: Any) -> dict[str, NodeRecord]:
    whole = {"offered": ((GPU, 8), ("rdma/hca", 1))}
    return {f"node-{number}": NodeRecord(name=f"node-{number}", **(whole | changes)) for number in range(2)}


def test_nothing_is_reported_of_a_healthy_rank() -> None:
    assert troubled(rank(1), nodes()) == ""


TROUBLES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "an unhealthy device": ({"unhealthy": BROKEN}, {}, BROKEN),
    "an agent's condition": ({}, {"ill": (ILL,)}, f"the node reports {ILL}"),
    "a node that offers less than runs there": (
        {},
        {"offered": ((GPU, 7), ("rdma/hca", 1))},
        f"the node offers 7 {GPU} of the 8 that the rank runs with",
    ),
    "a plugin that is restarted": ({}, {"offered": ((GPU, 0),)}, ""),
    "a node that is gone": ({"node": "node-9"}, {}, ""),
}


@pytest.mark.parametrize("case", TROUBLES)
def test_what_is_told_of(case: str) -> None:
    of_pod, of_nodes, expected = TROUBLES[case]
    assert troubled(rank(1, **of_pod), nodes(**of_nodes)) == expected


def test_the_condition_names_rank_node_and_device() -> None:
    found = devices_healthy([(rank(0), rank(1, unhealthy=BROKEN))], nodes())
    assert (found.status, found.reason) == ("False", "DeviceUnhealthy")
    assert found.message == f"x-g0-1 on node-1: {BROKEN}"
    assert devices_healthy([(rank(0),)], nodes(ill=(ILL,))).reason == "NodeTroubled"
    assert devices_healthy([(rank(0),)], nodes()).status == "True"
    assert devices_healthy([(rank(0, node="", scheduled=False),)], nodes()).status == "Unknown"


def step(before: Any, *pods: PodRecord, troubles: dict[str, str] | None = None) -> Any:
    observed = Observed(workload=stateful_set(), pods=pods, troubles=troubles or {})
    return advance(before, observed, limits=limits(spare_nodes=1), start_with=TARGET, suspended=False, now=NOW)


def test_a_serving_group_goes_on_serving() -> None:
    assert step(serving_entry(), rank(0), rank(1, unhealthy=BROKEN)).intent == "Run"


def test_a_group_that_does_not_serve_is_restarted_at_once() -> None:
    after = step(serving_entry(), rank(0, ready=False), rank(1, unhealthy=BROKEN))
    assert after.intent == "Stop"
    (incident,) = after.incidents
    assert (incident.reason, incident.rank, incident.node) == ("DeviceUnhealthy", 1, "node-1")
    assert "GPU-1" in incident.message


def test_a_group_that_is_starting_does_not_wait_for_its_deadline() -> None:
    starting = [rank(0, ready=False), rank(1, ready=False, unhealthy=BROKEN)]
    assert step(entry(), *starting).incidents[0].reason == "DeviceUnhealthy"


def restarted(after: Any) -> Any:
    observed = Observed(workload=stateful_set(replicas=0, current_replicas=0), pods=())
    return advance(after, observed, limits=limits(spare_nodes=1), start_with=TARGET, suspended=False, now=later(700))


def test_the_next_start_avoids_the_node_at_once() -> None:
    after = restarted(
        step(serving_entry(), rank(0, ready=False), rank(1, unhealthy=BROKEN), troubles={"uid-0-1-1": BROKEN})
    )
    assert (after.intent, after.avoided_nodes) == ("Run", ("node-1",))
    assert "away from node-1" in after.message


def ended(**changes: Any) -> PodRecord:
    failed = rank(1)
    return replace(failed, engine=replace(failed.engine, state="terminated", exit_code=1, **changes))


def test_an_engine_that_ended_on_a_troubled_node_tells_so_and_avoids_it() -> None:
    after = step(serving_entry(), rank(0), ended(), troubles={"uid-0-1-1": f"the node reports {ILL}"})
    assert after.incidents[0].trouble == f"the node reports {ILL}"
    assert restarted(after).avoided_nodes == ("node-1",)


def test_words_that_blame_a_device_avoid_its_node_at_once() -> None:
    after = step(serving_entry(), rank(0), ended(message="CUDA error: uncorrectable ECC error encountered"))
    assert after.incidents[0].diagnosis == "DeviceEcc"
    assert restarted(after).avoided_nodes == ("node-1",)


def test_other_words_do_not() -> None:
    after = step(serving_entry(), rank(0), ended(message="CUDA out of memory"))
    assert restarted(after).avoided_nodes == ()

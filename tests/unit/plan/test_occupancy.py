"""Devices that pods hold: which class is taken, and how "busy" differs from "does not fit"."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from deepseek_operator.catalog.load import load
from deepseek_operator.plan.inventory import read_node, take_inventory
from deepseek_operator.plan.occupancy import Waiting, requested, reserve, startable, widest, without
from deepseek_operator.plan.types import Facts, HardwareClass, Plan, Refusal
from tests.unit.plan import nodes
from tests.unit.plan.cases import FACTS, outcome_of, plan_of, refusal_of
from tests.unit.plan.test_placement import many

GPU = frozenset({"nvidia.com/gpu"})


def container(devices: int, *, as_limit: bool = False, **more: Any) -> dict[str, Any]:
    amounts = {"nvidia.com/gpu": str(devices), "cpu": "4"}
    return {"name": "c", "resources": {"limits" if as_limit else "requests": amounts}, **more}


def pod(
    *containers: dict[str, Any], init: tuple[dict[str, Any], ...] = (), node: str = "a", phase: str = "Running"
) -> dict[str, Any]:
    spec = {"containers": list(containers), "initContainers": list(init), "nodeName": node}
    return {"metadata": {"name": "p"}, "spec": spec, "status": {"phase": phase}}


@pytest.mark.parametrize(
    ("manifest", "devices"),
    [
        (pod(container(8)), 8),
        (pod(container(8, as_limit=True)), 8),
        (pod(container(2), container(3)), 5),
        (pod(container(1), init=(container(4),)), 4),
        (pod(container(5), init=(container(4),)), 5),
        (pod(container(2), init=(container(1, restartPolicy="Always"),)), 3),
        (pod({"name": "no resources"}), 0),
        (pod(container(8), phase="Succeeded"), 0),
        (pod(container(8), phase="Failed"), 0),
        (pod(container(8), phase="Pending"), 8),
        (pod(container(8), node=""), 0),
    ],
)
def test_a_pod_holds_what_the_scheduler_counts(manifest: dict[str, Any], devices: int) -> None:
    assert requested(manifest, GPU) == devices


def hardware(names: str, **changes: Any) -> HardwareClass:
    (found,) = take_inventory([read_node(nodes.h100(name)) for name in names], load()).classes
    return replace(found, **changes)


@pytest.mark.parametrize(
    ("used", "size", "devices", "wanted", "expected"),
    [
        ({}, 2, 8, 9, 2),
        ({}, 2, 8, 1, 1),
        ({"a": 1}, 2, 8, 9, 1),
        ({"a": 1, "b": 8, "c": 8}, 2, 8, 9, 0),
        ({}, 1, 4, 99, 8),
        ({"a": 4, "b": 5}, 1, 4, 99, 5),
        # Two ranks of a group never share a node, so two halves of one node are no group.
        ({"b": 8, "c": 8, "d": 8}, 2, 4, 99, 0),
        ({"b": 8, "c": 8}, 2, 4, 99, 2),
    ],
)
def test_groups_that_could_start_now(used: dict[str, int], size: int, devices: int, wanted: int, expected: int) -> None:
    assert startable(hardware("abcd"), used, nodes=size, devices=devices, wanted=wanted) == expected


def test_in_domains_a_group_needs_its_nodes_in_one_of_them() -> None:
    racks = hardware("abcd", topology_key="rack", domains={"1": ("a", "b", "c"), "2": ("d",)})
    assert widest(racks) == 3
    assert startable(racks, {}, nodes=2, devices=8, wanted=9) == 1
    assert startable(racks, {"a": 8, "b": 8}, nodes=2, devices=8, wanted=9) == 0


def test_planned_pods_take_free_nodes_until_they_have_their_own() -> None:
    used = {"a": 8}
    waiting = Waiting(hardware=hardware("abcd"), nodes_per_group=2, devices=8, pods=2)
    assert reserve(used, waiting) == {"b": 8, "c": 8}
    assert used == {"a": 8, "b": 8, "c": 8}
    assert reserve(used, waiting) == {}, "what finds no room waits and takes nothing"


def test_a_deployment_never_stands_in_its_own_way() -> None:
    assert without({"a": 8, "b": 8}, {"a": 8}) == {"a": 0, "b": 8}


H100_AND_H200 = [*many(nodes.h100, 2), *(nodes.h200(name) for name in ("x", "y"))]


def busy(*names: str) -> Facts:
    return replace(FACTS, used=dict.fromkeys(names, 8))


def test_free_nodes_come_before_fewer_nodes() -> None:
    assert plan_of(H100_AND_H200).hardware.product == "NVIDIA-H200"
    plan = plan_of(H100_AND_H200, facts=busy("x", "y"))
    assert plan.hardware.product == "NVIDIA-H100-80GB-HBM3"
    assert not any(each.startswith("NodesBusy") for each in plan.warnings)


def test_what_fits_but_is_busy_is_planned_and_says_so() -> None:
    plan = plan_of(many(nodes.h100, 2), facts=busy("h100-0"))
    (warning,) = [each for each in plan.warnings if each.startswith("NodesBusy")]
    assert "0 of 1 groups can start now" in warning
    assert "h100-0" in warning
    assert plan.considered[0].reason.endswith("busy now")


def test_busy_labels_missing_and_does_not_fit_are_three_answers() -> None:
    fits = outcome_of(many(nodes.h100, 2), facts=busy("h100-0", "h100-1"))
    unlabelled = refusal_of([nodes.node("a", labels={}, allocatable={"nvidia.com/gpu": "8"})])
    small = refusal_of(many(nodes.h100, 1))
    assert isinstance(fits, Plan)
    assert (unlabelled.problems[0].reason, small.problems[0].reason) == ("LabelsMissing", "NodesMissing")


def test_a_burst_of_deployments_spreads_over_classes() -> None:
    cluster, used = H100_AND_H200, dict[str, int]()
    chosen = []
    for _ in range(3):
        plan = plan_of(cluster, facts=replace(FACTS, used=used))
        chosen.append(plan.hardware.product)
        reserve(
            used,
            Waiting(
                hardware=plan.hardware,
                nodes_per_group=plan.nodes_per_group,
                devices=plan.accelerators_per_node,
                pods=plan.nodes_per_group,
            ),
        )
    assert chosen == ["NVIDIA-H200", "NVIDIA-H200", "NVIDIA-H100-80GB-HBM3"]
    assert set(used.values()) == {8}


def test_more_groups_than_nodes_are_planned_and_the_rest_is_told() -> None:
    plan = plan_of(many(nodes.h200, 2), replicas=3)
    (warning,) = [each for each in plan.warnings if each.startswith("NodesExpected")]
    assert "3 groups take 3 nodes" in warning
    assert "set spec.replicas to 2" in warning
    assert not [each for each in plan_of(many(nodes.h200, 2), replicas=2).warnings if "NodesExpected" in each]


def test_a_class_with_room_for_all_groups_comes_first() -> None:
    cluster = [nodes.h200("x"), *many(nodes.b200, 3)]
    assert plan_of(cluster, replicas=2).hardware.product == "NVIDIA-B200"


def test_use_never_makes_a_plan_impossible() -> None:
    everything = busy(*(each["metadata"]["name"] for each in H100_AND_H200))
    assert not isinstance(outcome_of(H100_AND_H200, facts=everything), Refusal)

"""What a user may say where labels are silent, and that it then works."""

from __future__ import annotations

from typing import Any

from deepseek_operator.catalog.load import load
from deepseek_operator.plan.inventory import read_node, take_inventory
from deepseek_operator.plan.placement import make_plan
from deepseek_operator.plan.slices import devices_by_node
from deepseek_operator.plan.types import Plan, Refusal
from tests.unit.plan.cases import FACTS, plan_of, refusal_of, spec_of
from tests.unit.plan.labellers import (
    H100,
    H200,
    MAPPED,
    NFD_NVIDIA,
    UNMAPPED,
    machine,
    nvidia_device,
    published,
    resource_slice,
)
from tests.unit.plan.nodes import Manifest

H200_WISH: dict[str, Any] = {"hardware": {"product": "H200"}}


def test_with_pci_labels_naming_the_product_is_enough() -> None:
    cluster = [machine(name, NFD_NVIDIA, nvidia__gpu=8) for name in "ab"]
    refused = refusal_of(cluster)
    assert refused.problems[0].reason == "LabelsMissing"
    assert refused.problems[0].message.endswith("or set spec.hardware.product; 1 more nodes like it")
    plan = plan_of(cluster, **H200_WISH)
    assert plan.hardware.node_labels == NFD_NVIDIA
    assert plan.hardware.nodes == ("a", "b")


def test_without_pci_labels_a_node_selector_is_needed_and_enough() -> None:
    cluster = [machine("a", {"pool": "h200"}, nvidia__gpu=8)]
    problem = refusal_of(cluster, **H200_WISH).problems[0]
    assert "spec.hardware.nodeSelector to a label of such nodes" in problem.message
    plan = plan_of(cluster, hardware={"product": "H200", "nodeSelector": {"pool": "h200"}})
    assert plan.hardware.node_labels == {"pool": "h200"}


def test_a_pci_label_is_not_enough_where_it_would_let_pods_stray() -> None:
    cluster = [machine("a", NFD_NVIDIA, nvidia__gpu=8), machine("b", H100, nvidia__gpu=8)]
    assert refusal_of(cluster, **H200_WISH).problems[0].reason == "LabelsMissing"


def test_shares_of_devices_are_not_taken_for_a_product() -> None:
    cluster = [machine("a", NFD_NVIDIA, nvidia__gpu=80)]
    plan = plan_of(cluster, **H200_WISH)
    assert plan.hardware.nodes == (), "nodes are expected; this one is none of them"
    assert any("no server carries more than 16" in each for each in plan.warnings)


def test_further_nodes_never_take_named_ones_away() -> None:
    named: dict[str, Any] = {"hardware": {"product": "H200", "nodeSelector": {"pool": "h200"}}}
    bare = [machine("a", {"pool": "h200"}, nvidia__gpu=8)]
    labelled = machine("b", H200 | {"pool": "h200"}, nvidia__gpu=8)
    assert plan_of(bare, **named).hardware.nodes == ("a",)
    assert plan_of([*bare, labelled], **named).nodes_per_group == 1


def with_slices(
    cluster: list[Manifest], slices: list[Manifest], classes: list[Manifest], **fields: Any
) -> Plan | Refusal:
    catalog, spec = load(), spec_of(fields)
    inventory = take_inventory(map(read_node, cluster), catalog, published=devices_by_node(slices, classes, catalog))
    return make_plan(spec, inventory, catalog, FACTS, namespace="default", name="deepseek")


def h200_slice(node: str) -> Manifest:
    devices = [nvidia_device(index, "NVIDIA H200", "143771Mi") for index in range(8)]
    return resource_slice(node, devices, driver="gpu.nvidia.com")


def test_devices_that_only_claims_reach_are_refused_with_the_remedy_that_works() -> None:
    cluster, slices = [machine("a", {})], [h200_slice("a")]
    refusal = with_slices(cluster, slices, [UNMAPPED])
    assert isinstance(refusal, Refusal)
    problem = refusal.problems[0]
    assert problem.reason == "DevicesNotRequestable"
    assert "set spec.extendedResourceName: nvidia.com/gpu in DeviceClass gpu.nvidia.com" in problem.message
    assert isinstance(with_slices(cluster, slices, [MAPPED]), Plan)


def test_mapped_devices_are_requested_as_ever() -> None:
    plan = with_slices([machine("a", {})], [h200_slice("a")], [MAPPED])
    assert isinstance(plan, Plan)
    assert (plan.hardware.resource, plan.accelerators_per_node) == ("nvidia.com/gpu", 8)
    assert plan.hardware.driver == "580"


def test_nodes_that_no_label_tells_apart_need_a_node_selector() -> None:
    cluster = [machine("a", {"pool": "h200"}), machine("b", {}), machine("c", {})]
    slices = [h200_slice("a"), published("b"), published("c")]
    refusal = with_slices(cluster, slices, [MAPPED], **H200_WISH)
    assert isinstance(refusal, Refusal)
    problem = refusal.problems[0]
    assert (problem.field, problem.reason) == ("spec.hardware.nodeSelector", "LabelsMissing")
    plan = with_slices(cluster, slices, [MAPPED], hardware={"product": "H200", "nodeSelector": {"pool": "h200"}})
    assert isinstance(plan, Plan)
    assert plan.hardware.nodes == ("a",)


def test_hundreds_of_nodes_with_one_flaw_take_four_sentences() -> None:
    refusal = refusal_of([machine(f"n{index:03}", H200, ready=False, nvidia__gpu=8) for index in range(300)])
    assert len(refusal.warnings) == 4
    assert refusal.warnings[-1] == "297 more nodes are left out for the same reason, NotReady"

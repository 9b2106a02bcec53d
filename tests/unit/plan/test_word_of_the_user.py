"""What a user may say where labels are silent, and that it then works."""

from __future__ import annotations

from typing import Any

import pytest

from deepseek_operator.catalog.load import load
from deepseek_operator.plan.inventory import read_node, take_inventory
from deepseek_operator.plan.placement import make_plan
from deepseek_operator.plan.slices import devices_by_node
from deepseek_operator.plan.types import Plan, Refusal
from deepseek_operator.render.pod import pod_template
from tests.unit.plan.cases import FACTS, plan_of, refusal_of, spec_of
from tests.unit.plan.labellers import (
    H100,
    H200,
    MAPPED,
    MI300X,
    NFD_NVIDIA,
    UNMAPPED,
    amd,
    gke,
    karpenter,
    machine,
    nvidia_device,
    published,
    resource_slice,
)
from tests.unit.plan.nodes import Manifest
from tests.unit.render.samples import LAUNCH, OWNER

GKE = gke("nvidia-h100-80gb", machine_type="a3-highgpu-8g")
del GKE["cloud.google.com/gke-accelerator-count"]
KARPENTER = karpenter("h100", 81920, machine_type="p5.48xlarge")
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


@pytest.mark.parametrize(
    ("whole", "parts", "resource", "label"),
    [
        (MI300X, amd("74a1", "AMD_Instinct_MI300X_OAM", 192, partition="CPX_NPS4"), "amd", "CPX_NPS4"),
        (GKE, {**GKE, "cloud.google.com/gke-gpu-partition-size": "1g.10gb"}, "nvidia", "1g.10gb"),
        (KARPENTER, {**KARPENTER, "nvidia.com/mig.config": "all-1g.10gb"}, "nvidia", "all-1g.10gb"),
    ],
    ids=["AMD", "GKE", "Karpenter"],
)
def test_pods_are_kept_off_partitions_that_carry_the_same_product_label(
    whole: dict[str, str], parts: dict[str, str], resource: str, label: str
) -> None:
    cluster = [
        *(machine(name, whole, extra={f"{resource}.com/gpu": 8, "rdma/hca": 8}) for name in "ab"),
        machine("c", parts, extra={f"{resource}.com/gpu": 64, "rdma/hca": 8}),
    ]
    plan = plan_of(cluster)
    assert plan.hardware.nodes == ("a", "b")
    assert plan.hardware.node_labels.items() <= parts.items(), "nothing else would keep them off"
    template = pod_template(owner=OWNER, spec=spec_of({}), plan=plan, launch=LAUNCH, revision="r")
    affinity = template["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    expressions = affinity["nodeSelectorTerms"][0]["matchExpressions"]
    assert [each["values"] for each in expressions if each["operator"] == "NotIn"] == [[label]]


def test_hundreds_of_nodes_with_one_flaw_take_four_sentences() -> None:
    refusal = refusal_of([machine(f"n{index:03}", H200, ready=False, nvidia__gpu=8) for index in range(300)])
    assert len(refusal.warnings) == 4
    assert refusal.warnings[-1] == "297 more nodes are left out for the same reason, NotReady"

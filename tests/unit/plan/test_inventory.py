"""Nodes become classes, or are left out with a reason that names them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from deepseek_operator.api.operation import Toleration
from deepseek_operator.catalog.load import load
from deepseek_operator.plan.inventory import read_node, take_inventory
from tests.unit.plan import nodes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from deepseek_operator.plan.types import HardwareClass, Inventory, SkippedNode
    from tests.unit.plan.nodes import Manifest


def inventory_of(cluster: Iterable[Manifest], *, tolerations: tuple[Toleration, ...] = ()) -> Inventory:
    return take_inventory(map(read_node, cluster), load(), tolerations=tolerations)


def only_class(*cluster: Manifest) -> HardwareClass:
    inventory = inventory_of(cluster)
    assert inventory.skipped == ()
    (found,) = inventory.classes
    return found


def only_skipped(manifest: Manifest) -> SkippedNode:
    inventory = inventory_of([manifest])
    assert inventory.classes == ()
    (skipped,) = inventory.skipped
    assert skipped.name in skipped.message
    return skipped


def labelled(manifest: Manifest, **labels: str) -> Manifest:
    manifest["metadata"]["labels"].update({key.replace("__", "/"): value for key, value in labels.items()})
    return manifest


@pytest.mark.parametrize(
    ("manifest", "product", "architecture", "gib", "devices", "pin"),
    [
        (nodes.h100("a"), "NVIDIA-H100-80GB-HBM3", "sm90", 79.65, 8, "nvidia.com/gpu.product"),
        (nodes.h200("a"), "NVIDIA-H200", "sm90", 140.4, 8, "nvidia.com/gpu.product"),
        (nodes.a100("a"), "NVIDIA-A100-SXM4-80GB", "sm80", 80.0, 8, "nvidia.com/gpu.product"),
        (nodes.b200("a"), "NVIDIA-B200", "sm100", 179.06, 8, "nvidia.com/gpu.product"),
        (nodes.mi300x("a"), "MI300X", "gfx942", 192.0, 8, "amd.com/gpu.device-id"),
        (nodes.mi300x("a", legacy=True), "MI300X", "gfx942", 192.0, 8, "beta.amd.com/gpu.device-id.74a1"),
        (nodes.mi325x("a"), "MI325X", "gfx942", 256.0, 8, "amd.com/gpu.device-id"),
        (nodes.mi355x("a"), "MI355X", "gfx950", 288.0, 8, "amd.com/gpu.device-id"),
        (nodes.ascend910b("a"), "Ascend910B", "ascend910b", 64.0, 8, "huawei.com/npu.chip.name"),
        (nodes.ascend910b("a", old=True), "Ascend910B", "ascend910b", 64.0, 8, "accelerator-type"),
        (nodes.ascend910c("a"), "Ascend910C", "ascend910c", 64.0, 16, "huawei.com/npu.chip.name"),
        (nodes.ascend910c("a", old=True), "Ascend910C", "ascend910c", 64.0, 16, "accelerator-type"),
    ],
)
def test_a_labelled_node_is_recognised(
    manifest: Manifest, product: str, architecture: str, gib: float, devices: int, pin: str
) -> None:
    found = only_class(manifest)
    assert (found.product, found.architecture) == (product, architecture)
    assert found.memory_gib == pytest.approx(gib, abs=0.05)
    assert found.accelerators_per_node == devices
    assert list(found.node_labels) == [pin]


def test_the_device_id_is_trusted_before_the_product_name() -> None:
    manifest = nodes.amd("a", device_id="74a5", product="AMD_Instinct_MI300X_OAM", vram="256G")
    assert only_class(manifest).product == "MI325X"


def test_a_product_name_alone_is_enough() -> None:
    manifest = nodes.mi325x("a")
    del manifest["metadata"]["labels"]["amd.com/gpu.device-id"]
    assert only_class(manifest).product == "MI325X"


def test_a_cloud_label_stands_in_for_a_missing_labeller() -> None:
    manifest = nodes.node(
        "a",
        labels={"cloud.google.com/gke-accelerator": "nvidia-h100-80gb"},
        allocatable={"nvidia.com/gpu": "8"},
    )
    found = only_class(manifest)
    assert found.product == "NVIDIA-H100-80GB-HBM3"
    assert found.memory_gib == pytest.approx(79.6)


def test_nodes_without_accelerators_are_not_mentioned() -> None:
    inventory = inventory_of([nodes.node("cpu", labels={}, allocatable={})])
    assert (inventory.classes, inventory.skipped) == ((), ())


def test_alike_nodes_form_one_class_with_the_least_of_each() -> None:
    small = nodes.h100("b")
    small["status"]["allocatable"] |= {"cpu": "96", "rdma/hca": "7"}
    found = only_class(nodes.h100("a"), small)
    assert found.nodes == ("a", "b")
    assert found.cpu_millicores == 96_000
    assert found.memory_bytes == 2_113_412_348 * 1024
    assert found.extended["rdma/hca"] == 7
    assert found.tolerations == ("nvidia.com/gpu",)


@pytest.mark.parametrize(
    ("key", "value"),
    [("kubernetes.io/arch", "arm64"), ("nvidia.com/cuda.driver-version.major", "570")],
)
def test_nodes_that_differ_never_share_a_class(key: str, value: str) -> None:
    other = nodes.h100("b")
    other["metadata"]["labels"][key] = value
    assert len(inventory_of([nodes.h100("a"), other]).classes) == 2


def test_a_node_without_rdma_is_a_class_of_its_own() -> None:
    classes = inventory_of([nodes.h100("a"), nodes.h100("b", rdma=False)]).classes
    assert sorted((each.rdma_resource or "", each.rdma_count) for each in classes) == [("", 0), ("rdma/hca", 1)]


def test_all_of_an_exclusive_rdma_resource_is_requested() -> None:
    manifest = nodes.h100("a", rdma=False)
    manifest["status"]["allocatable"]["nvidia.com/hostdev"] = "8"
    found = only_class(manifest)
    assert (found.rdma_resource, found.rdma_count) == ("nvidia.com/hostdev", 8)


def cordoned(manifest: Manifest) -> Manifest:
    manifest["spec"]["unschedulable"] = True
    return manifest


def tainted(manifest: Manifest) -> Manifest:
    manifest["spec"]["taints"].append({"key": "team", "value": "a", "effect": "NoSchedule"})
    return manifest


def with_allocatable(manifest: Manifest, **amounts: str) -> Manifest:
    manifest["status"]["allocatable"] |= {key.replace("__", "/"): value for key, value in amounts.items()}
    return manifest


SKIPS: list[tuple[Callable[[], Manifest], str, str]] = [
    (
        lambda: nodes.nvidia("n", "NVIDIA-H200", memory=143771, major=9, ready=False),
        "NotReady",
        "kubectl describe node",
    ),
    (lambda: cordoned(nodes.h100("n")), "Cordoned", "kubectl uncordon n"),
    (lambda: tainted(nodes.h100("n")), "Tainted", "spec.scheduling.tolerations"),
    (lambda: nodes.nvidia("n", "NVIDIA-H100-80GB-HBM3-SHARED", memory=81559, major=9), "NotWhole", "-SHARED"),
    (lambda: nodes.nvidia("n", "NVIDIA-H100-80GB-HBM3-MIG-1g.10gb", memory=81559, major=9), "NotWhole", "-MIG-"),
    (lambda: with_allocatable(nodes.h100("n"), **{"nvidia.com__mig-1g.10gb": "7"}), "NotWhole", "mig-1g.10gb"),
    (lambda: labelled(nodes.h100("n"), **{"nvidia.com__gpu.replicas": "4"}), "NotWhole", "replicas=4"),
    (
        lambda: labelled(nodes.h100("n"), **{"nvidia.com__gpu.sharing-strategy": "time-slicing"}),
        "NotWhole",
        "time-slicing",
    ),
    (lambda: labelled(nodes.h100("n"), **{"nvidia.com__vgpu.present": "true"}), "NotWhole", "vgpu.present"),
    (
        lambda: labelled(nodes.mi300x("n"), **{"amd.com__gpu.compute-memory-partition": "CPX_NPS4"}),
        "NotWhole",
        "CPX_NPS4",
    ),
    (lambda: with_allocatable(nodes.h100("n"), **{"nvidia.com__gpu": "4"}), "Contradictory", "8 devices by its labels"),
    (lambda: labelled(nodes.h100("n"), **{"nvidia.com__gpu.memory": "40960"}), "Contradictory", "40.0 GiB"),
    (lambda: labelled(nodes.h100("n"), **{"nvidia.com__gpu.compute.major": "8"}), "Contradictory", "capability 8"),
    (lambda: labelled(nodes.ascend910b("n"), **{"huawei.com__npu.chip.memory": "32G"}), "Contradictory", "32.0 GiB"),
    (lambda: with_allocatable(nodes.h100("n"), **{"nvidia.com__gpu": "0"}), "NoDevices", "device plugin"),
    (
        lambda: nodes.nvidia("n", "NVIDIA-Z9000", memory=81559, major=9),
        "UnknownProduct",
        "NVIDIA-Z9000 is not in the catalogue",
    ),
    (
        lambda: nodes.node("n", labels={}, allocatable={"nvidia.com/gpu": "8"}),
        "Unlabelled",
        "GPU Feature Discovery",
    ),
    (lambda: nodes.node("n", labels={}, allocatable={"amd.com/gpu": "8"}), "Unlabelled", "AMD GPU Operator"),
    (lambda: nodes.node("n", labels={}, allocatable={"huawei.com/npu": "8"}), "Unlabelled", "MindCluster"),
]


@pytest.mark.parametrize(("make", "reason", "says"), SKIPS)
def test_a_node_that_does_not_count_says_why_and_what_helps(
    make: Callable[[], Manifest], reason: str, says: str
) -> None:
    skipped = only_skipped(make())
    assert skipped.reason == reason
    assert says in skipped.message


def test_a_whole_device_with_the_mig_strategy_label_counts() -> None:
    manifest = labelled(nodes.h100("n"), **{"nvidia.com__mig.config": "all-disabled"})
    assert manifest["metadata"]["labels"]["nvidia.com/mig.strategy"] == "single"
    assert only_class(manifest).accelerators_per_node == 8


def test_two_kinds_of_accelerators_in_one_node_are_left_out() -> None:
    labels = {"amd.com/gpu.device-id.74a1": "4", "amd.com/gpu.device-id.74a5": "4"}
    skipped = only_skipped(nodes.node("n", labels=labels, allocatable={"amd.com/gpu": "8"}))
    assert skipped.reason == "Contradictory"
    assert "74a1, 74a5" in skipped.message


@pytest.mark.parametrize(
    "toleration",
    [
        Toleration(key="team", operator="Equal", value="a", effect="NoSchedule"),
        Toleration(key="team", operator="Exists"),
        Toleration(operator="Exists"),
    ],
)
def test_a_tolerated_taint_does_not_matter(toleration: Toleration) -> None:
    assert inventory_of([tainted(nodes.h100("n"))], tolerations=(toleration,)).classes


@pytest.mark.parametrize(
    "toleration",
    [
        Toleration(key="team", operator="Equal", value="b"),
        Toleration(key="other", operator="Exists"),
        Toleration(key="team", operator="Exists", effect="NoExecute"),
    ],
)
def test_a_toleration_of_something_else_does_not_help(toleration: Toleration) -> None:
    assert not inventory_of([tainted(nodes.h100("n"))], tolerations=(toleration,)).classes


def test_the_memory_label_is_believed_when_it_is_near_the_catalogue() -> None:
    nominal = labelled(nodes.h100("n"), **{"nvidia.com__gpu.memory": "81920"})
    assert only_class(nominal).memory_gib == 80.0


def test_a_memory_label_far_above_the_catalogue_is_not_believed() -> None:
    odd = labelled(nodes.ascend910c("n"), **{"huawei.com__npu.chip.memory": "128G"})
    assert only_class(odd).memory_gib == 64.0


@pytest.mark.parametrize(
    ("quantity", "millicores"),
    [("190", 190_000), ("189500m", 189_500), (8, 8000), ("1.5", 1500), ("odd", 0)],
)
def test_cpu_is_read_in_millicores(quantity: Any, millicores: int) -> None:
    manifest = nodes.h100("n")
    manifest["status"]["allocatable"]["cpu"] = quantity
    assert read_node(manifest).allocatable["cpu"] == millicores


@pytest.mark.parametrize(
    ("quantity", "amount"), [("1Ki", 1024), ("2Gi", 2**31), ("1k", 1000), ("129e6", 129_000_000), ("2Ti", 2**41)]
)
def test_memory_is_read_in_bytes(quantity: str, amount: int) -> None:
    manifest = nodes.h100("n")
    manifest["status"]["allocatable"]["memory"] = quantity
    assert read_node(manifest).allocatable["memory"] == amount


def test_an_empty_manifest_is_a_node_without_anything() -> None:
    node = read_node({})
    assert (node.name, node.labels, node.taints, node.allocatable) == ("", {}, (), {})

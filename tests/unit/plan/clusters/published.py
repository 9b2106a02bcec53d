"""Devices in ResourceSlices."""

from __future__ import annotations

from tests.unit.plan.clusters.case import H100_PRODUCT, Cluster, sliced
from tests.unit.plan.labellers import (
    H100,
    H200,
    MAPPED,
    MIG_CLASS,
    UNMAPPED,
    amd_device,
    device_class,
    gke,
    machine,
    nvidia_device,
    published,
    resource_slice,
)

AMD_SLICE = resource_slice(
    "a", [amd_device(index, "74a1", "AMD_Instinct_MI300X_OAM") for index in range(8)], driver="gpu.amd.com"
)
AMD_MAPPED = device_class("gpu.amd.com", "amd.com/gpu", kind="amdgpu")

CLUSTERS: dict[str, Cluster] = {
    # Devices in ResourceSlices.
    "DRA, mapped to the extended resource": sliced(f"{H100_PRODUCT} x8", published("a"), classes=[MAPPED, MIG_CLASS]),
    "DRA, reached by claims alone": sliced("!NotRequestable", published("a"), classes=[UNMAPPED, MIG_CLASS]),
    "DRA without any device class": sliced("!NotRequestable", published("a"), classes=[]),
    "DRA beside GFD's labels": sliced(f"{H100_PRODUCT} x8", published("a"), classes=[MAPPED], labels=H100),
    "DRA on GKE": sliced(
        f"{H100_PRODUCT} x8",
        published("a"),
        classes=[MAPPED],
        labels=gke("nvidia-h100-80gb", machine_type="a3-highgpu-8g", gke_gpu_dra_driver="true"),
    ),
    "DRA and the device plugin: allocatable is believed": sliced(
        "NVIDIA-H200 x8", published("a"), classes=[MAPPED], labels=H200, devices={"nvidia.com/gpu": 8}
    ),
    "DRA that contradicts the labels": sliced("!Contradictory", published("a"), classes=[MAPPED], labels=H200),
    "DRA, a product nobody knows": sliced("!UnknownProduct", published("a", "NVIDIA Z9000"), classes=[MAPPED]),
    "DRA, MIG": sliced(
        "!NotWhole",
        resource_slice(
            "a",
            [nvidia_device(index, "NVIDIA H100 80GB HBM3", "10Gi", kind="mig") for index in range(7)],
            driver="gpu.nvidia.com",
        ),
        classes=[MAPPED, MIG_CLASS],
    ),
    "DRA, one device tainted": sliced(
        "!NotWhole",
        resource_slice(
            "a",
            [
                nvidia_device(0, "NVIDIA H200", "143771Mi"),
                nvidia_device(1, "NVIDIA H200", "143771Mi") | {"taints": [{"key": "sick", "effect": "NoExecute"}]},
            ],
            driver="gpu.nvidia.com",
        ),
        classes=[MAPPED],
    ),
    "DRA, shared devices": sliced(
        "!NotWhole",
        resource_slice(
            "a",
            [nvidia_device(0, "NVIDIA H200", "143771Mi") | {"allowMultipleAllocations": True}],
            driver="gpu.nvidia.com",
        ),
        classes=[MAPPED],
    ),
    "DRA, too little memory": sliced(
        "!Contradictory",
        resource_slice("a", [nvidia_device(0, "NVIDIA H200", "80Gi")], driver="gpu.nvidia.com"),
        classes=[MAPPED],
    ),
    "DRA, the newest generation of a pool counts": sliced(
        f"{H100_PRODUCT} x8", published("a", count=4), published("a", generation=2), classes=[MAPPED]
    ),
    "DRA, a pool in several slices": sliced(
        f"{H100_PRODUCT} x8",
        published("a", count=4, slices=2),
        published("a", count=4, slices=2, part=1),
        classes=[MAPPED],
    ),
    "DRA, a pool that is not complete yet": Cluster(
        nodes=[machine("a", {})], classes=[], slices=[published("a", slices=2)], device_classes=[MAPPED]
    ),
    "DRA, AMD mapped": sliced("MI300X x8", AMD_SLICE, classes=[AMD_MAPPED]),
    "DRA, AMD as its chart installs it": sliced(
        "!NotRequestable", AMD_SLICE, classes=[device_class("gpu.amd.com", None, kind="amdgpu")]
    ),
    "DRA, AMD partitions": sliced(
        "!NotWhole",
        resource_slice(
            "a",
            [amd_device(index, "74a1", "AMD_Instinct_MI300X_OAM", kind="amdgpu-partition") for index in range(8)],
            driver="gpu.amd.com",
        ),
        classes=[AMD_MAPPED],
    ),
    "DRA, AMD with memory that its driver cannot read": sliced(
        "MI300X x8",
        resource_slice(
            "a",
            [amd_device(index, "74a1", "AMD_Instinct_MI300X_OAM", memory="0") for index in range(8)],
            driver="gpu.amd.com",
        ),
        classes=[AMD_MAPPED],
    ),
    "DRA, two products on one node": sliced(
        "!Contradictory",
        resource_slice(
            "a",
            [
                *(nvidia_device(index, "NVIDIA H200", "143771Mi") for index in range(4)),
                *(nvidia_device(index, "NVIDIA H100 80GB HBM3", "81559Mi") for index in range(4, 8)),
            ],
            driver="gpu.nvidia.com",
        ),
        classes=[MAPPED],
    ),
    "DRA of network cards is no concern": Cluster(
        nodes=[machine("a", {})],
        classes=[],
        slices=[resource_slice("a", [{"name": "nic-0"}], driver="dra.net")],
        device_classes=[MAPPED],
    ),
    "DRA nodes beside nodes of the device plugin": Cluster(
        nodes=[machine("a", H200), machine("b", H200, nvidia__gpu=8)],
        classes=["NVIDIA-H200 x8: a b"],
        slices=[
            resource_slice(
                "a",
                [nvidia_device(index, "NVIDIA H200", "143771Mi") for index in range(8)],
                driver="gpu.nvidia.com",
            )
        ],
        device_classes=[MAPPED],
    ),
}

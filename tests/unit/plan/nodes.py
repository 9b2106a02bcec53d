"""Node manifests as the vendors' labellers write them, by small functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

Manifest = dict[str, Any]


def node(
    name: str,
    *,
    labels: Mapping[str, str],
    allocatable: Mapping[str, str],
    taint: str | None = None,
    ready: bool = True,
) -> Manifest:
    spec: dict[str, Any] = {}
    if taint:
        spec["taints"] = [{"key": taint, "effect": "NoSchedule", "value": "present"}]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {"kubernetes.io/hostname": name, "kubernetes.io/arch": "amd64", **labels},
        },
        "spec": spec,
        "status": {
            "allocatable": {"cpu": "190", "memory": "2113412348Ki", "pods": "110", **allocatable},
            "conditions": [{"type": "Ready", "status": "True" if ready else "Unknown"}],
        },
    }


def nvidia(
    name: str,
    product: str,
    *,
    memory: int,
    major: int,
    devices: int = 8,
    rdma: bool = False,
    ready: bool = True,
) -> Manifest:
    labels = {
        "nvidia.com/gpu.product": product,
        "nvidia.com/gpu.count": str(devices),
        "nvidia.com/gpu.memory": str(memory),
        "nvidia.com/gpu.compute.major": str(major),
        "nvidia.com/gpu.replicas": "1",
        "nvidia.com/gpu.sharing-strategy": "none",
        "nvidia.com/mig.strategy": "single",
        "nvidia.com/cuda.driver-version.major": "580",
    }
    allocatable = {"nvidia.com/gpu": str(devices), **({"rdma/hca": "63"} if rdma else {})}
    return node(name, labels=labels, allocatable=allocatable, taint="nvidia.com/gpu", ready=ready)


def h100(name: str, *, rdma: bool = True) -> Manifest:
    return nvidia(name, "NVIDIA-H100-80GB-HBM3", memory=81559, major=9, rdma=rdma)


def h200(name: str, *, rdma: bool = True) -> Manifest:
    return nvidia(name, "NVIDIA-H200", memory=143771, major=9, rdma=rdma)


def a100(name: str, *, rdma: bool = True) -> Manifest:
    return nvidia(name, "NVIDIA-A100-SXM4-80GB", memory=81920, major=8, rdma=rdma)


def b200(name: str, *, rdma: bool = True) -> Manifest:
    return nvidia(name, "NVIDIA-B200", memory=183359, major=10, rdma=rdma)


def l40s(name: str, *, rdma: bool = True) -> Manifest:
    return nvidia(name, "NVIDIA-L40S", memory=46068, major=8, rdma=rdma)


def amd(name: str, *, device_id: str, product: str, vram: str, legacy: bool = False) -> Manifest:
    labels = {
        "amd.com/gpu.device-id": device_id,
        "amd.com/gpu.product-name": product,
        "amd.com/gpu.vram": vram,
        "amd.com/gpu.compute-memory-partition": "SPX_NPS1",
    }
    if legacy:
        labels = {f"beta.amd.com/gpu.device-id.{device_id}": "8", f"beta.amd.com/gpu.vram.{vram}": "8"}
    return node(name, labels=labels, allocatable={"amd.com/gpu": "8", "rdma/hca": "8"})


def mi300x(name: str, *, legacy: bool = False) -> Manifest:
    return amd(name, device_id="74a1", product="AMD_Instinct_MI300X_OAM", vram="192G", legacy=legacy)


def mi325x(name: str) -> Manifest:
    return amd(name, device_id="74a5", product="AMD_Instinct_MI325_OAM", vram="256G")


def mi355x(name: str) -> Manifest:
    return amd(name, device_id="75a3", product="AMD_Instinct_MI355_OAM", vram="288G")


def ascend910b(name: str, *, old: bool = False) -> Manifest:
    labels = {
        "accelerator": "huawei-Ascend910",
        "accelerator-type": "module-910b-8",
        "mind-cluster/npu-chip-memory": "64G",
        "kubernetes.io/arch": "arm64",
    }
    if not old:
        labels |= {"huawei.com/npu.chip.name": "910B3", "huawei.com/npu.chip.memory": "64G"}
    return node(name, labels=labels, allocatable={"huawei.com/Ascend910": "8"})


def ascend910c(name: str, *, old: bool = False) -> Manifest:
    labels = {"kubernetes.io/arch": "arm64", "mind-cluster/npu-chip-memory": "64G"}
    labels |= {"accelerator-type": "module-a3-16"} if old else {"huawei.com/npu.chip.name": "Ascend910_9392"}
    return node(name, labels=labels, allocatable={"huawei.com/Ascend910": "16"})

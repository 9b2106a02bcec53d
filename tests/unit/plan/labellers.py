"""Nodes and ResourceSlices as each labeller, cloud and driver writes them: every label that it would set.

Sources: NVIDIA/k8s-device-plugin 0.20 (internal/lm), ROCm/k8s-device-plugin (cmd/k8s-node-labeller),
Ascend/mind-cluster (node labels, old and of 2026), node-feature-discovery 0.18, documentation of GKE, EKS, Karpenter,
AKS, ACK, CCE and OCI, kubernetes-sigs/dra-driver-nvidia-gpu, ROCm/k8s-gpu-dra-driver docs/driver-attributes.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.unit.plan.nodes import node

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tests.unit.plan.nodes import Manifest

Labels = dict[str, str]

FAMILIES = {"8.0": "ampere", "8.9": "ada-lovelace", "9.0": "hopper", "10.0": "blackwell", "10.3": "blackwell"}
NFD_NVIDIA: Labels = {"feature.node.kubernetes.io/pci-10de.present": "true"}
NFD_DEFAULT_NVIDIA: Labels = {"feature.node.kubernetes.io/pci-0302_10de.present": "true"}
NFD_AMD: Labels = {"feature.node.kubernetes.io/pci-1200_1002.present": "true"}
NFD_HUAWEI: Labels = {"feature.node.kubernetes.io/pci-1200_19e5.present": "true"}
ARM: Labels = {"kubernetes.io/arch": "arm64"}


def machine(
    name: str,
    labels: Mapping[str, str],
    *,
    taint: str | None = None,
    ready: bool = True,
    cordoned: bool = False,
    extra: Mapping[str, int] | None = None,
    **resources: int,
) -> Manifest:
    """A node; resources are written ``nvidia__gpu=8`` for nvidia.com/gpu, those with other signs in ``extra``."""
    amounts = {key.replace("__", ".com/"): value for key, value in resources.items()}
    allocatable = {name: str(amount) for name, amount in {**amounts, **(extra or {})}.items()}
    manifest = node(name, labels=labels, allocatable=allocatable, taint=taint, ready=ready)
    if cordoned:
        manifest["spec"]["unschedulable"] = True
    return manifest


def gfd(
    product: str,
    *,
    memory: int,
    cc: str = "9.0",
    count: int = 8,
    driver: str = "580.95.05",
    replicas: int = 1,
    sharing: str = "none",
    **more: str,
) -> Labels:
    """GPU Feature Discovery 0.20, deprecated copies included."""
    major, minor, revision = driver.split(".")
    compute_major, compute_minor = cc.split(".")
    labels = {
        "gfd.timestamp": "1763625600",
        "cuda.driver.major": major,
        "cuda.driver.minor": minor,
        "cuda.driver.rev": revision,
        "cuda.driver-version.full": driver,
        "cuda.driver-version.major": major,
        "cuda.driver-version.minor": minor,
        "cuda.driver-version.revision": revision,
        "cuda.runtime.major": "13",
        "cuda.runtime.minor": "0",
        "cuda.runtime-version.full": "13.0",
        "cuda.runtime-version.major": "13",
        "cuda.runtime-version.minor": "0",
        "gpu.compute.major": compute_major,
        "gpu.compute.minor": compute_minor,
        "gpu.count": str(count),
        "gpu.family": FAMILIES.get(cc, "blackwell"),
        "gpu.machine": "HGX",
        "gpu.memory": str(memory),
        "gpu.mode": "compute",
        "gpu.present": "true",
        "gpu.product": product,
        "gpu.replicas": str(replicas),
        "gpu.sharing-strategy": sharing,
        "mig.capable": "true",
        "mig.strategy": "single",
        "mps.capable": "false",
        "vgpu.present": "false",
        **{key.replace("__", "."): value for key, value in more.items()},
    }
    return {f"nvidia.com/{key}": value for key, value in labels.items()} | NFD_NVIDIA


H100 = gfd("NVIDIA-H100-80GB-HBM3", memory=81559)
H200 = gfd("NVIDIA-H200", memory=143771)


def amd(
    device_id: str,
    product: str,
    vram: int,
    *,
    partition: str | None = "SPX_NPS1",
    beta_only: bool = False,
    count: int = 8,
    driver: str = "6.12.12",
) -> Labels:
    """AMD's node labeller with every label on: plain keys, and the legacy copies that put the value into the key."""
    values = {"device-id": device_id, "product-name": product, "vram": f"{vram}G", "family": "AI", "cu-count": "304"}
    beta = {f"beta.amd.com/gpu.{key}.{value}": str(count) for key, value in values.items()}
    if beta_only:
        return beta
    labels = {f"amd.com/gpu.{key}": value for key, value in values.items()}
    labels["amd.com/gpu.driver-version"] = driver
    labels["amd.com/gpu.compute-partitioning-supported"] = str(partition is not None).lower()
    labels["amd.com/gpu.memory-partitioning-supported"] = str(partition is not None).lower()
    if partition is not None:
        labels["amd.com/gpu.compute-memory-partition"] = partition
    return labels | {f"beta.amd.com/gpu.{key}": value for key, value in values.items()} | beta


MI300X = amd("74a1", "AMD_Instinct_MI300X_OAM", 192)


def mindcluster_old(server: str, chip: str, memory: str = "64G", *, arch: str = "arm64") -> Labels:
    """MindCluster before 2026."""
    return {
        "accelerator": "huawei-Ascend910",
        "accelerator-type": server,
        "host-arch": "huawei-arm" if arch == "arm64" else "huawei-x86",
        "workerselector": "dls-worker-node",
        "servertype": "Ascend910B-20",
        "node.kubernetes.io/npu.chip.name": chip,
        "mind-cluster/npu-chip-memory": memory,
        "kubernetes.io/arch": arch,
    }


def mindcluster(chip: str, memory: str = "64G", *, server: str = "Ascend910B-20") -> Labels:
    """MindCluster's names of 2026 alone."""
    return {
        "huawei.com/npu.chip.name": chip,
        "huawei.com/npu.chip.memory": memory,
        "huawei.com/npu.chip.boardid": "0x38",
        "huawei.com/npu.server.type": server,
        "huawei.com/npu.driver.version": "25.5.0",
        "workerselector": "dls-worker-node",
        "host-arch": "huawei-arm",
        "kubernetes.io/arch": "arm64",
    }


def gke(accelerator: str, *, machine_type: str, count: int = 8, **more: str) -> Labels:
    return {
        "cloud.google.com/gke-accelerator": accelerator,
        "cloud.google.com/gke-accelerator-count": str(count),
        "cloud.google.com/gke-nodepool": "gpu",
        "cloud.google.com/machine-family": machine_type.partition("-")[0],
        "node.kubernetes.io/instance-type": machine_type,
        "topology.kubernetes.io/zone": "us-central1-a",
        **{f"cloud.google.com/{key.replace('_', '-')}": value for key, value in more.items()},
    }


def karpenter(name: str, memory: int, *, machine_type: str, count: int = 8) -> Labels:
    return {
        "karpenter.sh/nodepool": "gpu",
        "karpenter.k8s.aws/instance-gpu-name": name,
        "karpenter.k8s.aws/instance-gpu-manufacturer": "nvidia",
        "karpenter.k8s.aws/instance-gpu-count": str(count),
        "karpenter.k8s.aws/instance-gpu-memory": str(memory),
        "karpenter.k8s.aws/instance-family": machine_type.partition(".")[0],
        "node.kubernetes.io/instance-type": machine_type,
        "topology.kubernetes.io/zone": "us-east-1a",
    }


def ack(name: str, memory: int, *, count: int = 8, **more: str) -> Labels:
    return {
        "aliyun.accelerator/nvidia_name": name,
        "aliyun.accelerator/nvidia_mem": f"{memory}MiB",
        "aliyun.accelerator/nvidia_count": str(count),
        "node.kubernetes.io/instance-type": "ecs.ebmgn8v.48xlarge",
        **{key.replace("_", "."): value for key, value in more.items()},
    }


def machine_type(name: str, **more: str) -> Labels:
    """A cloud that says only which machine it is."""
    return {"node.kubernetes.io/instance-type": name, **more}


def resource_slice(
    node_name: str,
    devices: Iterable[Mapping[str, Any]],
    *,
    driver: str,
    generation: int = 1,
    slices: int = 1,
    part: int = 0,
) -> Manifest:
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceSlice",
        "metadata": {"name": f"{node_name}-{driver}-{generation}-{part}"},
        "spec": {
            "driver": driver,
            "nodeName": node_name,
            "pool": {"name": node_name, "generation": generation, "resourceSliceCount": slices},
            "devices": list(devices),
        },
    }


def nvidia_device(index: int, product: str, memory: str, *, cc: str = "9.0.0", kind: str = "gpu") -> Manifest:
    return {
        "name": f"gpu-{index}",
        "attributes": {
            "type": {"string": kind},
            "uuid": {"string": f"GPU-{index}"},
            "productName": {"string": product},
            "brand": {"string": "Nvidia"},
            "architecture": {"string": "Hopper"},
            "cudaComputeCapability": {"version": cc},
            "driverVersion": {"version": "580.95.5"},
            "resource.kubernetes.io/pciBusID": {"string": f"0000:{index:02x}:00.0"},
        },
        "capacity": {"memory": {"value": memory}},
    }


def amd_device(index: int, device_id: str, product: str, *, kind: str = "amdgpu", memory: str = "192Gi") -> Manifest:
    return {
        "name": f"gpu-{index}-{index + 128}",
        "attributes": {
            "type": {"string": kind},
            "deviceID": {"string": f"0x{device_id}"},
            "productName": {"string": product},
            "driverVersion": {"version": "6.12.12"},
            "partitionProfile": {"string": "spx_nps1" if kind == "amdgpu" else "cpx_nps4"},
        },
        "capacity": {"memory": {"value": memory}, "computeUnits": {"value": "304"}},
    }


def published(node_name: str, product: str = "NVIDIA H100 80GB HBM3", *, count: int = 8, **more: Any) -> Manifest:
    """The slice of a node whose GPUs NVIDIA's DRA driver publishes."""
    devices = [nvidia_device(index, product, "81559Mi") for index in range(count)]
    return resource_slice(node_name, devices, driver="gpu.nvidia.com", **more)


def device_class(driver: str, resource: str | None, *, kind: str) -> Manifest:
    selects = f"device.driver == '{driver}' && device.attributes['{driver}'].type == '{kind}'"
    spec: dict[str, Any] = {"selectors": [{"cel": {"expression": selects}}]}
    if resource is not None:
        spec["extendedResourceName"] = resource
    return {"apiVersion": "resource.k8s.io/v1", "kind": "DeviceClass", "metadata": {"name": driver}, "spec": spec}


MAPPED = device_class("gpu.nvidia.com", "nvidia.com/gpu", kind="gpu")
UNMAPPED = device_class("gpu.nvidia.com", None, kind="gpu")
MIG_CLASS = {**device_class("gpu.nvidia.com", None, kind="mig"), "metadata": {"name": "mig.nvidia.com"}}

"""Clouds that install no labeller, and nodes of which only the PCI vendor is known."""

from __future__ import annotations

from tests.unit.plan.clusters.case import H100_PRODUCT, Cluster, one
from tests.unit.plan.labellers import (
    ARM,
    H100,
    H200,
    NFD_AMD,
    NFD_DEFAULT_NVIDIA,
    NFD_HUAWEI,
    NFD_NVIDIA,
    ack,
    gke,
    karpenter,
    machine,
    machine_type,
)

CLUSTERS: dict[str, Cluster] = {
    # Clouds that do not install a labeller.
    "GKE, H100": one(
        gke("nvidia-h100-80gb", machine_type="a3-highgpu-8g"),
        f"{H100_PRODUCT} x8",
        pin="cloud.google.com/gke-accelerator=nvidia-h100-80gb",
        taint="nvidia.com/gpu",
        nvidia__gpu=8,
    ),
    "GKE, H100 mega": one(
        gke("nvidia-h100-mega-80gb", machine_type="a3-megagpu-8g"), f"{H100_PRODUCT} x8", nvidia__gpu=8
    ),
    "GKE, H200": one(gke("nvidia-h200-141gb", machine_type="a3-ultragpu-8g"), "NVIDIA-H200 x8", nvidia__gpu=8),
    "GKE, A100 40": one(
        gke("nvidia-tesla-a100", machine_type="a2-highgpu-8g"), "NVIDIA-A100-SXM4-40GB x8", nvidia__gpu=8
    ),
    "GKE, B200": one(gke("nvidia-b200", machine_type="a4-highgpu-8g"), "NVIDIA-B200 x8", nvidia__gpu=8),
    "GKE, GB200, arm64 host": one(
        gke("nvidia-gb200", machine_type="a4x-highgpu-4g", count=4) | ARM, "NVIDIA-GB200 x4 arm64", nvidia__gpu=4
    ),
    "GKE with GFD: the labeller is believed first": one(
        gke("nvidia-h100-80gb", machine_type="a3-highgpu-8g") | H100,
        f"{H100_PRODUCT} x8",
        gib=79.65,
        pin=f"nvidia.com/gpu.product={H100_PRODUCT}",
        nvidia__gpu=8,
    ),
    "GKE, MIG": one(
        gke("nvidia-h100-80gb", machine_type="a3-highgpu-8g", gke_gpu_partition_size="1g.10gb"),
        "!NotWhole",
        nvidia__gpu=56,
    ),
    "GKE, time sharing": one(
        gke(
            "nvidia-h100-80gb",
            machine_type="a3-highgpu-8g",
            gke_gpu_sharing_strategy="time-sharing",
            gke_max_shared_clients_per_gpu="4",
        ),
        "!NotWhole",
        nvidia__gpu=32,
    ),
    "GKE, fewer devices than the label says": one(
        gke("nvidia-h100-80gb", machine_type="a3-highgpu-8g"), "!Contradictory", nvidia__gpu=7
    ),
    "Karpenter, p5": one(
        karpenter("h100", 81920, machine_type="p5.48xlarge"),
        f"{H100_PRODUCT} x8",
        pin="karpenter.k8s.aws/instance-gpu-name=h100",
        nvidia__gpu=8,
    ),
    "Karpenter tells 40 from 80 GB by a second label": Cluster(
        nodes=[
            machine("a", karpenter("a100", 40960, machine_type="p4d.24xlarge"), nvidia__gpu=8),
            machine("b", karpenter("a100", 81920, machine_type="p4de.24xlarge"), nvidia__gpu=8),
        ],
        classes=["NVIDIA-A100-SXM4-40GB x8: a", "NVIDIA-A100-SXM4-80GB x8: b"],
        pins=[
            "karpenter.k8s.aws/instance-gpu-name=a100,karpenter.k8s.aws/instance-gpu-memory=40960",
            "karpenter.k8s.aws/instance-gpu-name=a100,karpenter.k8s.aws/instance-gpu-memory=81920",
        ],
    ),
    "Karpenter with GFD: pods ask for what Karpenter knows": one(
        karpenter("h200", 143771, machine_type="p5en.48xlarge") | H200,
        "NVIDIA-H200 x8",
        pin="karpenter.k8s.aws/instance-gpu-name=h200",
        nvidia__gpu=8,
    ),
    "EKS Auto Mode": one(
        {
            "eks.amazonaws.com/instance-gpu-name": "h100",
            "eks.amazonaws.com/instance-gpu-manufacturer": "nvidia",
            "eks.amazonaws.com/instance-gpu-memory": "81920",
            "eks.amazonaws.com/instance-gpu-count": "8",
            "node.kubernetes.io/instance-type": "p5.48xlarge",
        },
        f"{H100_PRODUCT} x8",
        nvidia__gpu=8,
    ),
    "EKS node group: only the machine type": one(
        machine_type("p6-b200.48xlarge"),
        "NVIDIA-B200 x8",
        pin="node.kubernetes.io/instance-type=p6-b200.48xlarge",
        nvidia__gpu=8,
    ),
    "AKS": one(
        machine_type("Standard_ND96isr_H100_v5", **{"kubernetes.azure.com/accelerator": "nvidia"}),
        f"{H100_PRODUCT} x8",
        nvidia__gpu=8,
    ),
    "AKS, MI300X": one(machine_type("Standard_ND96isr_MI300X_v5"), "MI300X x8", amd__gpu=8),
    "AKS, a machine nobody knows": one(
        machine_type("Standard_ND96_new", **{"kubernetes.azure.com/accelerator": "nvidia"}),
        "!Unlabelled",
        nvidia__gpu=8,
    ),
    "AKS before its driver is installed": one(
        machine_type("Standard_ND96isr_H100_v5", **{"kubernetes.azure.com/accelerator": "nvidia"}), "!NoDevices"
    ),
    "OCI, MI300X": one(machine_type("BM.GPU.MI300X.8"), "MI300X x8", amd__gpu=8),
    "ACK": one(
        ack("NVIDIA-H20", 97871),
        "NVIDIA-H20 x8",
        gib=95.58,
        pin="aliyun.accelerator/nvidia_name=NVIDIA-H20",
        nvidia__gpu=8,
    ),
    "ACK, cGPU": one(
        ack("NVIDIA-H20", 97871, ack_node_gpu_schedule="cgpu"),
        "!NotWhole",
        nvidia__gpu=8,
        extra={"aliyun.com/gpu-mem": 760},
    ),
    "TKE, an old product": one(
        {"cloud.tencent.com/tke-accelerator": "nvidia-tesla-v100"}, "!UnknownProduct", nvidia__gpu=8
    ),
    "Baidu's CCE": one({"baidu/nvidia_name": "NVIDIA-A800-SXM4-80GB"}, "NVIDIA-A800-SXM4-80GB x8", nvidia__gpu=8),
    # Only PCI.
    "NFD and a device plugin": one(NFD_NVIDIA, "!Unlabelled", nvidia__gpu=8),
    "NFD by default, no device plugin": one(NFD_DEFAULT_NVIDIA, "!NoDevices"),
    "NFD, AMD without device plugin": one(NFD_AMD, "!NoDevices"),
    "NFD, Ascend without device plugin": one(NFD_HUAWEI, "!NoDevices"),
    "a Huawei server without accelerators": Cluster(
        nodes=[machine("a", {"feature.node.kubernetes.io/pci-19e5.present": "true"})], classes=[]
    ),
}

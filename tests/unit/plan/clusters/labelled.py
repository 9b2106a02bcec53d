"""Every product as its own labeller names it."""

from __future__ import annotations

from tests.unit.plan.clusters.case import Cluster, nvidia, one, radeon
from tests.unit.plan.labellers import MI300X, amd, mindcluster, mindcluster_old

CLUSTERS: dict[str, Cluster] = {
    # Every product that NVIDIA's labeller names.
    "A100 40": nvidia("NVIDIA-A100-SXM4-40GB", 40960, "8.0", gib=40.0),
    "A100 40 PCIe": nvidia("NVIDIA-A100-PCIE-40GB", 40960, "8.0", gib=40.0),
    "A100 80": nvidia("NVIDIA-A100-SXM4-80GB", 81920, "8.0", gib=80.0),
    "A100 80 PCIe": nvidia("NVIDIA-A100-80GB-PCIe", 81920, "8.0", gib=80.0),
    "A800": nvidia("NVIDIA-A800-SXM4-80GB", 81920, "8.0", gib=80.0),
    "L40S": nvidia("NVIDIA-L40S", 46068, "8.9", gib=44.99),
    "L20": nvidia("NVIDIA-L20", 46068, "8.9", gib=44.99),
    "H100": nvidia("NVIDIA-H100-80GB-HBM3", 81559, "9.0", gib=79.65),
    "H100 PCIe": nvidia("NVIDIA-H100-PCIe", 81559, "9.0", gib=79.65),
    "H100 NVL": nvidia("NVIDIA-H100-NVL", 95830, "9.0", gib=93.58, count=4),
    "H800": nvidia("NVIDIA-H800", 81559, "9.0", gib=79.65),
    "H200": nvidia("NVIDIA-H200", 143771, "9.0", gib=140.4),
    "H200 NVL": nvidia("NVIDIA-H200-NVL", 143771, "9.0", gib=140.4, count=4),
    "H20": nvidia("NVIDIA-H20", 97871, "9.0", gib=95.58),
    "H20 141": nvidia("NVIDIA-H20-3e", 143771, "9.0", gib=140.4),
    "B200": nvidia("NVIDIA-B200", 183359, "10.0", gib=179.06),
    "B300": nvidia("NVIDIA-B300-SXM6-AC", 275040, "10.3", gib=268.59),
    "GB200, arm64 host": nvidia("NVIDIA-GB200", 189471, "10.0", gib=185.03, count=4, arm=True),
    "GB300, arm64 host": nvidia("NVIDIA-GB300", 275040, "10.3", gib=268.59, count=4, arm=True),
    "GH200, arm64 host": nvidia("NVIDIA-GH200-480GB", 97871, "9.0", gib=95.58, count=1, arm=True),
    "RTX PRO 6000": nvidia("NVIDIA-RTX-PRO-6000-Blackwell-Server-Edition", 97887, "12.0", gib=95.59),
    "nominal memory, as simulators write it": nvidia("NVIDIA-H100-80GB-HBM3", 81920, "9.0", gib=80.0),
    # AMD: the device id decides, the names are irregular.
    "MI210": radeon("740f", "AMD_Instinct_MI210", "MI210", 64, partition=False),
    "MI250X": radeon("7408", "AMD_Instinct_MI250X", "MI250X", 64, count=16, partition=False),
    "MI250": radeon("740c", "AMD_Instinct_MI250X_MI250", "MI250X", 64, count=8, partition=False),
    "MI300A": radeon("74a0", "AMD_Instinct_MI300A", "MI300A", 128, count=4),
    "MI300X": radeon("74a1", "AMD_Instinct_MI300X_OAM", "MI300X", 192),
    "MI300X HF": radeon("74a9", "AMD_Instinct_MI300X_HF", "MI300X", 192),
    "MI300X as a virtual function": radeon("74b5", "AMD_Instinct_MI300X_VF", "MI300X", 192),
    "MI308X": radeon("74a2", "AMD_Instinct_MI308X", "MI308X", 192),
    "MI325X without its X": radeon("74a5", "AMD_Instinct_MI325_OAM", "MI325X", 256),
    "MI325X as a virtual function": radeon("74b9", "AMD_Instinct_MI325X_VF", "MI325X", 256),
    "MI350X": radeon("75a0", "AMD_Instinct_MI350_OAM", "MI350X", 288),
    "MI355X": radeon("75a3", "AMD_Instinct_MI355_OAM", "MI355X", 288),
    "a device id that contradicts the name": radeon("74a5", "AMD_Instinct_MI300X_OAM", "MI325X", 256),
    "AMD's legacy labels alone": one(
        amd("74a1", "AMD_Instinct_MI300X_OAM", 192, beta_only=True),
        "MI300X x8",
        gib=192.0,
        pin="beta.amd.com/gpu.device-id.74a1=8",
        amd__gpu=8,
    ),
    "AMD, only the product's name": one(
        {"amd.com/gpu.product-name": "AMD_Instinct_MI355_OAM"}, "MI355X x8", gib=288.0, amd__gpu=8
    ),
    "AMD with a resource for each partitioning": one(MI300X, "MI300X x8", amd__spx_nps1=8),
    "two AMD products in one node": one(
        {"amd.com/gpu.device-id.74a1": "4", "amd.com/gpu.device-id.74a5": "4"}, "!Contradictory", amd__gpu=8
    ),
    # Ascend: the names of 2026, those before, and CCE.
    "910B, old names": one(
        mindcluster_old("module-910b-8", "910B3"),
        "Ascend910B x8 arm64",
        gib=64.0,
        pin="node.kubernetes.io/npu.chip.name=910B3",
        huawei__Ascend910=8,
    ),
    "910B, names of 2026": one(
        mindcluster("910B3"), "Ascend910B x8 arm64", pin="huawei.com/npu.chip.name=910B3", huawei__Ascend910=8
    ),
    "910B, new resource": one(mindcluster("Ascend910B2"), "Ascend910B x8 arm64", huawei__npu=8),
    "910B on x86": one(
        mindcluster_old("module-910b-16", "910B1", arch="amd64"), "Ascend910B x16", huawei__Ascend910=16
    ),
    "910B by its server type alone": one(
        {"accelerator": "huawei-Ascend910", "accelerator-type": "module-910b-8"}, "Ascend910B x8", huawei__Ascend910=8
    ),
    "910B4 with 64 GB": one(mindcluster("910B4", "64G"), "Ascend910B x8 arm64", huawei__npu=8),
    "910B4 with 32 GB": one(mindcluster("910B4", "32G"), "!UnknownProduct", huawei__npu=8),
    "910B3 whose label says 32 GB": one(mindcluster("910B3", "32G"), "!Contradictory", huawei__npu=8),
    "910C, old names": one(
        mindcluster_old("module-a3-16-super-pod", "Ascend910_9392"), "Ascend910C x16 arm64", huawei__Ascend910=16
    ),
    "910C, names of 2026": one(mindcluster("Ascend910_9391"), "Ascend910C x16 arm64", huawei__npu=16),
    "910C by its server type alone": one(
        {"accelerator": "huawei-Ascend910", "accelerator-type": "module-a3-8-super-pod"},
        "Ascend910C x8",
        huawei__Ascend910=8,
    ),
    "950": one(mindcluster("Ascend950PR", "128G"), "Ascend950 x8 arm64", gib=96.0, huawei__npu=8),
    "950 by its server type alone": one(
        {"accelerator": "huawei-npu", "accelerator-type": "950-SuperPod-Atlas-8"}, "Ascend950 x8", huawei__npu=8
    ),
    "the first 910": one(mindcluster_old("module", "910A", "32G"), "!UnknownProduct", huawei__Ascend910=8),
    "CCE, 910C": one(
        {"accelerator/huawei-npu": "ascend-snt9c"}, "Ascend910C x16", extra={"huawei.com/ascend-1980": 16}
    ),
    "CCE with the chip's label": one(
        {"accelerator/huawei-npu": "ascend-1980", "node.kubernetes.io/npu.chip.name": "910B3"},
        "Ascend910B x8",
        extra={"huawei.com/ascend-1980": 8},
    ),
    "CCE, no generation named": one(
        {"accelerator/huawei-npu": "ascend-1980"}, "!Unlabelled", extra={"huawei.com/ascend-1980": 8}
    ),
    "Ascend chips divided": one(mindcluster("910B3"), "!NotWhole", huawei__npu=7, extra={"huawei.com/npu-2c": 2}),
}

"""Devices that do not count, nodes that cannot be used, kinds that must not mix, labels that contradict."""

from __future__ import annotations

from deepseek_operator.api.operation import Toleration
from tests.unit.plan.clusters.case import H100_PRODUCT, Cluster, one
from tests.unit.plan.labellers import (
    ARM,
    H100,
    H200,
    MI300X,
    amd,
    gfd,
    machine,
    machine_type,
    mindcluster,
    mindcluster_old,
)

TEAM = Toleration(key="sku", operator="Equal", value="gpu", effect="NoSchedule")


CLUSTERS: dict[str, Cluster] = {
    # Not whole.
    "MIG, single strategy": one(
        gfd("NVIDIA-H100-80GB-HBM3-MIG-1g.10gb", memory=9984, count=56, mig__config="all-1g.10gb"),
        "!NotWhole",
        nvidia__gpu=56,
    ),
    "MIG, mixed strategy": one(
        H100 | {"nvidia.com/mig.strategy": "mixed", "nvidia.com/mig-3g.40gb.count": "16"},
        "!NotWhole",
        nvidia__gpu=0,
        extra={"nvidia.com/mig-3g.40gb": 16},
    ),
    "MIG by the GPU Operator's configuration": one(
        H100 | {"nvidia.com/mig.config": "all-balanced"}, "!NotWhole", nvidia__gpu=8
    ),
    "whole devices with a MIG configuration": one(
        H100 | {"nvidia.com/mig.config": "all-disabled"}, f"{H100_PRODUCT} x8", nvidia__gpu=8
    ),
    "time-sliced": one(
        gfd("NVIDIA-H100-80GB-HBM3-SHARED", memory=81559, replicas=4, sharing="time-slicing"),
        "!NotWhole",
        nvidia__gpu=32,
    ),
    "time-sliced under another name": one(
        gfd("NVIDIA-H100-80GB-HBM3", memory=81559, replicas=4, sharing="time-slicing"),
        "!NotWhole",
        nvidia__gpu=0,
        extra={"nvidia.com/gpu.shared": 32},
    ),
    "MPS": one(
        gfd("NVIDIA-H100-80GB-HBM3-SHARED", memory=81559, replicas=10, sharing="mps", mps__capable="true"),
        "!NotWhole",
        nvidia__gpu=80,
    ),
    "vGPU": one(gfd("NVIDIA-A100-SXM4-80GB", memory=81920, cc="8.0", vgpu__present="true"), "!NotWhole", nvidia__gpu=8),
    "HAMi's shares without any label": one(machine_type("p5.48xlarge"), "!NotWhole", nvidia__gpu=80),
    "AMD, CPX": one(
        amd("74a1", "AMD_Instinct_MI300X_OAM", 192, partition="CPX_NPS4", count=64), "!NotWhole", amd__gpu=64
    ),
    "AMD, DPX": one(
        amd("75a3", "AMD_Instinct_MI355_OAM", 288, partition="DPX_NPS2", count=16), "!NotWhole", amd__gpu=16
    ),
    "AMD, memory in parts": one(
        amd("74a1", "AMD_Instinct_MI300X_OAM", 192, partition="SPX_NPS4"), "!NotWhole", amd__gpu=8
    ),
    "AMD, CPX by its resource": one({"amd.com/gpu.device-id": "74a1"}, "!NotWhole", amd__cpx_nps4=64),
    "AMD, CPX without its label": one({"amd.com/gpu.device-id": "74a1"}, "!NotWhole", amd__gpu=64),
    # Not usable now.
    "cordoned": Cluster(
        nodes=[machine("a", H100, nvidia__gpu=8), machine("b", H100, cordoned=True, nvidia__gpu=8)],
        classes=[f"{H100_PRODUCT} x8: a"],
        skipped={"b": "Cordoned"},
    ),
    "not ready": Cluster(
        nodes=[machine("a", H100, nvidia__gpu=8), machine("b", H100, ready=False, nvidia__gpu=8)],
        classes=[f"{H100_PRODUCT} x8: a"],
        skipped={"b": "NotReady"},
    ),
    "a taint of the team's": one(H100, "!Tainted", taint="sku", nvidia__gpu=8),
    "that taint, tolerated": Cluster(
        nodes=[machine("a", H100, taint="sku", nvidia__gpu=8)],
        classes=[f"{H100_PRODUCT} x8: a"],
        tolerations=(Toleration(key="sku", operator="Exists"),),
    ),
    "that taint, another value tolerated": Cluster(
        nodes=[machine("a", H100, taint="sku", nvidia__gpu=8)],
        classes=[],
        skipped={"a": "Tainted"},
        tolerations=(TEAM,),
    ),
    # Several kinds.
    "three vendors and a node without accelerators": Cluster(
        nodes=[
            machine("cpu", {}),
            machine("h", H100, nvidia__gpu=8),
            machine("m", MI300X, amd__gpu=8),
            machine("n", mindcluster("910B3"), huawei__npu=8),
        ],
        classes=["MI300X x8: m", "Ascend910B x8 arm64: n", f"{H100_PRODUCT} x8: h"],
    ),
    "an AMD plugin that runs on NVIDIA's nodes, too": one(H100, f"{H100_PRODUCT} x8", nvidia__gpu=8, amd__gpu=0),
    "two driver majors": Cluster(
        nodes=[
            machine("a", gfd("NVIDIA-H200", memory=143771, driver="570.172.08"), nvidia__gpu=8),
            machine("b", H200, nvidia__gpu=8),
            machine("c", gfd("NVIDIA-H200", memory=143771, driver="580.65.06"), nvidia__gpu=8),
        ],
        classes=["NVIDIA-H200 x8: a", "NVIDIA-H200 x8: b c"],
    ),
    "hosts of two architectures": Cluster(
        nodes=[
            machine("a", mindcluster_old("module-910b-8", "910B3"), huawei__Ascend910=8),
            machine("b", mindcluster_old("module-910b-8", "910B3", arch="amd64"), huawei__Ascend910=8),
        ],
        classes=["Ascend910B x8: b", "Ascend910B x8 arm64: a"],
    ),
    "GB200 and H200 in one cluster": Cluster(
        nodes=[
            machine("a", gfd("NVIDIA-GB200", memory=189471, cc="10.0", count=4) | ARM, nvidia__gpu=4),
            machine("b", H200, nvidia__gpu=8),
        ],
        classes=["NVIDIA-GB200 x4 arm64: a", "NVIDIA-H200 x8: b"],
    ),
    "nodes of eight and of four": Cluster(
        nodes=[
            machine("a", gfd("NVIDIA-H200", memory=143771, count=4), nvidia__gpu=4),
            machine("b", H200, nvidia__gpu=8),
        ],
        classes=["NVIDIA-H200 x4: a", "NVIDIA-H200 x8: b"],
    ),
    # Labels that contradict.
    "a dead device": one(H100, "!Contradictory", nvidia__gpu=7),
    "memory of another product": one(gfd("NVIDIA-H100-80GB-HBM3", memory=40960), "!Contradictory", nvidia__gpu=8),
    "major compute capability of another product": one(
        gfd("NVIDIA-H100-80GB-HBM3", memory=81559, cc="8.0"), "!Contradictory", nvidia__gpu=8
    ),
    "minor compute capability of another product": one(
        gfd("NVIDIA-L40S", memory=46068, cc="8.0"), "!Contradictory", nvidia__gpu=8
    ),
    "a product nobody knows": one(gfd("NVIDIA-Z9000", memory=81559), "!UnknownProduct", nvidia__gpu=8),
}

"""A plan and a launch as planning and the engine give them: DeepSeek-V3-0324 in FP8 on two nodes of eight H100."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from deepseek_operator.api.resource import Spec
from deepseek_operator.catalog.fabric_types import Mount
from deepseek_operator.engines.types import Launch
from deepseek_operator.plan.types import (
    Conversion,
    ConversionStep,
    EngineChoice,
    FabricPlan,
    HardwareClass,
    MemoryFit,
    Parallelism,
    Plan,
    Requests,
    WeightsPlan,
)
from deepseek_operator.render.owner import Owner
from deepseek_operator.render.revision import RevisionContent, new_revision

GIB = 2**30
OWNER = Owner(name="deepseek-fp8", namespace="serving", uid="5f0c2d3e-0000-4000-8000-000000000001")
MODEL = "deepseek-ai/DeepSeek-V3-0324"
FP8_SPEC = Spec(model=MODEL)

H100 = HardwareClass(
    vendor="nvidia",
    product="NVIDIA-H100-80GB-HBM3",
    architecture="sm90",
    resource="nvidia.com/gpu",
    accelerators_per_node=8,
    memory_gib=79.6,
    host_architecture="amd64",
    driver="550",
    rdma_resource="rdma/hca",
    rdma_count=1,
    extended={"rdma/hca": 1},
    node_labels={"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"},
    tolerations=("nvidia.com/gpu",),
    cpu_millicores=128000,
    memory_bytes=1000 * GIB,
    nodes=("gpu-0", "gpu-1"),
)

NODE_WEIGHTS = WeightsPlan(
    source="hf://deepseek-ai/DeepSeek-V3-0324",
    repository="deepseek-ai/DeepSeek-V3-0324",
    revision="e9b33add76883f293d6bf61f6bd89b497e80e335",
    layout="fp8-block128",
    size_gib=641.3,
    volume="node",
    claim="deepseek-v3-0324-fp8",
    node_path="/var/lib/deepseek/weights/deepseek-v3-0324-fp8",
    path="/models",
    tool_image="registry.example/deepseek-operator:0.1.0",
)
RANK_WEIGHTS = replace(NODE_WEIGHTS, volume="perRank", claim=None, node_path=None)
CLAIM_WEIGHTS = replace(
    NODE_WEIGHTS,
    source="pvc://models/v3/fp8",
    repository=None,
    volume="claim",
    claim="models",
    node_path=None,
    path="/models/v3/fp8",
)
SHARED_WEIGHTS = replace(NODE_WEIGHTS, volume="shared", claim="models", node_path=None, path="/models/v3/e9b33ad")
SCRATCH_WEIGHTS = replace(NODE_WEIGHTS, volume="ephemeral", claim=None, node_path=None)
CAST = ConversionStep(tool="cast", layout="bf16", size_gib=1275.0, path="/models/converted/bf16")
CAST_WEIGHTS = replace(
    RANK_WEIGHTS,
    layout="bf16",
    size_gib=1275.0,
    path=CAST.path,
    conversion=Conversion(source_layout="fp8-block128", source_gib=641.3, source_path="/models", steps=(CAST,)),
)
MOUNTED_WEIGHTS = replace(
    CLAIM_WEIGHTS, source="path:///mnt/weights/v3", volume="mounted", claim=None, path="/mnt/weights/v3"
)

H100_PLAN = Plan(
    model="deepseek-v3-0324",
    served_name=MODEL,
    precision="fp8",
    hardware=H100,
    nodes_per_group=2,
    accelerators_per_node=8,
    parallelism=Parallelism(tensor=16),
    engine=EngineChoice(
        name="sglang",
        version="0.5.23",
        image="registry.example/sglang:v0.5.23",
        image_verified=True,
        image_source="example",
    ),
    weights=NODE_WEIGHTS,
    memory=MemoryFit(
        fits=True,
        free_gib=78.0,
        mem_fraction=0.88,
        weights_gib=40.3,
        kv_bytes_per_token=70272,
        kv_tokens=433000,
        kv_gib=28.3,
        reserve_gib=9.4,
        context_length=163840,
        graph_max_batch=160,
        chunked_prefill=8192,
        max_running_requests=None,
        terms={"attention": 5.0},
        limited_by=None,
    ),
    fabric=FabricPlan(
        mode="pod",
        collective="nccl",
        interface=None,
        rdma_resource="rdma/hca",
        rdma_count=1,
        carrier="rdma",
    ),
    requests=Requests(accelerators=8, cpu_millicores=32000, memory_bytes=256 * GIB, shm_bytes=64 * GIB),
    mtp=False,
    torch_compile=False,
    kv_cache_precision="auto",
    startup_seconds=3700,
    considered=(),
    warnings=(),
)
TCP_PLAN = replace(H100_PLAN, fabric=replace(H100_PLAN.fabric, rdma_resource=None, rdma_count=0, carrier="tcp"))

LAUNCH = Launch(
    script='set -eu\nhost=$(hostname)\nexec python3 -m sglang.launch_server --nnodes "$GROUP_SIZE"\n',
    leader_command=("python3", "-m", "sglang.launch_server", "--node-rank", "0"),
    worker_command=("python3", "-m", "sglang.launch_server", "--node-rank", "1"),
    env={"NCCL_DEBUG": "WARN", "NCCL_CUMEM_ENABLE": "0"},
    ports={"http": 8000, "rendezvous": 20000, "barrier": 20001},
    startup_probe=("/bin/bash", "-c", 'test "$NODE_RANK" = 0'),
    readiness_probe=("/bin/bash", "-c", "test $(pgrep -c sglang) -gt 0"),
    probe_timeout_seconds=20,
    probe_period_seconds=10,
    startup_seconds=3705,
    termination_grace_seconds=120,
    mounts=(),
    writable=("/root/.cache", "/opt/torchinductor"),
)
DRIVER = Mount(host_path="/usr/local/Ascend/driver", container_path="/usr/local/Ascend/driver", type="Directory")
HCCN = Mount(host_path="/etc/hccn.conf", container_path="/etc/hccn.conf", type="")
ASCEND_LAUNCH = replace(LAUNCH, mounts=(DRIVER, HCCN))


def spec(**fields: Any) -> Spec:
    """A spec of the sample model with further fields, as a user writes them."""
    return Spec.model_validate({"model": MODEL, **fields})


def revision(plan: Plan = H100_PLAN, *, spec: Spec = FP8_SPEC, launch: Launch = LAUNCH) -> RevisionContent:
    """A revision of the samples."""
    return new_revision(owner=OWNER, spec=spec, plan=plan, launch=launch)

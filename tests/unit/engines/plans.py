"""Plans built by hand, so that tests of the engine do not depend on placement."""

from __future__ import annotations

import dataclasses
from typing import Any

from deepseek_operator.api.resource import Spec
from deepseek_operator.catalog.load import load
from deepseek_operator.catalog.types import EngineRelease
from deepseek_operator.engines.select import launch
from deepseek_operator.engines.types import Launch
from deepseek_operator.plan.types import (
    EngineChoice,
    FabricPlan,
    HardwareClass,
    MemoryFit,
    Parallelism,
    Plan,
    Requests,
    WeightsPlan,
)

PRODUCTS = {"nvidia": "sm90", "amd": "gfx942", "ascend": "ascend910b"}
GIB = 2**30
MEMORY = MemoryFit(
    fits=True,
    free_gib=76.0,
    mem_fraction=0.80671,
    weights_gib=41.0,
    kv_bytes_per_token=70_272,
    kv_tokens=250_000,
    kv_gib=16.4,
    reserve_gib=14.7,
    context_length=65_536,
    graph_max_batch=128,
    chunked_prefill=8192,
    max_running_requests=None,
    terms={},
    limited_by=None,
)


def plan(
    *,
    vendor: str = "nvidia",
    version: str | None = None,
    release: EngineRelease | None = None,
    nodes: int = 2,
    split: Parallelism | None = None,
    carrier: str = "rdma",
    interface: str | None = None,
    memory: dict[str, Any] | None = None,
    **changes: Any,
) -> Plan:
    """A plan for DeepSeek-V3 on nodes of eight devices, for SGLang unless a release is given.

    `changes` replaces fields of the plan.
    """
    catalog = load()
    vendor = vendor if release is None else release.vendor
    architecture = PRODUCTS[vendor]
    release = release or next(
        each
        for each in catalog.releases
        if each.engine == "sglang"
        and each.vendor == vendor
        and architecture in each.architectures
        and version in {None, each.version}
    )
    rdma = "rdma/hca" if carrier == "rdma" else None
    base = Plan(
        model="deepseek-v3",
        served_name="DeepSeek-V3",
        precision="bf16" if vendor == "ascend" else "fp8",
        hardware=HardwareClass(
            vendor=vendor,
            product="by hand",
            architecture=architecture,
            resource=catalog.vendors[vendor].resources[0],
            accelerators_per_node=8,
            memory_gib=79.6,
            host_architecture="amd64",
            driver=None,
            rdma_resource=rdma,
            rdma_count=1 if rdma else 0,
            extended={},
            node_labels={},
            tolerations=(),
            cpu_millicores=96_000,
            memory_bytes=1024 * GIB,
            nodes=(),
        ),
        nodes_per_group=nodes,
        accelerators_per_node=8,
        parallelism=split or Parallelism(tensor=8 * nodes),
        engine=EngineChoice(
            name=release.engine,
            version=release.version,
            image=release.image,
            image_verified=release.verified,
            image_source=release.source,
        ),
        weights=WeightsPlan(
            source="pvc://weights/v3",
            repository=None,
            revision=None,
            layout="fp8-block128",
            size_gib=642.0,
            volume="claim",
            claim="weights",
            node_path=None,
            path="/weights/v3",
        ),
        memory=dataclasses.replace(MEMORY, **(memory or {})),
        fabric=FabricPlan(
            mode="pod",
            collective=catalog.vendors[vendor].collective,
            interface=interface,
            rdma_resource=rdma,
            rdma_count=1 if rdma else 0,
            carrier=carrier,
            preset={"tcp": "pod-network", "host": "host-network", "node": ""}.get(carrier, carrier),
        ),
        requests=Requests(accelerators=8, cpu_millicores=64_000, memory_bytes=512 * GIB, shm_bytes=64 * GIB),
        mtp=False,
        torch_compile=False,
        kv_cache_precision="auto",
        startup_seconds=3600,
        considered=(),
        warnings=(),
    )
    return dataclasses.replace(base, **changes)


def spec(**fields: Any) -> Spec:
    """A spec with the given fields, by their names on the wire."""
    return Spec.model_validate({"model": "deepseek-v3", **fields})


def launched(made: Plan, wanted: Spec | None = None) -> Launch:
    """How a plan's engine starts, in the deployment demo/deepseek."""
    return launch(
        made,
        wanted or spec(),
        load(),
        name="deepseek",
        namespace="demo",
        cluster_domain="cluster.local",
    )

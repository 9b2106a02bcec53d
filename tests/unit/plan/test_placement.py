"""The same few lines of YAML on different clusters."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from deepseek_operator.catalog.load import load
from deepseek_operator.plan.inventory import read_node, take_inventory
from deepseek_operator.plan.placement import make_plan
from deepseek_operator.plan.types import Facts, Plan
from tests.unit.plan import nodes
from tests.unit.plan.cases import BF16_SOURCE, FACTS, plan_of, spec_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from deepseek_operator.catalog.types import Catalog
    from tests.unit.plan.nodes import Manifest

FP8: dict[str, Any] = {"precision": "fp8"}
BF16: dict[str, Any] = {"precision": "bf16", "weights": BF16_SOURCE}


def many(make: Callable[..., Manifest], count: int, **how: Any) -> list[Manifest]:
    return [make(f"{make.__name__}-{index}", **how) for index in range(count)]


@pytest.mark.parametrize(
    ("cluster", "fields", "placed", "split", "image", "collective", "carrier"),
    [
        (many(nodes.h100, 3), FP8, 2, (16, 1), "lmsysorg/sglang:v0.5.23", "nccl", "rdma"),
        (many(nodes.h100, 2, rdma=False), FP8, 2, (8, 2), "lmsysorg/sglang:v0.5.23", "nccl", "tcp"),
        (many(nodes.h200, 2), FP8, 1, (8, 1), "lmsysorg/sglang:v0.5.23", "nccl", "node"),
        (many(nodes.b200, 1), FP8, 1, (8, 1), "lmsysorg/sglang:v0.5.23", "nccl", "node"),
        (many(nodes.mi300x, 1), FP8, 1, (8, 1), "lmsysorg/sglang:v0.5.18-rocm720-mi30x", "rccl", "node"),
        (many(nodes.mi325x, 1), FP8, 1, (8, 1), "lmsysorg/sglang:v0.5.18-rocm720-mi30x", "rccl", "node"),
        (many(nodes.mi355x, 1), FP8, 1, (8, 1), "lmsysorg/sglang:v0.5.18-rocm720-mi35x", "rccl", "node"),
        (many(nodes.mi325x, 2), BF16, 1, (8, 1), "lmsysorg/sglang:v0.5.18-rocm720-mi30x", "rccl", "node"),
        (many(nodes.mi300x, 2), BF16, 2, (16, 1), "lmsysorg/sglang:v0.5.18-rocm720-mi30x", "rccl", "rdma"),
        (many(nodes.h100, 4), BF16, 4, (32, 1), "lmsysorg/sglang:v0.5.23", "nccl", "rdma"),
        (many(nodes.h200, 2), BF16, 2, (16, 1), "lmsysorg/sglang:v0.5.23", "nccl", "rdma"),
        (many(nodes.a100, 4), BF16, 4, (32, 1), "lmsysorg/sglang:v0.5.23", "nccl", "rdma"),
        (many(nodes.ascend910b, 4), BF16, 4, (32, 1), "quay.io/ascend/sglang:v0.5.18-cann9.0.0-910b", "hccl", "ascend"),
        (many(nodes.ascend910c, 2), BF16, 2, (32, 1), "quay.io/ascend/sglang:v0.5.18-cann9.0.0-a3", "hccl", "ascend"),
        (many(nodes.l40s, 4), FP8, 4, (16, 2), "lmsysorg/sglang:v0.5.23", "nccl", "rdma"),
    ],
)
def test_a_cluster_gets_its_own_split_image_and_collective(
    cluster: list[Manifest],
    fields: dict[str, Any],
    placed: int,
    split: tuple[int, int],
    image: str,
    collective: str,
    carrier: str,
) -> None:
    plan = plan_of(cluster, **fields)
    assert plan.nodes_per_group == placed
    assert (plan.parallelism.tensor, plan.parallelism.pipeline) == split
    assert plan.engine.image == image
    assert (plan.fabric.collective, plan.fabric.carrier) == (collective, carrier)
    assert plan.precision == fields["precision"]
    assert plan.world_size == plan.nodes_per_group * plan.accelerators_per_node
    assert plan.memory.fits


def test_without_rdma_the_plan_says_why_it_is_a_pipeline_and_what_to_install() -> None:
    plan = plan_of(many(nodes.h100, 2, rdma=False), **FP8)
    (warning,) = [each for each in plan.warnings if "pipeline stages" in each]
    assert "no RDMA resource is seen" in warning
    assert "install an RDMA device plugin" in warning
    refused = [each for each in plan.considered if each.verdict == "refused" and each.nodes_per_group == 2]
    assert refused[0].reason.startswith("tensor 16 crosses nodes")


def test_a_mixed_cluster_gets_the_cheapest_class_and_the_reasons_of_all() -> None:
    cluster = [
        *many(nodes.h100, 2),
        *many(nodes.h200, 1),
        *many(nodes.a100, 4),
        *many(nodes.mi300x, 1),
        *many(nodes.ascend910b, 4),
    ]
    plan = plan_of(cluster, **FP8)
    verdicts = [(each.product, each.nodes_per_group, each.verdict) for each in plan.considered]
    assert verdicts[:3] == [
        ("MI300X", 1, "chosen"),
        ("NVIDIA-H200", 1, "feasible"),
        ("NVIDIA-H100-80GB-HBM3", 2, "feasible"),
    ]
    refused = {each.product: each.reason for each in plan.considered if each.verdict == "refused"}
    assert "fp8" in refused["NVIDIA-A100-SXM4-80GB"]
    assert "fp8" in refused["Ascend910B"]
    assert "79.7 GiB of weights" in refused["NVIDIA-H100-80GB-HBM3"]


def test_a_free_class_is_chosen_before_a_cheaper_busy_one() -> None:
    cluster = [*many(nodes.h100, 2), *many(nodes.h200, 1)]
    assert plan_of(cluster, **FP8).hardware.product == "NVIDIA-H200"
    busy = Facts(default_storage_class=True, used={"h200-0": 8})
    assert plan_of(cluster, facts=busy, **FP8).hardware.product == "NVIDIA-H100-80GB-HBM3"


def test_a_cluster_that_fits_but_is_busy_is_planned_all_the_same() -> None:
    busy = Facts(default_storage_class=True, used={"h200-0": 8})
    plan = plan_of(many(nodes.h200, 1), facts=busy, **FP8)
    assert "busy now" in plan.considered[0].reason


@pytest.mark.parametrize(
    ("cluster", "fields", "precision"),
    [
        (many(nodes.h100, 2), {}, "fp8"),
        (many(nodes.a100, 4), {"weights": BF16_SOURCE}, "bf16"),
        (many(nodes.h100, 4), {"weights": BF16_SOURCE}, "bf16"),
        (many(nodes.ascend910b, 4), {"weights": {"source": "pvc://models/v3-cast"}}, "bf16"),
        (many(nodes.h100, 2), {"weights": {"source": "pvc://models/v3"}}, "fp8"),
    ],
)
def test_precision_auto_follows_the_hardware_and_the_source(
    cluster: list[Manifest], fields: dict[str, Any], precision: str
) -> None:
    assert plan_of(cluster, **fields).precision == precision


@pytest.mark.parametrize(
    ("cluster", "wish", "placed", "split"),
    [
        (many(nodes.h100, 4), {"nodes": 4}, 4, (16, 2)),
        (many(nodes.h100, 4), {"tensor": 16}, 2, (16, 1)),
        (many(nodes.h100, 4), {"tensor": 8}, 2, (8, 2)),
        (many(nodes.h100, 4), {"pipeline": 2}, 2, (8, 2)),
        (many(nodes.h100, 4), {"pipeline": 3}, 3, (8, 3)),
        (many(nodes.h100, 4), {"nodes": 2, "tensor": 8}, 2, (8, 2)),
        (many(nodes.h100, 4), {"nodes": 2, "pipeline": 2}, 2, (8, 2)),
        (many(nodes.b200, 2), {"nodes": 2}, 2, (16, 1)),
    ],
)
def test_what_a_user_chose_is_completed_not_overruled(
    cluster: list[Manifest], wish: dict[str, int], placed: int, split: tuple[int, int]
) -> None:
    plan = plan_of(cluster, parallelism=wish, **FP8)
    assert plan.nodes_per_group == placed
    assert (plan.parallelism.tensor, plan.parallelism.pipeline) == split


def test_part_of_a_node_is_requested_when_tensor_says_so() -> None:
    big = [nodes.nvidia("a", "NVIDIA-B300-SXM6-AC", memory=275000, major=10)]
    plan = plan_of(big, parallelism={"tensor": 4}, **FP8)
    assert plan.accelerators_per_node == 4
    assert plan.requests.cpu_millicores == pytest.approx(190_000 * 0.9 / 2)
    whole = plan_of(big, **FP8)
    assert whole.accelerators_per_node == 8
    half = plan_of(big, hardware={"acceleratorsPerNode": 4}, **FP8)
    assert (half.accelerators_per_node, half.parallelism.tensor) == (4, 4)


def test_shared_memory_is_counted_and_bounded_by_the_node() -> None:
    plan = plan_of(many(nodes.h200, 1), **FP8)
    assert plan.requests.shm_bytes == 32 * 2**30
    assert plan.requests.memory_bytes > plan.requests.shm_bytes
    small = nodes.h200("small")
    small["status"]["allocatable"]["memory"] = "64Gi"
    assert plan_of([small], **FP8).requests.shm_bytes == 16 * 2**30


@pytest.mark.parametrize(
    ("cluster", "fields", "least"), [(many(nodes.h200, 1), FP8, 3600), (many(nodes.h200, 2), BF16, 5100)]
)
def test_the_start_may_take_an_hour_or_what_the_size_takes(
    cluster: list[Manifest], fields: dict[str, Any], least: int
) -> None:
    assert plan_of(cluster, **fields).startup_seconds >= least


def test_a_node_selector_narrows_the_nodes_and_pins_the_pods() -> None:
    cluster = many(nodes.h100, 4)
    for manifest in cluster[:2]:
        manifest["metadata"]["labels"]["pool"] = "inference"
    plan = plan_of(cluster, hardware={"nodeSelector": {"pool": "inference"}}, **FP8)
    assert plan.hardware.nodes == ("h100-0", "h100-1")
    assert plan.hardware.node_labels["pool"] == "inference"


def test_a_named_product_without_nodes_is_planned_as_expected() -> None:
    plan = plan_of(many(nodes.h100, 2), hardware={"product": "H200"}, **FP8)
    assert plan.hardware.product == "NVIDIA-H200"
    assert plan.hardware.nodes == ()
    assert plan.warnings[0].startswith("NodesExpected: no node of NVIDIA-H200 exists yet")


def test_unlabelled_nodes_are_taken_for_the_product_that_the_user_names() -> None:
    cluster = [
        nodes.node(name, labels={"pool": "h200"}, allocatable={"nvidia.com/gpu": "8", "rdma/hca": "1"})
        for name in ("a", "b")
    ]
    plan = plan_of(cluster, hardware={"product": "H200", "nodeSelector": {"pool": "h200"}}, **FP8)
    assert plan.hardware.nodes == ("a", "b")
    assert plan.hardware.node_labels == {"pool": "h200"}


def test_rdma_resources_are_requested_only_where_a_group_spans_nodes() -> None:
    assert plan_of(many(nodes.h100, 2), **FP8).fabric.rdma_resource == "rdma/hca"
    assert plan_of(many(nodes.h200, 2), **FP8).fabric.rdma_resource is None
    named = plan_of(many(nodes.h200, 2), fabric={"rdma": {"resource": "rdma/hca", "count": 2}}, **FP8)
    assert (named.fabric.rdma_resource, named.fabric.rdma_count) == ("rdma/hca", 2)


def test_an_rdma_resource_of_any_name_carries_tensor_parallelism_when_named() -> None:
    cluster = many(nodes.h100, 2, rdma=False)
    for manifest in cluster:
        manifest["status"]["allocatable"]["example.com/nic"] = "4"
    plan = plan_of(cluster, fabric={"rdma": {"resource": "example.com/nic"}}, **FP8)
    assert (plan.parallelism.tensor, plan.fabric.carrier, plan.fabric.rdma_count) == (16, "rdma", 4)


def test_the_nodes_own_network_carries_tensor_parallelism_where_it_is_allowed() -> None:
    facts = Facts(default_storage_class=True, allow_host_network=True)
    plan = plan_of(many(nodes.h100, 2, rdma=False), facts=facts, fabric={"mode": "host"}, **FP8)
    assert (plan.parallelism.tensor, plan.fabric.carrier, plan.fabric.mode) == (16, "host", "host")


def test_an_image_of_ones_own_keeps_the_version_that_its_command_line_is_made_for() -> None:
    own = plan_of(many(nodes.h200, 1), engine={"image": "registry.example/sglang:mine"}, **FP8)
    assert (own.engine.version, own.engine.image) == ("0.5.23", "registry.example/sglang:mine")
    older = plan_of(many(nodes.h200, 1), engine={"version": "0.5.18"}, **FP8)
    assert older.engine.image == "lmsysorg/sglang:v0.5.18"


def test_an_unverified_tag_is_told() -> None:
    plan = plan_of(many(nodes.h200, 1), **FP8)
    assert not plan.engine.image_verified
    assert any("was not seen published" in each for each in plan.warnings)
    verified = plan_of(many(nodes.mi300x, 1), **FP8)
    assert not any("was not seen published" in each for each in verified.warnings)


def test_a_cut_context_is_told() -> None:
    plan = plan_of(many(nodes.ascend910b, 4), **BF16)
    assert plan.memory.context_length == plan.memory.kv_tokens
    assert any("the context is cut from 163,840" in each for each in plan.warnings)


def test_skipped_nodes_are_told() -> None:
    plan = plan_of([*many(nodes.h100, 2), nodes.node("bare", labels={}, allocatable={"nvidia.com/gpu": "8"})], **FP8)
    assert any("node bare" in each for each in plan.warnings)


@pytest.mark.parametrize(("served", "name"), [(None, "DeepSeek-V3-0324"), ("chat", "chat")])
def test_the_served_name_is_the_repositorys_unless_set(served: str | None, name: str) -> None:
    assert plan_of(many(nodes.h200, 1), servedName=served).served_name == name


def test_features_reach_the_plan() -> None:
    plan = plan_of(many(nodes.h200, 1), engine={"features": {"mtp": True, "torchCompile": True}})
    assert plan.mtp
    assert plan.torch_compile
    assert plan.memory.terms["mtp"] > 0


def test_nodes_with_little_host_memory_are_warned_of() -> None:
    """Eight ranks of 4.7 GiB and the file that each reads, 70 GiB, in a pod of a node with 96."""
    small = nodes.h200("a")
    small["status"]["allocatable"]["memory"] = "96Gi"
    assert any("70 GiB while they load" in each for each in plan_of([small], **FP8).warnings)
    assert not any("while they load" in each for each in plan_of([nodes.h200("a")], **FP8).warnings)


def forgetful() -> Catalog:
    """The same catalogue as objects of its own, for which nothing is remembered yet."""
    catalog = load()
    models = {name: replace(each, dimensions=replace(each.dimensions)) for name, each in catalog.models.items()}
    return replace(catalog, models=models)


MEANT_ALIKE: list[dict[str, Any]] = [
    {"model": "deepseek-ai/DeepSeek-R1", "precision": "int8", "weights": {"allowVariant": True}, **change}
    for change in (
        {},
        {"weights": {"source": "hf://meituan/DeepSeek-R1-Channel-INT8"}},
        {"context": {"maxLength": 8192}},
        {"context": {"maxRunningRequests": 16}},
        {"engine": {"version": "0.5.18"}},
        {"parallelism": {"attentionData": 8}},
        {"parallelism": {"expert": 8}},
        {"hardware": {"acceleratorsPerNode": 4}},
        {"model": "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", "precision": "bf16"},
        {"precision": "bf16", "weights": {"source": "pvc://weights/r1-bf16"}},
        {"precision": "bf16", "weights": {"source": "pvc://weights/r1-bf16"}, "engine": {"features": {"mtp": True}}},
        {"precision": "bf16", "weights": {"source": "pvc://weights/r1"}, "context": {"kvCachePrecision": "bf16"}},
        {"model": "deepseek-ai/DeepSeek-V2.5", "precision": "bf16"},
        {"model": "deepseek-ai/DeepSeek-V2.5", "precision": "awq", "weights": {"source": "pvc://weights/awq"}},
        {"model": "deepseek-ai/DeepSeek-V2.5", "precision": "w4a8", "weights": {"source": "pvc://weights/w4a8"}},
        {"model": "deepseek-ai/DeepSeek-V2-Lite", "precision": "bf16", "parallelism": {"tensor": 2}},
        {"model": "deepseek-ai/DeepSeek-V2-Lite", "precision": "fp8", "weights": {"source": "pvc://weights/fp8"}},
        {"model": "deepseek-ai/DeepSeek-V2-Lite", "precision": "bf16", "weights": {"source": "pvc://weights/bf16"}},
        {
            "model": "deepseek-ai/DeepSeek-V2-Lite",
            "precision": "fp8",
            "weights": {"source": "pvc://weights/fp8"},
            "parallelism": {"tensor": 2},
        },
    )
]


@pytest.mark.parametrize("make", [nodes.a100, nodes.h100, nodes.mi300x, nodes.ascend910b])
def test_what_is_remembered_of_one_spec_is_no_answer_to_another(make: Callable[..., Manifest]) -> None:
    def outcomes(specs: list[dict[str, Any]], catalog: Catalog | None) -> list[Any]:
        found = []
        for fields in specs:
            known = catalog or forgetful()
            inventory = take_inventory(map(read_node, many(make, 4)), known)
            found.append(make_plan(spec_of(fields), inventory, known, FACTS, namespace="default", name="x"))
        return found

    alone = outcomes(MEANT_ALIKE, None)
    shared = forgetful()
    assert outcomes(MEANT_ALIKE, shared) == alone
    assert outcomes(MEANT_ALIKE[::-1], forgetful()) == alone[::-1]
    assert sum(isinstance(each, Plan) for each in alone) > 1


def test_what_is_experimental_is_said_in_the_plan() -> None:
    cluster = [nodes.a100(name) for name in "ab"]
    made = plan_of(cluster, precision="fp8", engine={"name": "vllm"})
    assert any(warning.startswith("experimental: fp8 on sm80 in vLLM") for warning in made.warnings)
    made = plan_of([nodes.h200("a")], precision="fp8", engine={"name": "vllm"})
    assert not any(warning.startswith("experimental") for warning in made.warnings)

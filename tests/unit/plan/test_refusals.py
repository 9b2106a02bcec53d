"""Bad input: the field, the reason, and a remedy that works when it is taken."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pytest

from deepseek_operator.plan.types import Facts, Plan, StorageClass
from tests.unit.plan import nodes
from tests.unit.plan.cases import BF16_SOURCE, FACTS, outcome_of, refusal_of
from tests.unit.plan.nodes import Manifest
from tests.unit.plan.test_placement import many

H100 = many(nodes.h100, 4)
NO_RDMA = many(nodes.h100, 2, rdma=False)
H200 = many(nodes.h200, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    cluster: list[Manifest]
    fields: dict[str, Any]
    field: str
    reason: str
    says: str
    waits: bool = False
    facts: Facts = FACTS


A100 = many(nodes.a100, 2)
R1 = {"model": "deepseek-ai/DeepSeek-R1"}

CASES = {
    "DeepSeek-V4": Case(
        cluster=H200,
        fields={"model": "deepseek-ai/DeepSeek-V4-Flash"},
        field="spec.model",
        reason="ModelNotPlanned",
        says="compressed sparse attention",
    ),
    "sparse attention on Ampere": Case(
        cluster=A100,
        fields={"model": "deepseek-ai/DeepSeek-V3.2"},
        field="spec.model",
        reason="SparseAttentionMissing",
        says="no kernels on NVIDIA-A100-SXM4-80GB (sm80)",
        waits=True,
    ),
    "weights of another publisher": Case(
        cluster=A100,
        fields={**R1, "precision": "int8"},
        field="spec.weights.allowVariant",
        reason="VariantNotAllowed",
        says="use meituan/DeepSeek-R1-Block-INT8, which meituan made",
    ),
    "a variant without the draft layer": Case(
        cluster=A100,
        fields={
            **R1,
            "precision": "int8",
            "weights": {"allowVariant": True},
            "engine": {"features": {"mtp": True}},
        },
        field="spec.engine.features.mtp",
        reason="MTPNotInWeights",
        says="meituan/DeepSeek-R1-Block-INT8 does not carry",
    ),
    "a layout that the devices do not serve": Case(
        cluster=A100,
        fields={**R1, "precision": "nvfp4", "weights": {"allowVariant": True}},
        field="spec.precision",
        reason="PrecisionNotNative",
        says="use one of B200",
        waits=True,
    ),
    "a precision nobody published": Case(
        cluster=many(nodes.ascend910b, 2),
        fields={**R1, "precision": "int8", "weights": {"allowVariant": True}},
        field="spec.weights.source",
        reason="NoSource",
        says="name int8 weights in spec.weights.source",
    ),
    "distilled model, heads": Case(
        cluster=H100,
        fields={"model": "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", "parallelism": {"tensor": 8}},
        field="spec.parallelism.tensor",
        reason="HeadsNotDivisible",
        says="use tensor 1, 2 or 4",
    ),
    "distilled model, MTP": Case(
        cluster=H100,
        fields={"model": "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", "engine": {"features": {"mtp": True}}},
        field="spec.engine.features.mtp",
        reason="MTPWithoutLayer",
        says="turn mtp off",
    ),
    "unknown model": Case(
        cluster=H100,
        fields={"model": "deepseek-ai/DeepSek-V3-0324"},
        field="spec.model",
        reason="UnknownModel",
        says="use deepseek-ai/DeepSeek-V3-0324",
    ),
    "tensor and heads": Case(
        cluster=H100,
        fields={"parallelism": {"tensor": 24}},
        field="spec.parallelism.tensor",
        reason="HeadsNotDivisible",
        says="use tensor 1, 2, 4, 8, 16 or 32",
    ),
    "tensor and FP8 blocks": Case(
        cluster=H100,
        fields={"precision": "fp8", "parallelism": {"tensor": 32}},
        field="spec.parallelism.tensor",
        reason="BlocksNotDivisible",
        says="leaves 576; use tensor 1, 2, 4, 8 or 16",
    ),
    "tensor and FP8 blocks, precision auto": Case(
        cluster=H100,
        fields={"parallelism": {"tensor": 32}},
        field="spec.parallelism.tensor",
        reason="BlocksNotDivisible",
        says="precision bf16",
    ),
    "more nodes than exist": Case(
        cluster=H100[:3],
        fields={"parallelism": {"nodes": 4}},
        field="spec.parallelism.nodes",
        reason="NodesMissing",
        says="4 nodes of 8 NVIDIA-H100-80GB-HBM3, and 3 usable exist; add 1, or set nodes to at most 3",
        waits=True,
    ),
    "too few nodes": Case(
        cluster=H100[:1],
        fields={},
        field="spec.hardware",
        reason="NodesMissing",
        says="2 nodes of 8 NVIDIA-H100-80GB-HBM3, and 1 usable exists; add 1",
        waits=True,
    ),
    "no nodes at all": Case(
        cluster=[], fields={}, field="spec.hardware", reason="NodesMissing", says="add such nodes", waits=True
    ),
    "vendor that is not there": Case(
        cluster=H100,
        fields={"hardware": {"vendor": "amd"}},
        field="spec.hardware.vendor",
        reason="NodesMissing",
        says="no usable node of amd (accelerators that count: NVIDIA-H100-80GB-HBM3)",
        waits=True,
    ),
    "unknown product": Case(
        cluster=H100,
        fields={"hardware": {"product": "H1000"}},
        field="spec.hardware.product",
        reason="UnknownProduct",
        says="NVIDIA-H100-80GB-HBM3",
    ),
    "product of another vendor": Case(
        cluster=H100,
        fields={"hardware": {"vendor": "amd", "product": "H100"}},
        field="spec.hardware.vendor",
        reason="VendorContradictsProduct",
        says="set vendor to nvidia",
    ),
    "selector without nodes": Case(
        cluster=H100,
        fields={"hardware": {"nodeSelector": {"pool": "x"}}},
        field="spec.hardware",
        reason="NodesMissing",
        says="with pool=x",
        waits=True,
    ),
    "named product on nodes without labels": Case(
        cluster=[nodes.node("bare", labels={}, allocatable={"nvidia.com/gpu": "8"})],
        fields={"hardware": {"product": "H200"}},
        field="spec.hardware.nodeSelector",
        reason="LabelsMissing",
        says="set spec.hardware.product and spec.hardware.nodeSelector",
        waits=True,
    ),
    "tensor beyond the only node": Case(
        cluster=H100,
        fields={"parallelism": {"nodes": 1, "tensor": 16}},
        field="spec.parallelism.nodes",
        reason="TooFewNodes",
        says="set nodes to 2",
    ),
    "nodes, tensor and pipeline that disagree": Case(
        cluster=H100,
        fields={"parallelism": {"nodes": 2, "tensor": 4, "pipeline": 2}},
        field="spec.parallelism.tensor",
        reason="RanksNotDevices",
        says="2 nodes of 8 NVIDIA-H100-80GB-HBM3 are 16 ranks, but tensor x pipeline is 8",
    ),
    "attention data that does not divide": Case(
        cluster=H100,
        fields={"parallelism": {"tensor": 16, "attentionData": 5}},
        field="spec.parallelism.attentionData",
        reason="AttentionDataNotDivisor",
        says="use one of 1, 2, 4, 8 or 16",
    ),
    "experts that do not divide": Case(
        cluster=H100,
        fields={"parallelism": {"tensor": 16, "expert": 3}},
        field="spec.parallelism.expert",
        reason="ExpertNotDivisor",
        says="use one of 1, 2, 4, 8 or 16",
    ),
    "more accelerators than a node has": Case(
        cluster=H100,
        fields={"hardware": {"acceleratorsPerNode": 16}},
        field="spec.hardware.acceleratorsPerNode",
        reason="NodeTooSmall",
        says="use at most 8",
    ),
    "MTP with pipeline": Case(
        cluster=H100,
        fields={"engine": {"features": {"mtp": True}}, "parallelism": {"tensor": 8, "pipeline": 2}},
        field="spec.engine.features.mtp",
        reason="MTPWithPipeline",
        says="turn mtp off",
    ),
    "MTP where only a pipeline would do": Case(
        cluster=NO_RDMA,
        fields={"engine": {"features": {"mtp": True}}},
        field="spec.parallelism.tensor",
        reason="NothingCarriesTensor",
        says="or turn engine.features.mtp off",
    ),
    "tensor over nodes without a carrier": Case(
        cluster=NO_RDMA,
        fields={"parallelism": {"tensor": 16}},
        field="spec.parallelism.tensor",
        reason="NothingCarriesTensor",
        says="or use tensor 8 with pipeline 2",
    ),
    "host network that is not allowed": Case(
        cluster=H100,
        fields={"fabric": {"mode": "host"}},
        field="spec.fabric.mode",
        reason="HostNetworkNotAllowed",
        says="use mode pod",
    ),
    "hostPath that is not allowed": Case(
        cluster=H100,
        fields={"podTemplate": {"volumes": [{"name": "m", "hostPath": "/m"}]}},
        field="spec.podTemplate.volumes[0].hostPath",
        reason="HostPathNotAllowed",
        says="persistentVolumeClaim",
    ),
    "RDMA resource that is not there": Case(
        cluster=H100,
        fields={"fabric": {"rdma": {"resource": "rdma/other"}}},
        field="spec.fabric.rdma.resource",
        reason="RDMAResourceMissing",
        says="they offer: rdma/hca",
    ),
    "more RDMA devices than there are": Case(
        cluster=H100,
        fields={"fabric": {"rdma": {"count": 64}}},
        field="spec.fabric.rdma.count",
        reason="RDMACountTooLarge",
        says="use at most 63",
    ),
    "FP8 on A100": Case(
        cluster=many(nodes.a100, 4),
        fields={"precision": "fp8"},
        field="spec.precision",
        reason="PrecisionNotNative",
        says="set precision to bf16, or use one of",
        waits=True,
    ),
    "FP8 on 910B": Case(
        cluster=many(nodes.ascend910b, 4),
        fields={"precision": "fp8"},
        field="spec.precision",
        reason="PrecisionNotNative",
        says="H100",
        waits=True,
    ),
    "FP8 asked of A100 by name": Case(
        cluster=many(nodes.a100, 4),
        fields={"precision": "fp8", "hardware": {"product": "A100"}},
        field="spec.precision",
        reason="PrecisionNotNative",
        says="bf16",
    ),
    "FP8 cache on A100": Case(
        cluster=many(nodes.a100, 4),
        fields={"precision": "bf16", "weights": BF16_SOURCE, "context": {"kvCachePrecision": "fp8"}},
        field="spec.context.kvCachePrecision",
        reason="KVPrecisionNotNative",
        says="use auto or bf16",
    ),
    "FP8 from a BF16 repository": Case(
        cluster=H100,
        fields={
            "model": "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B",
            "precision": "fp8",
            "weights": {"source": "hf://deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"},
        },
        field="spec.weights.source",
        reason="SourcePrecision",
        says="use precision bf16",
    ),
    "a cache for weights that are used where they are": Case(
        cluster=many(nodes.h100, 4),
        fields={"precision": "bf16", "weights": {"source": "pvc://w/v3-bf16", "cache": "perRank"}},
        field="spec.weights.cache",
        reason="CacheWithoutFetch",
        says="pvc://w/v3-bf16 is used where it is",
    ),
    "a class that the cluster lacks": Case(
        cluster=H200,
        fields={"weights": {"storageClassName": "fast"}},
        field="spec.weights.storageClassName",
        reason="StorageClassUnknown",
        says="use one of slow",
        waits=True,
        facts=Facts(
            default_storage_class=True,
            storage_classes={"slow": StorageClass(name="slow", provisioner="p", parameters={}, default=True)},
        ),
    ),
    "weights of another model": Case(
        cluster=H100,
        fields={"weights": {"source": "hf://deepseek-ai/DeepSeek-R1"}},
        field="spec.weights.source",
        reason="SourceOfOtherModel",
        says="set spec.model to deepseek-ai/DeepSeek-R1",
    ),
    "no volume for the weights": Case(
        cluster=H200,
        fields={},
        field="spec.weights",
        reason="NoVolume",
        says="mark a StorageClass as default or name one in weights.storageClassName, set weights.nodePath",
        waits=True,
        facts=Facts(default_storage_class=False),
    ),
    "node cache without a directory": Case(
        cluster=H200,
        fields={"weights": {"cache": "node"}},
        field="spec.weights.cache",
        reason="NoNodeDirectory",
        says="use cache perRank",
    ),
    "weights in no volume": Case(
        cluster=H200,
        fields={"weights": {"source": "path:///data/v3"}},
        field="spec.weights.source",
        reason="SourceNotMounted",
        says="mount one with spec.podTemplate.volumes",
    ),
    "engine version that is not known": Case(
        cluster=H200,
        fields={"engine": {"version": "0.4.1"}},
        field="spec.engine.version",
        reason="UnknownVersion",
        says="use 0.5.23 or 0.5.18, or name its image in spec.engine.image",
    ),
    "context beyond the model": Case(
        cluster=H200,
        fields={"context": {"maxLength": 200_000}},
        field="spec.context.maxLength",
        reason="ContextBeyondModel",
        says="use at most 163840",
    ),
    "context beyond the cache": Case(
        cluster=[nodes.nvidia("h20", "NVIDIA-H20", memory=97871, major=9)],
        fields={"precision": "fp8", "context": {"maxLength": 150_000}},
        field="spec.hardware",
        reason="NodesMissing",
        says="add 1, or use other hardware; with 1: the KV cache holds",
        waits=True,
    ),
    "context beyond the cache of the chosen nodes": Case(
        cluster=many(nodes.ascend910b, 4),
        fields={
            "precision": "bf16",
            "weights": BF16_SOURCE,
            "context": {"maxLength": 150_000},
            "parallelism": {"nodes": 4, "tensor": 32},
        },
        field="spec.context.maxLength",
        reason="ContextTooLong",
        says="set spec.context.maxLength to",
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_bad_input_is_refused_with_field_reason_and_remedy(case: Case) -> None:
    refusal = refusal_of(case.cluster, facts=case.facts, **case.fields)
    problem = refusal.problems[0]
    assert (problem.field, problem.reason) == (case.field, case.reason)
    assert case.says in problem.message
    assert refusal.waits_for_cluster is case.waits


@pytest.mark.parametrize(
    "wish", [{"tensor": 24}, {"tensor": 32}, {"nodes": 1, "tensor": 16}, {"nodes": 3, "tensor": 16}]
)
def test_a_refused_split_names_the_one_that_would_be_planned(wish: dict[str, int]) -> None:
    refusal = refusal_of(H100, precision="fp8", parallelism=wish)
    found = re.search(r"it would be nodes (\d+), tensor (\d+), pipeline (\d+)", refusal.problems[0].message)
    assert found is not None
    placed, tensor, pipeline = map(int, found.groups())
    better = {"nodes": placed, "tensor": tensor, "pipeline": pipeline}
    assert isinstance(outcome_of(H100, precision="fp8", parallelism=better), Plan)


SUGGESTIONS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "tensor and FP8 blocks": ("tensor 1, 2, 4, 8 or 16", "parallelism", {"parallelism": {"tensor": 16}}),
    "tensor beyond the only node": ("set nodes to 2", "parallelism", {"parallelism": {"nodes": 2, "tensor": 16}}),
    "more nodes than exist": ("set nodes to at most 3", "parallelism", {"parallelism": {"nodes": 3}}),
    "tensor over nodes without a carrier": (
        "use tensor 8 with pipeline 2",
        "parallelism",
        {"parallelism": {"tensor": 8, "pipeline": 2}},
    ),
    "MTP where only a pipeline would do": ("turn engine.features.mtp off", "engine", {"engine": {}}),
    "MTP with pipeline": ("use pipeline 1", "parallelism", {"parallelism": {"tensor": 16, "pipeline": 1}}),
    "DeepSeek-V4": ("use deepseek-ai/DeepSeek-V3.2", "model", {"model": "deepseek-ai/DeepSeek-V3.2"}),
    "weights of another publisher": (
        "set spec.weights.allowVariant to true",
        "weights",
        {"weights": {"allowVariant": True}},
    ),
    "a variant without the draft layer": ("turn mtp off", "engine", {"engine": {}}),
    "a precision nobody published": (
        "in spec.weights.source (hf://org/name, modelscope://org/name",
        "weights",
        {"weights": {"source": "pvc://weights/r1-w8a8"}},
    ),
    "distilled model, heads": ("use tensor 1, 2 or 4", "parallelism", {"parallelism": {"tensor": 4}}),
    "distilled model, MTP": ("turn mtp off", "engine", {"engine": {}}),
    "unknown model": (
        "use deepseek-ai/DeepSeek-V3-0324",
        "model",
        {"model": "deepseek-ai/DeepSeek-V3-0324"},
    ),
    "FP8 on A100": ("precision to bf16", "precision", {"precision": "bf16"}),
    "FP8 from a BF16 repository": ("use precision bf16", "precision", {"precision": "bf16"}),
    "a cache for weights that are used where they are": (
        "remove cache",
        "weights",
        {"weights": {"source": "pvc://w/v3-bf16"}},
    ),
    "a class that the cluster lacks": ("use one of slow", "weights", {"weights": {"storageClassName": "slow"}}),
    "weights of another model": (
        "set spec.model to deepseek-ai/DeepSeek-R1",
        "model",
        {"model": "deepseek-ai/DeepSeek-R1"},
    ),
    "no volume for the weights": (
        "a source pvc://claim/path",
        "weights",
        {"weights": {"source": "pvc://claim/path"}},
    ),
    "node cache without a directory": ("use cache perRank", "weights", {"weights": {"cache": "perRank"}}),
    "engine version that is not known": ("use 0.5.23", "engine", {"engine": {"version": "0.5.23"}}),
    "host network that is not allowed": ("use mode pod", "fabric", {"fabric": {"mode": "pod"}}),
    "more accelerators than a node has": (
        "use at most 8",
        "hardware",
        {"hardware": {"acceleratorsPerNode": 8}},
    ),
    "product of another vendor": (
        "set vendor to nvidia",
        "hardware",
        {"hardware": {"vendor": "nvidia", "product": "H100"}},
    ),
    "RDMA resource that is not there": (
        "they offer: rdma/hca",
        "fabric",
        {"fabric": {"rdma": {"resource": "rdma/hca"}}},
    ),
    "more RDMA devices than there are": ("use at most 63", "fabric", {"fabric": {"rdma": {"count": 63}}}),
    "FP8 cache on A100": ("use auto", "context", {"context": {"kvCachePrecision": "auto"}}),
    "context beyond the model": ("use at most 163840", "context", {"context": {"maxLength": 163_840}}),
}


@pytest.mark.parametrize("name", SUGGESTIONS)
def test_a_suggestion_works_when_it_is_taken(name: str) -> None:
    case = CASES[name]
    says, replaced, better = SUGGESTIONS[name]
    assert says in refusal_of(case.cluster, facts=case.facts, **case.fields).problems[0].message
    fields = {key: value for key, value in case.fields.items() if key != replaced}
    assert isinstance(outcome_of(case.cluster, facts=case.facts, **{**fields, **better}), Plan)


def test_the_longest_context_that_is_named_fits() -> None:
    case = CASES["context beyond the cache of the chosen nodes"]
    found = re.search(r"maxLength to (\d+)", refusal_of(case.cluster, **case.fields).problems[0].message)
    assert found is not None
    fields = {**case.fields, "context": {"maxLength": int(found.group(1))}}
    assert isinstance(outcome_of(case.cluster, **fields), Plan)


def test_a_missing_node_names_the_one_whose_labels_are_missing() -> None:
    bare = nodes.node("bare", labels={}, allocatable={"nvidia.com/gpu": "8"})
    refusal = refusal_of([nodes.h100("a"), bare])
    assert "node bare offers 8 nvidia.com/gpu but no label names the product" in refusal.problems[0].message
    assert refusal.waits_for_cluster


def test_nodes_that_differ_in_their_driver_say_so() -> None:
    other = nodes.h100("b")
    other["metadata"]["labels"]["nvidia.com/cuda.driver-version.major"] = "570"
    refusal = refusal_of([nodes.h100("a"), other])
    assert "form 2 classes, because driver" in refusal.problems[0].message


def test_several_problems_of_a_spec_are_told_at_once() -> None:
    refusal = refusal_of(H100, fabric={"mode": "host"}, context={"maxLength": 200_000})
    assert [each.reason for each in refusal.problems] == ["ContextBeyondModel", "HostNetworkNotAllowed"]

"""Bad input: the field, the reason, and a remedy that works when it is taken."""

from __future__ import annotations

import re
from typing import Any

import pytest

from deepseek_operator.plan.types import Plan
from tests.unit.plan import nodes
from tests.unit.plan.cases import outcome_of, refusal_of
from tests.unit.plan.refusal_cases import CASES, H100, Case


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
        {"weights": {"source": "pvc://weights/r1-w4a8"}},
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

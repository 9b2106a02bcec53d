"""The JSON documents of the command line, the stored form of a plan, and fit without a cluster."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from deepseek_operator.api.problems import InvalidInputError
from deepseek_operator.api.resource import Engine
from deepseek_operator.catalog.load import load
from deepseek_operator.plan.explain import fit_document, plan_document
from deepseek_operator.plan.fitting import Target, fit_for
from deepseek_operator.plan.memory import Demand
from deepseek_operator.plan.own_model import dimensions_of
from deepseek_operator.plan.stored import dump, restore
from deepseek_operator.plan.types import Facts, Parallelism
from tests.unit.plan import nodes
from tests.unit.plan.cases import BF16_SOURCE, plan_of, refusal_of

if TYPE_CHECKING:
    from deepseek_operator.plan.types import MemoryFit

CONFIG: dict[str, Any] = {
    "hidden_size": 7168,
    "num_hidden_layers": 61,
    "first_k_dense_replace": 3,
    "num_attention_heads": 128,
    "q_lora_rank": 1536,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "intermediate_size": 18432,
    "moe_intermediate_size": 2048,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "vocab_size": 129280,
    "max_position_embeddings": 163840,
    "num_nextn_predict_layers": 1,
    "quantization_config": {"weight_block_size": [128, 128]},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Commands:
    leader_command: tuple[str, ...] = ("serve", "--node-rank", "0")
    worker_command: tuple[str, ...] = ("serve", "--node-rank", "1")
    env: Mapping[str, str] = field(default_factory=lambda: {"NAME": "value"})


def test_the_plan_document_has_the_keys_of_the_contract() -> None:
    plan = plan_of([nodes.h100("a"), nodes.h100("b")])
    document = plan_document(plan, launch=Commands(), groups=2)
    json.dumps(document)
    assert document["fits"] is True
    assert document["hardware"] == {
        "vendor": "nvidia",
        "product": "NVIDIA-H100-80GB-HBM3",
        "architecture": "sm90",
        "resource": "nvidia.com/gpu",
        "acceleratorsPerNode": 8,
        "acceleratorMemoryGiB": pytest.approx(79.65, abs=0.01),
    }
    assert (document["nodesPerGroup"], document["groups"]) == (2, 2)
    assert document["parallelism"] == {"tensor": 16, "pipeline": 1, "attentionData": 1, "expert": 1}
    assert document["engine"] == {"name": "sglang", "version": "0.5.23", "image": "lmsysorg/sglang:v0.5.23"}
    assert (document["precision"], document["collective"]) == ("fp8", "nccl")
    assert document["weights"]["sizeGiB"] == 641.3
    assert document["weights"]["conversion"] is None
    assert document["leader"] == {"command": ["serve", "--node-rank", "0"], "env": {"NAME": "value"}}
    assert document["worker"] == {"command": ["serve", "--node-rank", "1"], "env": {"NAME": "value"}}
    assert document["considered"][0]["verdict"] == "chosen"
    assert document["problems"] == []
    assert document["memory"] == fit_document(plan.memory, engine="sglang")


def test_a_group_of_one_node_has_no_worker() -> None:
    document = plan_document(plan_of([nodes.h200("a")]), launch=Commands(), groups=1)
    assert document["worker"] is None
    assert document["leader"] is not None


def test_a_refusal_has_the_same_keys_and_its_problems() -> None:
    plan = plan_document(plan_of([nodes.h200("a")]), launch=Commands(), groups=1)
    refusal = plan_document(refusal_of([]), launch=None, groups=1)
    json.dumps(refusal)
    assert set(plan) - set(refusal) == {"fabric"}
    assert refusal["fits"] is False
    assert refusal["problems"][0].keys() == {"field", "reason", "message"}


def test_the_fit_document_has_the_keys_of_the_contract() -> None:
    document = fit_document(answer(target=Target(free_gib=78.0), split=Parallelism(tensor=16)), engine="sglang")
    json.dumps(document)
    assert document["fits"] is True
    assert document["freeGiB"] == 78.0
    assert document["kvBytesPerToken"] == 70_272
    assert document["weightsGiB"] == pytest.approx(40.5, abs=0.05)
    assert document["limitedBy"] is None
    assert document["terms"]["routedExperts"] > 30
    assert document["longestContext"] == min(163_840, document["kvTokens"])
    assert document["requests32k"] == document["kvTokens"] // 32_768
    assert document["diskGiB"] == pytest.approx(641.3, abs=0.1)
    assert document["hostGiB"] > 0


@pytest.mark.parametrize(
    ("cluster", "facts", "fields"),
    [
        ([nodes.h100("a"), nodes.h100("b")], Facts(default_storage_class=True), {}),
        ([nodes.h100("a", rdma=False), nodes.h100("b", rdma=False)], Facts(), {}),
        ([nodes.mi300x("a")], Facts(node_path="/mnt/w"), {"servedName": "chat"}),
        (
            [nodes.ascend910b(name) for name in "abcd"],
            Facts(default_storage_class=True),
            {"precision": "bf16", "weights": BF16_SOURCE},
        ),
        ([nodes.h200("a")], Facts(), {"engine": {"features": {"mtp": True}}, "context": {"maxRunningRequests": 8}}),
        ([], Facts(), {"hardware": {"product": "H200"}, "weights": {"source": "pvc://a/b"}}),
    ],
)
def test_a_stored_plan_comes_back_as_it_was(
    cluster: list[nodes.Manifest], facts: Facts, fields: dict[str, Any]
) -> None:
    plan = plan_of(cluster, facts=facts, **fields)
    assert restore(json.loads(json.dumps(dump(plan)))) == plan


def test_a_stored_plan_that_lacks_a_part_is_refused() -> None:
    data = dump(plan_of([nodes.h200("a")]))
    del data["memory"]
    with pytest.raises(ValueError, match="memory"):
        restore(data)


def answer(
    *,
    target: Target,
    split: Parallelism,
    model: str = "deepseek-v3",
    precision: str = "fp8",
    demand: Demand | None = None,
) -> MemoryFit:
    return fit_for(
        model=model,
        precision=precision,
        target=target,
        split=split,
        demand=demand or Demand(),
        catalog=load(),
    )


def test_fit_by_product_counts_what_several_nodes_cost() -> None:
    one = answer(target=Target(product="H200"), split=Parallelism(tensor=8))
    two = answer(target=Target(product="H200"), split=Parallelism(tensor=16))
    assert one.free_gib > two.free_gib


def test_fit_with_a_config_is_fit_by_name() -> None:
    target, split = Target(product="H200"), Parallelism(tensor=8)
    dimensions = dimensions_of(CONFIG)
    by_config = fit_for(model=dimensions, precision="fp8", target=target, split=split, demand=Demand(), catalog=load())
    assert by_config == answer(target=target, split=split)


@pytest.mark.parametrize("key", ["hidden_size", "kv_lora_rank", "n_routed_experts"])
def test_a_config_of_another_architecture_is_refused_with_the_key(key: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        dimensions_of({name: value for name, value in CONFIG.items() if name != key})
    assert caught.value.problems[0].field == key


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model": "deepseek-v9"}, "UnknownModel"),
        ({"target": Target(product="H9000")}, "UnknownProduct"),
        ({"target": Target()}, "TargetUnclear"),
        ({"target": Target(product="H100", free_gib=70.0)}, "TargetUnclear"),
        ({"target": Target(product="A100")}, "PrecisionNotNative"),
        ({"target": Target(product="H100", engine=Engine(version="0.1.0"))}, "UnknownVersion"),
        ({"split": Parallelism(tensor=32)}, "BlocksNotDivisible"),
        ({"split": Parallelism(tensor=7), "precision": "bf16"}, "HeadsNotDivisible"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(change: dict[str, Any], reason: str) -> None:
    question: dict[str, Any] = {"target": Target(product="H100"), "split": Parallelism(tensor=16), **change}
    with pytest.raises(InvalidInputError) as caught:
        answer(**question)
    assert caught.value.problems[0].reason == reason

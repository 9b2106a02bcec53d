"""A model of the user's own: what its config.json gives, and how a wrong one is refused."""

from __future__ import annotations

from typing import Any

import pytest

from deepseek_operator.api.problems import InvalidInputError
from deepseek_operator.catalog.load import load
from deepseek_operator.plan.choices import find_model
from deepseek_operator.plan.inventory import read_node, take_inventory
from deepseek_operator.plan.own_model import dimensions_of, model_of, with_model
from deepseek_operator.plan.placement import make_plan
from deepseek_operator.plan.types import Plan
from tests.unit.plan import nodes
from tests.unit.plan.cases import FACTS, spec_of

CATALOG = load()
V3: dict[str, Any] = {
    "architectures": ["DeepseekV3ForCausalLM"], "hidden_size": 7168, "num_hidden_layers": 61,
    "first_k_dense_replace": 3, "num_attention_heads": 128, "q_lora_rank": 1536, "kv_lora_rank": 512,
    "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128, "intermediate_size": 18432,
    "moe_intermediate_size": 2048, "n_routed_experts": 256, "n_shared_experts": 1, "vocab_size": 129280,
    "max_position_embeddings": 163840, "num_nextn_predict_layers": 1,
    "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]},
}  # fmt: skip
V32 = {**V3, "architectures": ["DeepseekV32ForCausalLM"], "index_n_heads": 64, "index_head_dim": 128}
LITE = {
    "architectures": ["DeepseekV2ForCausalLM"], "hidden_size": 2048, "num_hidden_layers": 27,
    "first_k_dense_replace": 1, "num_attention_heads": 16, "q_lora_rank": None, "kv_lora_rank": 512,
    "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128, "intermediate_size": 10944,
    "moe_intermediate_size": 1408, "n_routed_experts": 64, "n_shared_experts": 2, "vocab_size": 102400,
    "max_position_embeddings": 163840,
}  # fmt: skip


@pytest.mark.parametrize(("config", "model"), [(V3, "deepseek-v3"), (V32, "deepseek-v3.2"), (LITE, "deepseek-v2-lite")])
def test_a_config_gives_the_dimensions_of_the_catalogue(config: dict[str, Any], model: str) -> None:
    assert dimensions_of(config) == CATALOG.models[model].dimensions


@pytest.mark.parametrize(
    ("change", "field", "says"),
    [
        ({"architectures": ["Qwen3ForCausalLM"]}, "architectures", "use a model of DeepseekV2ForCausalLM"),
        ({"architectures": ["DeepseekV4ForCausalLM"]}, "architectures", "is not planned"),
        ({"hidden_size": None}, "hidden_size", "no whole number hidden_size"),
        ({"n_routed_experts": "many"}, "n_routed_experts", "no whole number"),
        ({"q_lora_rank": 0}, "q_lora_rank", "no whole number q_lora_rank"),
        ({"num_nextn_predict_layers": 3}, "num_nextn_predict_layers", "is not 0 or 1"),
        ({"quantization_config": {"weight_block_size": [1, 128]}}, "quantization_config.weight_block_size", "square"),
        ({"index_n_heads": 64}, "index_head_dim", "no whole number index_head_dim"),
    ],
)
def test_a_wrong_config_is_refused_with_the_key(change: dict[str, Any], field: str, says: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        dimensions_of({**V3, **change})
    (problem,) = caught.value.problems
    assert problem.field == field
    assert says in problem.message


def test_a_model_of_ones_own_is_planned_like_its_twin_in_the_catalogue() -> None:
    catalog = with_model(CATALOG, model_of("example/my-model", V3, CATALOG))
    cluster = [read_node(nodes.h200("a"))]
    plans = []
    for name in ("example/my-model", "deepseek-ai/DeepSeek-V3"):
        spec = spec_of({"model": name, "precision": "fp8", "weights": {"source": "pvc://weights/mine"}})
        inventory = take_inventory(cluster, catalog, tolerations=())
        plans.append(make_plan(spec, inventory, catalog, FACTS, namespace="default", name="d"))
    own, twin = plans
    assert isinstance(own, Plan)
    assert isinstance(twin, Plan)
    assert (own.memory, own.parallelism, own.weights) == (twin.memory, twin.parallelism, twin.weights)
    assert own.served_name == "my-model"


def test_the_shipped_catalogue_stays_as_it_was() -> None:
    with_model(CATALOG, model_of("example/my-model", V3, CATALOG))
    assert "example/my-model" not in CATALOG.models
    assert find_model("deepseek-v3", CATALOG) is CATALOG.models["deepseek-v3"]

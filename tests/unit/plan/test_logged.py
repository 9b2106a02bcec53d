"""The memory model against figures that engines logged in public; each line names where.

"mem usage" of SGLang's "Load weight end" and vLLM's "Loading model weights took" are GiB, though they say GB.
"""

from __future__ import annotations

from typing import Any

import pytest

from deepseek_operator.api.resource import Engine
from deepseek_operator.catalog.load import load
from deepseek_operator.plan import footprint
from deepseek_operator.plan.fitting import Target, fit_for
from deepseek_operator.plan.memory import Demand
from deepseek_operator.plan.types import MemoryFit, Parallelism

CATALOG = load()


def fit(
    model: str,
    precision: str,
    split: Parallelism,
    *,
    product: str | None = None,
    version: str | None = None,
    engine: str = "sglang",
    **demand: Any,
) -> MemoryFit:
    target = Target(
        product=product,
        free_gib=None if product else 1000.0,
        engine=Engine(name="sglang", version=version),
        memory_of=engine,
    )
    return fit_for(
        model=model, precision=precision, target=target, split=split, demand=Demand(**demand), catalog=CATALOG
    )


WEIGHTS = [
    # sgl-project/sglang issue 6001: 0.4.6, tensor 8 on MI308X, shared expert cloned: mem usage=81.66 GB.
    ("deepseek-r1", "fp8", Parallelism(tensor=8), "0.4.6", {}, 81.66),
    # sgl-project/sglang issue 6017: tensor 8, attention data 8, DeepEP, 32 redundant experts: mem usage=105.59 GB.
    (
        "deepseek-v3",
        "fp8",
        Parallelism(tensor=8, attention_data=8, expert=8),
        None,
        {"moe_dense_tensor": 1, "redundant_experts": 32},
        105.59,
    ),
    # sgl-project/sglang, pull request on FlashInfer's weight shuffle (August 2025): NVFP4, tensor 4: 94.50 GB.
    ("deepseek-r1", "nvfp4", Parallelism(tensor=4), None, {}, 94.50),
    # HabanaAI/vllm-fork issue 809: DeepSeek-R1 with tensor 8 took 79.41 GiB of device memory.
    ("deepseek-r1", "fp8", Parallelism(tensor=8), None, {}, 79.41),
    # SGLang's log of a prefill group on GB200, as srt-slurm's analysis quotes it (2025-11-04), with the 32 redundant
    # experts of its recipe: tensor 8, attention data 8, expert 8: mem usage=107.07 GB.
    (
        "deepseek-r1",
        "fp8",
        Parallelism(tensor=8, attention_data=8, expert=8),
        None,
        {"product": "GB200", "moe_dense_tensor": 1, "redundant_experts": 32},
        107.07,
    ),
    # Public evidence of a sparse-attention experiment on 8 x H200 (2026-05-30): V3.2, tensor 8, mem usage=80.63 GB.
    ("deepseek-v3.2", "fp8", Parallelism(tensor=8), None, {}, 80.63),
    # vllm-project/vllm-ascend issue 1127: DeepSeek-R1-W8A8, tensor 16 on 2 x 8 910B2: weights took 40.7763 GB.
    ("deepseek-r1", "int8", Parallelism(tensor=16), None, {"product": "910B"}, 40.78),
    # vllm-project/vllm issue 13061: DeepSeek-R1-Distill-Qwen-14B, tensor 2: weights took 13.9476 GB.
    ("deepseek-r1-distill-qwen-14b", "bf16", Parallelism(tensor=2), None, {}, 13.95),
    # vllm-project/vllm pull request 10511: Llama 3 8B, which the distilled one is shaped like: 14.96 GiB.
    ("deepseek-r1-distill-llama-8b", "bf16", Parallelism(tensor=1), None, {}, 14.96),
    # Public log of 2025-03-08, SGLang, a Qwen2 model of 32 B (14 files) with tensor 4: mem usage=15.54 GB.
    ("deepseek-r1-distill-qwen-32b", "bf16", Parallelism(tensor=4), None, {}, 15.54),
]


@pytest.mark.parametrize(("model", "precision", "split", "version", "demand", "logged"), WEIGHTS)
def test_weights_are_within_two_percent_of_the_log(
    model: str, precision: str, split: Parallelism, version: str | None, demand: dict[str, Any], logged: float
) -> None:
    assert fit(model, precision, split, version=version, **demand).weights_gib == pytest.approx(logged, rel=0.02)


OF_VLLM = [
    # ROCm/vllm issue 375: DeepSeek-V3 with tensor 8 on MI300X: weights took 79.3596 GB.
    ("deepseek-v3", "fp8", Parallelism(tensor=8), {"product": "MI300X"}, 79.3596),
    # vllm-project/vllm-ascend issue 1127: DeepSeek-R1-W8A8, tensor 16 on 2 x 8 910B2: 40.7763 GB.
    ("deepseek-r1", "int8", Parallelism(tensor=16), {"product": "910B"}, 40.7763),
    # vllm-project/vllm-ascend issue 2191 (0.9.1rc2): DeepSeek-V3 W8A8, four replicas of tensor 4 with expert
    # parallelism over all sixteen: 44.1591 GB.
    (
        "deepseek-v3",
        "int8",
        Parallelism(tensor=16, attention_data=4, expert=16),
        {"product": "910B"},
        44.1591,
    ),
    # vllm-project/vllm pull request 4650 and issue 15607: DeepSeek-V2-Lite alone, and with tensor 4.
    ("deepseek-v2-lite", "bf16", Parallelism(tensor=1), {}, 29.3010),
    ("deepseek-v2-lite", "bf16", Parallelism(tensor=4), {}, 7.3858),
    # vllm-project/vllm-ascend issue 2235: DeepSeek-R1-Distill-Llama-70B with tensor 8: 16.4610 GB.
    ("deepseek-r1-distill-llama-70b", "bf16", Parallelism(tensor=8), {"product": "910B"}, 16.4610),
    # vllm-project/vllm issue 12529: DeepSeek-R1-Distill-Qwen-1.5B: 3.3414 GB.
    ("deepseek-r1-distill-qwen-1.5b", "bf16", Parallelism(tensor=1), {}, 3.3414),
]


@pytest.mark.parametrize(("model", "precision", "split", "target", "logged"), OF_VLLM)
def test_vllms_weights_are_within_a_percent_of_the_log(
    model: str, precision: str, split: Parallelism, target: dict[str, Any], logged: float
) -> None:
    found = fit(model, precision, split, engine="vllm", **target)
    assert found.weights_gib == pytest.approx(logged, rel=0.01)


def test_vllms_cache_of_a_pipeline_is_as_long_as_logged_for_each_stage() -> None:
    """vllm-project/vllm pull request 20665: DeepSeek-V2-Lite, tensor 2 and pipeline 2 on L4.

    12.13 GiB were available on the first stage, 11.33 on the second: 807,792 tokens, by the first one's 14 layers.
    """
    dims = CATALOG.models["deepseek-v2-lite"].dimensions
    first, last = footprint.stages(dims, 2, spared=1)
    assert (first.layers, last.layers) == (14, 13)
    assert 12.13 * 2**30 / (first.layers * 576 * 2) == pytest.approx(807_792, rel=0.001)
    assert 11.33 * 2**30 / (last.layers * 576 * 2) > 807_792
    found = fit("deepseek-v2-lite", "bf16", Parallelism(tensor=2, pipeline=2), engine="vllm")
    assert found.kv_bytes_per_token == first.layers * 576 * 2


def test_the_first_stage_of_four_is_within_two_percent_of_the_log() -> None:
    """deepseek-ai/DeepSeek-V3 issue 205: vLLM, tensor 8 and pipeline 4, 16.9583 GiB on the first stage."""
    dims = CATALOG.models["deepseek-v3"].dimensions
    first = footprint.stages(dims, 4, spared=1)[0]
    sharding = footprint.Sharding(split=Parallelism(tensor=8, pipeline=4))
    found = footprint.weights(dims, first, sharding, layout=CATALOG.layouts["fp8-block128"], mtp=False)
    assert sum(found.values()) == pytest.approx(16.9583, rel=0.02)


@pytest.mark.parametrize(
    ("model", "precision", "split", "demand", "tokens", "gib"),
    [
        # sgl-project/sglang issue 6017: "#tokens: 161488, KV size: 10.57 GB".
        ("deepseek-v3", "fp8", Parallelism(tensor=8, attention_data=8), {}, 161_488, 10.57),
        # The same log of GB200, FP8 cache: "#tokens: 524288, KV size: 17.16 GB".
        ("deepseek-r1", "fp8", Parallelism(tensor=8, attention_data=8), {"kv_precision": "fp8"}, 524_288, 17.16),
        # sgl-project/sglang pull request 11309, DeepSeek-V3.2 with the indexer counted: 975,424 tokens, 43.67 GB.
        ("deepseek-v3.2", "fp8", Parallelism(tensor=8, attention_data=8), {"kv_precision": "fp8"}, 975_424, 43.67),
        # Public log of 2025-03-08, Qwen2 of 32 B, tensor 4: 46,611 tokens, K 1.42 GB and V 1.42 GB.
        ("deepseek-r1-distill-qwen-32b", "bf16", Parallelism(tensor=4), {}, 46_611, 2.84),
    ],
)
def test_a_cache_of_so_many_tokens_is_as_large_as_logged(
    model: str, precision: str, split: Parallelism, demand: dict[str, Any], tokens: int, gib: float
) -> None:
    found = fit(model, precision, split, **demand)
    assert tokens * found.kv_bytes_per_token / 2**30 == pytest.approx(gib, rel=0.003)


def test_the_cache_that_a_log_reports_follows_from_its_free_memory() -> None:
    """sgl-project/sglang issue 6017: 31.87 + 105.59 GiB free before weights, 21.23 left after the cache.

    The static share that the log implies is (137.46 - 21.23 - 0.06) / 137.46, the request pool being small there.
    """
    free = 31.87 + 105.59
    found = fit_for(
        model="deepseek-v3",
        precision="fp8",
        target=Target(free_gib=free),
        split=Parallelism(tensor=8, attention_data=8, expert=8),
        demand=Demand(moe_dense_tensor=1, redundant_experts=32, mem_fraction=(free - 21.23 - 0.06) / free),
        catalog=CATALOG,
    )
    assert found.kv_tokens == pytest.approx(161_488, rel=0.03)


@pytest.mark.parametrize(
    ("product", "ranks", "free"),
    [
        # Free before weights, in GiB: "avail mem" before loading, or after it plus what was loaded.
        ("H200", 8, 31.96 + 105.59),  # sglang issue 6017
        ("H200", 8, 58.12 + 79.7),  # sglang issue 3416
        ("B200", 4, 175.34),  # sglang pull request on FlashInfer's weight shuffle
        ("H800", 16, 36.51 + 40.5),  # sglang issue 4161
        ("A100", 16, 24.77 + 53.1),  # skypilot issue 4723
        ("MI308X", 8, 103.67 + 81.66),  # sglang issue 6001
        ("MI300X", 8, 185.6),  # sglang issue 2384, eight ranks between 184.3 and 186.4
        ("GB200", 8, 75.11 + 107.07),  # srt-slurm's log of 2025-11-04
    ],
)
def test_the_memory_that_communication_leaves_is_as_logged(product: str, ranks: int, free: float) -> None:
    found = fit_for(
        model="deepseek-v3",
        precision="bf16",
        target=Target(product=product),
        split=Parallelism(tensor=ranks),
        demand=Demand(),
        catalog=CATALOG,
    )
    assert found.free_gib == pytest.approx(free, rel=0.02)


def test_an_eight_bit_layout_on_devices_that_are_not_nvidias_is_within_four_percent_of_the_log() -> None:
    """Public notes of 2026-05-08: DeepSeek-R1-Channel-FP8, tensor 16 over two nodes of DCU: mem usage=41.72 GB.

    A byte a weight and a scale an output, as channel-wise INT8.
    """
    dims = CATALOG.models["deepseek-r1"].dimensions
    (stage,) = footprint.stages(dims, 1)
    sharding = footprint.Sharding(split=Parallelism(tensor=16))
    found = footprint.weights(dims, stage, sharding, layout=CATALOG.layouts["int8-channel"], mtp=False)
    assert sum(found.values()) == pytest.approx(41.72, rel=0.04)


def test_tokens_with_mtp_before_the_draft_counted_are_as_logged() -> None:
    """The same notes: 101.33 + 41.72 GiB free, fraction 0.9, FP8 cache, EAGLE: #tokens: 2659072."""
    found = fit_for(
        model="deepseek-r1",
        precision="fp8",
        target=Target(free_gib=101.33 + 41.72, engine=Engine(version="0.5.6")),
        split=Parallelism(tensor=16),
        demand=Demand(mem_fraction=0.9, kv_precision="fp8", mtp=True),
        catalog=CATALOG,
    )
    assert found.kv_bytes_per_token == 35_136
    assert found.kv_tokens == pytest.approx(2_659_072, rel=0.03)

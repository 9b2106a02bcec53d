"""What fits, with which fraction, and what is to blame when it does not."""

from __future__ import annotations

from typing import Any

import pytest

from deepseek_operator.catalog.load import load
from deepseek_operator.plan.memory import Demand, Device, device_for, fit, memory_model
from deepseek_operator.plan.support import find_layout
from deepseek_operator.plan.types import MemoryFit, Parallelism

CATALOG = load()
V3 = CATALOG.models["deepseek-v3"].dimensions
FP8_LAYOUT = CATALOG.layouts["fp8-block128"]


def fit_on(
    product: str,
    split: Parallelism,
    *,
    precision: str = "fp8",
    nodes: int = 1,
    model: str = "deepseek-v3",
    engine: str = "sglang",
    version: str | None = None,
    **demand: Any,
) -> MemoryFit:
    accelerator = next(each for each in CATALOG.accelerators if product in {each.product, *each.aliases})
    release = next(
        each
        for each in CATALOG.releases
        if each.engine == "sglang"
        and each.vendor == accelerator.vendor
        and accelerator.architecture in each.architectures
    )
    used = memory_model(
        engine,
        CATALOG,
        vendor=accelerator.vendor,
        version=version or release.version,
        aiter_fraction=release.aiter_fraction,
    )
    layout = find_layout(precision, CATALOG, architecture=accelerator.architecture)
    assert layout is not None
    return fit(
        dimensions=CATALOG.models[model].dimensions,
        layout=layout,
        split=split,
        device=device_for(
            vendor=accelerator.vendor,
            architecture=accelerator.architecture,
            memory_gib=accelerator.memory_gib,
            nodes=nodes,
            rules=CATALOG.memory_rules,
            ranks=split.tensor * split.pipeline,
        ),
        demand=Demand(**demand),
        engine=used,
    )


def fit_in(free_gib: float, split: Parallelism, **demand: Any) -> MemoryFit:
    """A device of Hopper's kind of which the free memory is known."""
    device = Device(vendor="nvidia", architecture="sm90", memory_gib=free_gib + 2, free_gib=free_gib)
    used = memory_model("sglang", CATALOG, vendor="nvidia")
    return fit(dimensions=V3, layout=FP8_LAYOUT, split=split, device=device, demand=Demand(**demand), engine=used)


TP8, TP16, TP32 = Parallelism(tensor=8), Parallelism(tensor=16), Parallelism(tensor=32)


@pytest.mark.parametrize(
    ("product", "split", "precision", "nodes", "fits"),
    [
        ("H100", TP8, "fp8", 1, False),
        ("H100", TP16, "fp8", 2, True),
        ("H100", Parallelism(tensor=8, pipeline=2), "fp8", 2, True),
        ("H100", TP16, "bf16", 2, False),
        ("H100", TP32, "bf16", 4, True),
        ("A100", TP16, "bf16", 2, False),
        ("A100", TP32, "bf16", 4, True),
        ("H200", TP8, "fp8", 1, True),
        ("H200", TP8, "bf16", 1, False),
        ("H200", TP16, "bf16", 2, True),
        ("B200", TP8, "fp8", 1, True),
        ("B200", TP8, "bf16", 1, False),
        ("B300", TP8, "bf16", 1, True),
        ("MI300X", TP8, "fp8", 1, True),
        ("MI300X", TP8, "bf16", 1, False),
        ("MI300X", TP16, "bf16", 2, True),
        ("MI325X", TP8, "bf16", 1, True),
        ("MI355X", TP8, "bf16", 1, True),
        ("910B", TP16, "bf16", 2, False),
        ("910B", TP32, "bf16", 4, True),
        ("910C", TP16, "bf16", 1, False),
        ("910C", TP32, "bf16", 2, True),
    ],
)
def test_the_published_node_counts_come_out(
    product: str, split: Parallelism, precision: str, nodes: int, *, fits: bool
) -> None:
    assert fit_on(product, split, precision=precision, nodes=nodes).fits is fits


@pytest.mark.parametrize("product", ["H100", "H200", "B200", "MI300X", "L40S"])
@pytest.mark.parametrize("split", [TP16, Parallelism(tensor=16, attention_data=16), Parallelism(tensor=8, pipeline=4)])
def test_fraction_weights_and_cache_are_consistent(product: str, split: Parallelism) -> None:
    answer = fit_on(product, split, nodes=4)
    static = answer.free_gib - answer.reserve_gib
    page = 64
    assert (
        static - answer.weights_gib - answer.kv_gib == pytest.approx(0, abs=page * answer.kv_bytes_per_token / 2**30)
        or not answer.fits
    )
    assert sum(answer.terms.values()) <= answer.weights_gib + answer.reserve_gib + 0.001
    assert round(answer.mem_fraction, 3) == answer.mem_fraction
    assert answer.context_length <= max(answer.kv_tokens, 0)


def test_wide_attention_data_parallelism_gets_a_smaller_graph_instead_of_no_cache() -> None:
    plain = fit_on("H100", TP16, nodes=2)
    wide = fit_on("H100", Parallelism(tensor=16, attention_data=16), nodes=2)
    assert wide.fits
    assert wide.graph_max_batch < plain.graph_max_batch
    assert wide.mem_fraction > 0.75


def test_a_pipeline_is_as_long_as_its_fullest_stage() -> None:
    answer = fit_on("H100", Parallelism(tensor=8, pipeline=2), nodes=2)
    assert answer.kv_bytes_per_token == 31 * 576 * 2


def test_an_old_sglang_takes_its_aiter_cut_out_of_the_cache_too() -> None:
    answer = fit_on("MI300X", TP8)
    kept = 1 - answer.reserve_gib / answer.free_gib
    assert kept == pytest.approx(answer.mem_fraction * 0.85, abs=0.001)


def test_triton_attention_counts_its_workspace() -> None:
    assert "attentionWorkspace" in fit_on("A100", TP32, precision="bf16", nodes=4).terms
    assert "attentionWorkspace" in fit_on("MI300X", TP16, precision="bf16", nodes=2).terms
    assert "attentionWorkspace" not in fit_on("MI300X", TP8).terms
    assert "attentionWorkspace" not in fit_on("H100", TP16, nodes=2).terms


def test_the_workspace_on_one_device_is_as_large_as_was_once_seen() -> None:
    """256 sequences of 163,840 tokens with all heads on one device asked for 16 GiB."""
    device = Device(vendor="nvidia", architecture="sm89", memory_gib=1000.0, free_gib=1000.0)
    engine = memory_model("sglang", CATALOG, vendor="nvidia")
    assert engine is not None
    answer = fit(
        dimensions=V3,
        layout=FP8_LAYOUT,
        split=Parallelism(tensor=1),
        device=device,
        demand=Demand(max_running=256),
        engine=engine,
    )
    assert answer.graph_max_batch == 256
    assert answer.terms["attentionWorkspace"] == pytest.approx(16.3, abs=0.2)


def test_mtp_costs_weights_cache_and_running_requests() -> None:
    plain, mtp = fit_on("H200", TP8), fit_on("H200", TP8, mtp=True)
    assert mtp.weights_gib - plain.weights_gib == pytest.approx(1.6, abs=0.1)
    assert mtp.kv_bytes_per_token == plain.kv_bytes_per_token + 1152
    assert mtp.graph_max_batch == 48


def test_an_fp8_cache_holds_twice_the_tokens() -> None:
    plain, small = fit_on("H200", TP8), fit_on("H200", TP8, kv_precision="fp8")
    assert small.kv_tokens == pytest.approx(2 * plain.kv_tokens, rel=0.001)


def test_few_running_requests_need_no_large_graph() -> None:
    assert fit_on("H200", TP8, max_running=16).graph_max_batch == 16


def test_a_context_that_does_not_fit_is_refused_with_one_that_does() -> None:
    refused = fit_on("H20", TP8, context_length=160_000)
    assert not refused.fits
    assert refused.limited_by == "kvCache"
    (problem,) = refused.problems
    assert problem.field == "spec.context.maxLength"
    assert "tensor 16 on 16 such devices would fit" in problem.message
    assert fit_on("H20", TP8, context_length=refused.kv_tokens).fits


def test_the_context_that_is_wished_is_the_one_that_is_rendered() -> None:
    assert fit_on("H200", TP8, context_length=8192).context_length == 8192


def test_weights_that_do_not_fit_name_a_split_that_does() -> None:
    refused = fit_on("H100", TP8)
    assert refused.limited_by == "weights"
    assert "tensor 16 on 16 such devices would fit" in refused.problems[0].message


def test_fp8_beyond_sixteen_ranks_is_suggested_as_a_pipeline() -> None:
    refused = fit_on("L40S", TP16, nodes=2)
    assert "tensor 16 and pipeline 2 on 32 such devices would fit" in refused.problems[0].message


def test_a_fraction_that_is_too_small_says_the_least_one() -> None:
    refused = fit_on("H200", TP8, mem_fraction=0.5)
    assert refused.limited_by == "memFraction"
    assert "more than 0.579" in refused.problems[0].message
    assert fit_on("H200", TP8, mem_fraction=0.6).fits


def test_a_fraction_of_ones_own_is_kept() -> None:
    assert fit_on("H200", TP8, mem_fraction=0.8123).mem_fraction == 0.8123


def test_tokens_come_in_whole_pages() -> None:
    assert fit_on("B200", TP8).kv_tokens % 64 == 0
    assert fit_on("910B", TP32, precision="bf16", nodes=4).kv_tokens % 128 == 0


def test_the_cache_is_the_static_share_less_the_weights_by_hand() -> None:
    """137.5 GiB free, a fraction of 0.9: 123.75 GiB static, 79.73 of them weights; 70,272 bytes a token."""
    answer = fit_in(137.5, TP8, mem_fraction=0.9)
    assert answer.weights_gib == pytest.approx(79.73, abs=0.02)
    assert answer.kv_tokens == pytest.approx((0.9 * 137.5 - 79.73) * 2**30 / 70_272, rel=0.001)
    assert answer.reserve_gib == pytest.approx(13.75)


def test_sglangs_reserve_by_hand() -> None:
    """memory_hook.py on sixteen H100: 512 + 1.5 x 8192 + 1024 x 16 / 8 + 2 x 512 + 1536 MiB, and the request pool."""
    terms = fit_on("H100", TP16, nodes=2, context_length=4096).terms
    assert terms["activations"] == pytest.approx((512 + 1.5 * 8192) / 1024)
    assert terms["communication"] == pytest.approx(1024 * 16 / 8 / 1024)
    assert terms["graphs"] == pytest.approx((2 * 512 + 1536) / 1024)
    assert terms["requestPool"] == pytest.approx(2049 * 4100 * 4 / 2**30)


def test_attention_data_parallelism_needs_more_for_graphs_by_hand() -> None:
    """3 MiB for each sequence and attention rank, half as much again above 300."""
    split = Parallelism(tensor=8, attention_data=8)
    answer = fit_on("MI355X", split)
    batch = answer.graph_max_batch
    more = 1.5 if batch > 300 else 0.0
    assert answer.terms["graphs"] == pytest.approx((2 * batch + 1536 + (3 + more) * batch * 8) / 1024)


def test_requests_that_fit_at_once_by_hand() -> None:
    answer = fit_on("H200", TP8)
    assert answer.requests_4k == answer.kv_tokens // 4096
    assert answer.requests_32k == answer.kv_tokens // 32_768
    assert answer.longest_context == 163_840
    limited = fit_on("H200", TP8, max_running=16)
    assert (limited.requests_4k, limited.requests_32k) == (16, min(16, limited.kv_tokens // 32_768))


def test_each_attention_rank_has_a_cache_of_its_own() -> None:
    answer = fit_on("H200", Parallelism(tensor=8, attention_data=8))
    assert answer.requests_32k == 8 * (answer.kv_tokens // 32_768)


def test_the_longest_context_is_not_the_one_that_is_rendered() -> None:
    answer = fit_on("H200", TP8, context_length=8192)
    assert (answer.context_length, answer.longest_context) == (8192, 163_840)


@pytest.mark.parametrize(
    ("version", "copies", "draft"),
    [
        ("0.4.4", 0.0, False),
        ("0.4.6.post2", 2.08, False),
        ("0.4.9", 0.0, False),
        ("0.5.15", 0.0, True),
        (None, 0.0, True),
    ],
)
def test_what_counts_depends_on_the_version(version: str | None, copies: float, *, draft: bool) -> None:
    """Before 0.5.15 the draft model came after the cache was sized: it is in the reserve, not in the fraction."""
    layers = 62 if draft else 61
    now, then = fit_on("H200", TP8, mem_fraction=0.85), fit_on("H200", TP8, mem_fraction=0.85, version=version)
    assert then.weights_gib - now.weights_gib == pytest.approx(copies, abs=0.01)
    with_draft = fit_on("H200", TP8, mem_fraction=0.85, mtp=True, version=version)
    static = with_draft.free_gib * 0.85
    left = static - with_draft.weights_gib + (0.0 if draft else with_draft.terms["mtp"])
    assert with_draft.kv_bytes_per_token == layers * 1152
    assert with_draft.kv_tokens == pytest.approx(left * 2**30 / (layers * 1152), abs=1)


@pytest.mark.parametrize(
    ("product", "version", "kv", "size"),
    [
        # 61 layers; BF16 latent and rotary key, FP8 ones with scales, raw FP8; each with the indexer's 132 bytes.
        ("H200", None, "auto", 61 * (1152 + 132)),
        ("H200", None, "fp8", 61 * (656 + 132)),
        ("B200", None, "auto", 61 * (576 + 132)),
        ("B200", "0.5.3", "auto", 61 * (576 + 132)),
        # Sized without the scales until 0.5.12 (its pool_configurator.py).
        ("H200", "0.5.12", "fp8", 61 * (576 + 132)),
        ("MI300X", None, "auto", 61 * (1152 + 132)),
        ("910C", None, "auto", 61 * (1152 + 256)),
        ("MI300X", None, "fp8", 61 * (576 + 132)),
    ],
)
def test_sparse_attention_has_a_cache_of_its_own_on_each_architecture(
    product: str, version: str | None, kv: str, size: int
) -> None:
    precision = "bf16" if product == "910C" else "fp8"
    answer = fit_on(product, TP8, model="deepseek-v3.2", precision=precision, kv_precision=kv, version=version)
    assert answer.kv_bytes_per_token == size
    assert answer.kv_tokens % 64 == 0
    assert "attentionWorkspace" not in answer.terms


@pytest.mark.parametrize(
    ("product", "model", "tensor", "fits"),
    [
        ("H100", "deepseek-r1-distill-qwen-32b", 1, False),
        ("H100", "deepseek-r1-distill-qwen-32b", 2, True),
        ("H100", "deepseek-r1-distill-llama-70b", 2, False),
        ("H100", "deepseek-r1-distill-llama-70b", 4, True),
        ("MI300X", "deepseek-r1-distill-llama-70b", 1, True),
        ("L40S", "deepseek-r1-distill-qwen-7b", 1, True),
        ("910B", "deepseek-r1-distill-llama-8b", 1, True),
        ("H100", "deepseek-v2-lite", 1, True),
    ],
)
def test_the_distilled_models_fit_few_devices(product: str, model: str, tensor: int, *, fits: bool) -> None:
    assert fit_on(product, Parallelism(tensor=tensor), model=model, precision="bf16").fits is fits


def test_vllms_fraction_is_of_the_whole_device_by_hand() -> None:
    """H200: 0.92 of what torch sees, less weights, 2.2 GiB outside torch, and the largest batch of 8,192 tokens.

    For each of its tokens: four hidden states, and eight times an expert's slice and a hidden state, in BF16.
    """
    answer = fit_on("H200", TP8, engine="vllm")
    total = next(each for each in CATALOG.accelerators if "H200" in each.aliases).memory_gib
    batch = 8192 * (4 * 7168 + 8 * (2 * 2048 / 8 + 7168)) * 2 / 2**30
    left = 0.92 * 0.995 * total - answer.weights_gib - 2.2 - batch
    assert answer.mem_fraction == 0.92
    assert answer.weights_gib == pytest.approx(79.53, abs=0.02)
    assert answer.kv_tokens == pytest.approx(left * 2**30 / 70_272, abs=64)
    assert answer.kv_tokens % 64 == 0
    assert answer.terms["activations"] == pytest.approx(batch)


def test_the_same_fraction_means_less_to_vllm_than_to_sglang_where_communication_takes_much() -> None:
    sglang, vllm = (fit_on("MI300X", TP8, engine=each, mem_fraction=0.9, context_length=4096) for each in ENGINES)
    assert sglang.reserve_gib == pytest.approx(sglang.free_gib * (1 - 0.9))
    assert vllm.reserve_gib > 0.1 * vllm.free_gib


def test_vllm_profiles_a_batch_by_the_size_of_the_device_but_a_small_one_on_a100() -> None:
    chunks = {name: fit_on(name, TP16, engine="vllm", nodes=2, precision="bf16").chunked_prefill for name in DEVICES}
    assert chunks == {"H100": 8192, "A100": 2048, "L40S": 2048, "B200": 16_384, "MI300X": 16_384, "910B": 2048}


@pytest.mark.parametrize(
    ("product", "fraction", "logged"),
    [
        # Public log of DeepSeek on 8 x H200, vLLM 0.7: "total_gpu_memory (139.81GiB) x (0.85) = 118.84GiB".
        ("H200", 0.85, 118.84),
        # SGLang on 16 dies: torch sees 61.3 of 64 GiB.
        ("910B", 1.0, 61.3),
    ],
)
def test_vllms_fraction_is_of_what_torch_sees(product: str, fraction: float, logged: float) -> None:
    answer = fit_on(product, TP16, engine="vllm", precision="bf16", nodes=4, mem_fraction=fraction)
    total = next(each for each in CATALOG.accelerators if product in each.aliases).memory_gib
    needs = answer.terms["activations"] + answer.terms["communication"]
    assert total - (answer.reserve_gib - needs) == pytest.approx(logged, abs=0.2)


def test_vllm_is_not_given_a_context_that_only_just_fits() -> None:
    # It ends at the start when its longest request does not fit into what it measured.
    free, asked = (fit_on("H20", TP8, engine="vllm", context_length=length) for length in (None, 60_000))
    assert free.kv_tokens < 163_840
    assert free.context_length == int(free.kv_tokens * 0.9)
    assert asked.context_length == 60_000


def test_vllm_keeps_a_sparse_models_cache_in_bf16_unless_asked() -> None:
    auto, fp8 = (fit_on("H200", TP8, engine="vllm", model="deepseek-v3.2", kv_precision=kv) for kv in ("auto", "fp8"))
    assert auto.kv_bytes_per_token == 61 * (1152 + 132)
    assert fp8.kv_bytes_per_token == 61 * (656 + 132)


def test_vllm_refuses_weights_that_are_too_large_and_says_what_would_fit() -> None:
    refused = fit_on("H100", TP8, engine="vllm")
    assert refused.limited_by == "weights"
    assert "tensor 16 on 16 such devices would fit" in refused.problems[0].message


@pytest.mark.parametrize("engine", ["lmdeploy", "tensorrt-llm"])
def test_an_engine_without_a_memory_model_counts_weights_and_nothing_else(engine: str) -> None:
    known = fit_on("H200", TP8)
    fit = fit_on("H200", TP8, engine=engine)
    # SGLang's loading takes 0.2 GiB beside the weights.
    assert fit.weights_gib == pytest.approx(known.weights_gib, abs=0.3)
    assert (fit.fits, fit.modelled, fit.kv_tokens) == (True, False, 0)
    refused = fit_on("H100", TP8, engine=engine)
    assert (refused.fits, refused.limited_by) == (False, "weights")


ENGINES = ("sglang", "vllm")
DEVICES = ("H100", "A100", "L40S", "B200", "MI300X", "910B")

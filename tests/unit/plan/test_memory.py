"""What fits, with which fraction, and what is to blame when it does not."""

from __future__ import annotations

from typing import Any

import pytest

from deepseek_operator.catalog.load import load
from deepseek_operator.plan.memory import Demand, Device, EngineMemory, device_for, fit
from deepseek_operator.plan.types import MemoryFit, Parallelism

CATALOG = load()
V3 = CATALOG.models["deepseek-v3"].dimensions


def fit_on(product: str, split: Parallelism, *, precision: str = "fp8", nodes: int = 1, **demand: Any) -> MemoryFit:
    accelerator = next(each for each in CATALOG.accelerators if product in {each.product, *each.aliases})
    release = next(
        each
        for each in CATALOG.releases
        if each.vendor == accelerator.vendor and accelerator.architecture in each.architectures
    )
    return fit(
        dimensions=V3,
        precision=precision,
        split=split,
        device=device_for(
            vendor=accelerator.vendor,
            architecture=accelerator.architecture,
            memory_gib=accelerator.memory_gib,
            nodes=nodes,
            rules=CATALOG.memory_rules,
        ),
        demand=Demand(**demand),
        engine=EngineMemory(
            rules=CATALOG.memory_rules,
            tiers=CATALOG.memory_tiers["ascend" if accelerator.vendor == "ascend" else "default"],
            aiter_fraction=release.aiter_fraction,
        ),
    )


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
    engine = EngineMemory(rules=CATALOG.memory_rules, tiers=CATALOG.memory_tiers["default"])
    answer = fit(
        dimensions=V3,
        precision="fp8",
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
    assert "more than 0.571" in refused.problems[0].message
    assert fit_on("H200", TP8, mem_fraction=0.6).fits


def test_a_fraction_of_ones_own_is_kept() -> None:
    assert fit_on("H200", TP8, mem_fraction=0.8123).mem_fraction == 0.8123


def test_tokens_come_in_whole_pages() -> None:
    assert fit_on("B200", TP8).kv_tokens % 64 == 0
    assert fit_on("910B", TP32, precision="bf16", nodes=4).kv_tokens % 128 == 0

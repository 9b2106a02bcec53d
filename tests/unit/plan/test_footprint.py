"""Bytes of weights and cache: hand-computed from the models' config.json, and against the published checkpoints.

The arithmetic beside each case is DeepSeek-V3's config.json (Hugging Face) put into SGLang's sharding
(models/deepseek_v2.py): hidden 7168, 61 layers of which 3 are dense, 128 heads, ranks 1536 and 512, head sizes
128 + 64 and 128, widths 18432 and 2048, 256 + 1 experts, vocabulary 129280.
"""

from __future__ import annotations

import pytest

from deepseek_operator.catalog.load import load
from deepseek_operator.plan import footprint
from deepseek_operator.plan.footprint import Sharding
from deepseek_operator.plan.kvcache import CacheKind, bytes_per_token
from deepseek_operator.plan.types import Parallelism

CATALOG = load()
V3 = CATALOG.models["deepseek-v3"].dimensions
V32 = CATALOG.models["deepseek-v3.2"].dimensions
LITE = CATALOG.models["deepseek-v2-lite"].dimensions
QWEN_7B = CATALOG.models["deepseek-r1-distill-qwen-7b"].dimensions
LLAMA_70B = CATALOG.models["deepseek-r1-distill-llama-70b"].dimensions
GIB = 2**30

FP8 = 1 + 4 / 128**2
"""A byte, and a float32 scale for each block of 128 x 128."""
Q_B, KV_B, OUT = 1536 * 128 * 192, 512 * 128 * 256, 128 * 128 * 7168
DOWN = 7168 * (1536 + 512 + 64)
EXPERT = 3 * 7168 * 2048
DENSE = 3 * 7168 * 18432
ROUTER = 256 * (2 * 7168 + 4)
TABLE = 2 * 129280 * 7168


def parts(model: str, layout: str, split: Parallelism, *, mtp: bool = False, **finer: int | bool) -> dict[str, float]:
    """GiB by part of a model that is one pipeline stage."""
    dims = CATALOG.models[model].dimensions
    (stage,) = footprint.stages(dims, 1)
    sharding = Sharding(split=split, **finer)  # type: ignore[arg-type]
    return dict(footprint.weights(dims, stage, sharding, layout=CATALOG.layouts[layout], mtp=mtp))


def total(layout: str, split: Parallelism, *, model: str = "deepseek-v3", mtp: bool = False, **finer: int) -> float:
    return sum(parts(model, layout, split, mtp=mtp, **finer).values())


@pytest.mark.parametrize(("layout", "gib"), [("fp8-block128", 641.3), ("bf16", 1275.0)])
def test_all_parts_together_are_the_checkpoint(layout: str, gib: float) -> None:
    """688.6 GB in 163 files, and 1369 GB as BF16: SGLang issue 3254, model card."""
    assert footprint.checkpoint_gib(V3, CATALOG.layouts[layout]) == pytest.approx(gib, rel=0.0005)


def test_fp8_over_eight_ranks_by_hand() -> None:
    found = parts("deepseek-v3", "fp8-block128", Parallelism(tensor=8))
    attention = 61 * (FP8 * DOWN + (FP8 * (Q_B + KV_B + OUT) + 2 * KV_B) / 8)
    assert found["attention"] == pytest.approx(attention / GIB, rel=0.001)
    assert found["denseMlp"] == pytest.approx(3 * FP8 * DENSE / 8 / GIB, rel=0.001)
    assert found["routedExperts"] == pytest.approx(58 * 256 * FP8 * EXPERT / 8 / GIB, rel=0.001)
    assert found["sharedExperts"] == pytest.approx(58 * FP8 * EXPERT / 8 / GIB, rel=0.001)
    assert found["router"] == pytest.approx(58 * ROUTER / GIB)
    assert found["embeddings"] == pytest.approx(2 * TABLE / 8 / GIB)
    assert sum(found.values()) == pytest.approx(79.5, abs=0.05)


def test_attention_data_and_expert_parallelism_by_hand() -> None:
    """Sixteen ranks with attention data 16: attention and token embeddings whole on each."""
    split = Parallelism(tensor=16, attention_data=16, expert=16)
    found = parts("deepseek-v3", "fp8-block128", split)
    assert found["attention"] == pytest.approx(61 * (FP8 * (DOWN + Q_B + KV_B + OUT) + 2 * KV_B) / GIB, rel=0.001)
    assert found["routedExperts"] == pytest.approx(58 * 16 * FP8 * EXPERT / GIB, rel=0.001)
    assert found["embeddings"] == pytest.approx((TABLE + TABLE / 16) / GIB)


def test_the_recipe_of_large_expert_parallelism_by_hand() -> None:
    """DeepEP with moe-dense-tp 1 and dp-lm-head: dense, shared, embeddings and head whole; 32 experts twice."""
    split = Parallelism(tensor=8, attention_data=8, expert=8)
    found = parts("deepseek-v3", "fp8-block128", split, moe_dense_tensor=1, redundant_experts=32)
    assert found["denseMlp"] == pytest.approx(3 * FP8 * DENSE / GIB, rel=0.001)
    assert found["sharedExperts"] == pytest.approx(58 * FP8 * EXPERT / GIB, rel=0.001)
    assert found["routedExperts"] == pytest.approx(58 * (256 + 32) / 8 * FP8 * EXPERT / GIB, rel=0.001)
    assert found["embeddings"] == pytest.approx(2 * TABLE / GIB)


def test_a_pipeline_stage_by_hand() -> None:
    """The first of two stages: 30 layers, all 3 dense ones, embeddings but no head."""
    first, last = footprint.stages(V3, 2)
    sharding = Sharding(split=Parallelism(tensor=8, pipeline=2))
    layout = CATALOG.layouts["fp8-block128"]
    found = footprint.weights(V3, first, sharding, layout=layout, mtp=False)
    assert found["routedExperts"] == pytest.approx(27 * 256 * FP8 * EXPERT / 8 / GIB, rel=0.001)
    assert found["embeddings"] == pytest.approx(TABLE / 8 / GIB)
    other = footprint.weights(V3, last, sharding, layout=layout, mtp=False)
    assert other["routedExperts"] == pytest.approx(31 * 256 * FP8 * EXPERT / 8 / GIB, rel=0.001)
    assert other["denseMlp"] == 0


@pytest.mark.parametrize(
    ("layout", "bits", "experts"),
    [
        # Bytes of one expert on one of sixteen ranks: a slice of 128 of 2048, gate and up, then down.
        ("int8-block128", "blocks as FP8", FP8 * EXPERT / 16),
        ("int8-channel", "a scale an output", EXPERT / 16 + 2 * 128 * 4 + 7168 * 4),
        ("w4afp8", "BF16 scale for 128", EXPERT / 16 * (0.5 + 2 / 128)),
        ("awq-group64", "2.5 bytes for 64", EXPERT / 16 * (0.5 + 2.5 / 64)),
        ("nvfp4", "a byte for 16", EXPERT / 16 * (0.5 + 1 / 16)),
        ("mxfp4", "a byte for 32", EXPERT / 16 * (0.5 + 1 / 32)),
        ("modelslim-w8a8", "a scale an output", EXPERT / 16 + 2 * 128 * 4 + 7168 * 4),
        ("modelslim-w4a8", "8 bytes an output", EXPERT / 16 / 2 + 2 * 128 * 8 + 7168 * 8),
    ],
)
def test_an_expert_of_each_layout_by_hand(layout: str, bits: str, experts: float) -> None:
    found = parts("deepseek-r1", layout, Parallelism(tensor=16))
    assert found["routedExperts"] == pytest.approx(58 * 256 * experts / GIB, rel=0.001), bits


def test_attention_of_modelslim_keeps_kv_b_in_bf16() -> None:
    found = parts("deepseek-r1", "modelslim-w8a8", Parallelism(tensor=16))
    by_hand = 61 * (DOWN + (Q_B + OUT + 4 * KV_B) / 16)
    assert found["attention"] == pytest.approx(by_hand / GIB, rel=0.01)


def test_modelslim_keeps_the_indexer_in_bf16() -> None:
    """The published recipe for V3.2 leaves the indexer's wq_b, wk and weights_proj out."""
    found = parts("deepseek-v3.2", "modelslim-w8a8", Parallelism(tensor=16))
    of_a_layer = 2 * (64 * 128 * 1536 + (128 + 64) * 7168)
    assert found["indexer"] == pytest.approx(61 * of_a_layer / GIB, rel=0.001)


def test_fp4_keeps_attention_and_the_draft_layer_in_bf16() -> None:
    found = parts("deepseek-r1", "nvfp4", Parallelism(tensor=4), mtp=True)
    assert found["attention"] == pytest.approx(61 * (2 * DOWN + 2 * (Q_B + 2 * KV_B + OUT) / 4) / GIB, rel=0.001)
    draft = 2 * DOWN + 2 * (Q_B + 2 * KV_B + OUT) / 4 + 2 * 257 * EXPERT / 4 + ROUTER + 2 * 2 * 7168**2
    assert found["mtp"] == pytest.approx(draft / GIB, rel=0.001)


def test_amd_keeps_the_absorbed_matrices_in_fp8() -> None:
    nvidia, amd = (parts("deepseek-v3", "fp8-block128", Parallelism(tensor=8), amd=amd) for amd in (False, True))
    assert nvidia["attention"] - amd["attention"] == pytest.approx(61 * KV_B / 8 / GIB)


@pytest.mark.parametrize(("tensor", "gib"), [(8, 1.6), (16, 0.9)])
def test_mtp_costs_one_more_layer(tensor: int, gib: float) -> None:
    split = Parallelism(tensor=tensor)
    by_hand = FP8 * DOWN + (FP8 * (Q_B + KV_B + OUT) + 2 * KV_B) / tensor
    by_hand += 257 * FP8 * EXPERT / tensor + ROUTER + 2 * 2 * 7168**2
    grown = total("fp8-block128", split, mtp=True) - total("fp8-block128", split)
    assert grown == pytest.approx(by_hand / GIB, rel=0.001)
    assert grown == pytest.approx(gib, abs=0.1)


def test_clones_of_the_shared_expert_cost_what_a_log_of_then_says() -> None:
    """SGLang 0.4.6 on eight ranks: 2.08 GiB more (issue 6001)."""
    split = Parallelism(tensor=8)
    cloned = sum(parts("deepseek-v3", "fp8-block128", split, shared_expert_copies=True).values())
    assert cloned - total("fp8-block128", split) == pytest.approx(2.08, abs=0.01)


def test_expert_parallelism_alone_does_not_change_a_ranks_share() -> None:
    split, experts = Parallelism(tensor=16), Parallelism(tensor=16, expert=16)
    assert total("fp8-block128", experts) == pytest.approx(total("fp8-block128", split), rel=1e-6)


def test_amd_keeps_a_shared_expert_in_each_expert_group() -> None:
    split = Parallelism(tensor=8, expert=4)
    nvidia, amd = (parts("deepseek-v3", "fp8-block128", split, amd=amd) for amd in (False, True))
    assert nvidia["sharedExperts"] == pytest.approx(58 * FP8 * EXPERT / 8 / GIB, rel=0.001)
    assert amd["sharedExperts"] == pytest.approx(58 * FP8 * EXPERT / 2 / GIB, rel=0.001)


def test_the_indexer_of_sparse_attention_is_whole_on_every_rank() -> None:
    """64 heads of 128 out of the query's rank, one key of 128 and 64 head weights out of the hidden state in BF16."""
    by_hand = 61 * (FP8 * 1536 * 64 * 128 + 2 * 7168 * (128 + 64) + 2 * 128 * 4) / GIB
    for tensor in (8, 16):
        found = parts("deepseek-v3.2", "fp8-block128", Parallelism(tensor=tensor))
        assert found["indexer"] == pytest.approx(by_hand, rel=0.001)


def test_queries_that_are_not_compressed_by_hand() -> None:
    """DeepSeek-V2-Lite on two ranks: 16 heads, no query rank."""
    found = parts("deepseek-v2-lite", "bf16", Parallelism(tensor=2))
    down, queries, kv_b, out = 2048 * 576, 2048 * 16 * 192, 512 * 16 * 256, 16 * 128 * 2048
    assert found["attention"] == pytest.approx(27 * 2 * (down + (queries + 2 * kv_b + out) / 2) / GIB, rel=0.001)
    assert found["sharedExperts"] == pytest.approx(26 * 2 * 3 * 2048 * 2 * 1408 / 2 / GIB)


def test_grouped_query_attention_by_hand() -> None:
    """DeepSeek-R1-Distill-Llama-70B on four ranks: 64 heads and 8 key-value heads of 128, untied embeddings."""
    found = parts("deepseek-r1-distill-llama-70b", "bf16", Parallelism(tensor=4))
    attention = 80 * (2 * 8192 * (64 + 2 * 8) * 128 / 4 + 2 * 64 * 128 * 8192 / 4 + 2 * 2 * 8192)
    assert found["attention"] == pytest.approx(attention / GIB)
    assert found["denseMlp"] == pytest.approx(80 * 2 * 3 * 8192 * 28672 / 4 / GIB)
    assert found["embeddings"] == pytest.approx(2 * 2 * 128256 * 8192 / 4 / GIB)
    assert "routedExperts" not in found


def test_key_value_heads_are_repeated_when_there_are_more_ranks() -> None:
    """DeepSeek-R1-Distill-Qwen-7B has four: on 28 ranks each keeps one."""
    assert footprint.kv_heads_of_a_rank(QWEN_7B, 2) == 2
    assert footprint.kv_heads_of_a_rank(QWEN_7B, 28) == 1


@pytest.mark.parametrize(
    ("model", "kind", "mtp", "ranks", "size"),
    [
        ("deepseek-v3", CacheKind(fp8=False), False, 8, 61 * (512 + 64) * 2),
        ("deepseek-v3", CacheKind(fp8=True), False, 8, 61 * (512 + 64)),
        ("deepseek-v3", CacheKind(fp8=False), True, 8, 62 * (512 + 64) * 2),
        # Sparse: FP8 latent, four float32 scales, a BF16 rotary key; the indexer's FP8 key and its scale.
        ("deepseek-v3.2", CacheKind(fp8=True), False, 8, 61 * (512 + 16 + 128 + 128 + 4)),
        ("deepseek-v3.2", CacheKind(fp8=True, raw=True), False, 8, 61 * (512 + 64 + 128 + 4)),
        ("deepseek-v3.2", CacheKind(fp8=False), False, 8, 61 * (2 * (512 + 64) + 128 + 4)),
        ("deepseek-v2-lite", CacheKind(fp8=False), False, 1, 27 * (512 + 64) * 2),
        # Grouped-query: keys and values of a rank's own heads.
        ("deepseek-r1-distill-llama-70b", CacheKind(fp8=False), False, 4, 80 * 2 * 2 * 128 * 2),
        ("deepseek-r1-distill-llama-70b", CacheKind(fp8=True), False, 16, 80 * 2 * 1 * 128),
        ("deepseek-r1-distill-qwen-7b", CacheKind(fp8=False), False, 1, 28 * 2 * 4 * 128 * 2),
    ],
)
def test_a_token_costs_what_its_cache_holds(model: str, kind: CacheKind, *, mtp: bool, ranks: int, size: int) -> None:
    dims = CATALOG.models[model].dimensions
    assert bytes_per_token(dims, layers=dims.layers, kind=kind, attention_ranks=ranks, mtp=mtp) == size


@pytest.mark.parametrize("pipeline", [1, 2, 3, 4, 8, 61])
def test_stages_cover_the_layers_once(pipeline: int) -> None:
    cut = footprint.stages(V3, pipeline)
    assert len(cut) == pipeline
    assert sum(stage.layers for stage in cut) == 61
    assert sum(stage.dense for stage in cut) == 3
    assert max(stage.layers for stage in cut) - min(stage.layers for stage in cut) <= 1
    assert [stage.layers for stage in cut] == sorted(stage.layers for stage in cut)

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from deepseek_operator.weights.errors import InputError
from deepseek_operator.weights.progress import Progress
from deepseek_operator.weights.shard import shard
from tests.unit.weights.checkpoints import Array, Shape, write_checkpoint
from tests.unit.weights.test_cast import read, run, same_bits

EVEN = Shape(hidden=512, heads=1024, latent=256, intermediate=1024, experts=8, vocabulary=64, layers=4)
RULES = [
    (r"embed_tokens", "embed", 0),
    (r"input_layernorm", "attn_norm", None),
    (r"post_attention_layernorm", "ffn_norm", None),
    (r"q_a_proj", "wq_a", None),
    (r"q_a_layernorm", "q_norm", None),
    (r"q_b_proj", "wq_b", 0),
    (r"kv_a_proj_with_mqa", "wkv_a", None),
    (r"kv_a_layernorm", "kv_norm", None),
    (r"kv_b_proj", "wkv_b", 0),
    (r"o_proj", "wo", 1),
    (r"gate_proj", "w1", 0),
    (r"down_proj", "w2", 1),
    (r"up_proj", "w3", 0),
    (r"gate", "gate", None),
    (r"norm", "norm", None),
    (r"lm_head", "head", 0),
]


def reference(tensors: dict[str, Array], ranks: int, experts: int) -> list[dict[str, Array]]:
    """What the demo's converter makes of a checkpoint, written down from its published mapping."""
    out: list[dict[str, Array]] = [{} for _ in range(ranks)]
    for name, array in tensors.items():
        if ".layers.61." in name:
            continue
        stem, leaf = name.removeprefix("model.").rsplit(".", 1)
        leaf = {"weight_scale_inv": "scale", "e_score_correction_bias": "bias"}.get(leaf, leaf)
        before, _, module = stem.rpartition(".")
        new, dimension = next((new, cut) for old, new, cut in RULES if re.fullmatch(old, module))
        before = before.replace("self_attn", "attn").replace("mlp", "ffn")
        target = ".".join(part for part in (before, new, leaf) if part)
        expert = re.search(r"\.experts\.(\d+)\.", name)
        for rank in range(ranks):
            if expert:
                if int(expert[1]) // (experts // ranks) == rank:
                    out[rank][target] = array
            elif dimension is None:
                out[rank][target] = array
            else:
                out[rank][target] = np.split(array, ranks, dimension)[rank]
    return out


def cut(source: Path, target: Path, ranks: int, experts: int = EVEN.experts) -> None:
    shard(source, target, model_parallel=ranks, experts=experts, workers=2, progress=Progress())


@pytest.mark.parametrize("ranks", [1, 2])
def test_every_rank_gets_what_the_demo_loads(tmp_path: Path, ranks: int) -> None:
    tensors = write_checkpoint(tmp_path / "in", EVEN)

    cut(tmp_path / "in", tmp_path / "out", ranks)

    for rank, expected in enumerate(reference(tensors, ranks, EVEN.experts)):
        (tmp_path / "one").mkdir(exist_ok=True)
        file = tmp_path / "one" / "x.safetensors"
        file.write_bytes((tmp_path / "out" / f"model{rank}-mp{ranks}.safetensors").read_bytes())
        found = read(file.parent)
        assert found.keys() == expected.keys()
        assert all(same_bits(found[name], np.ascontiguousarray(expected[name])) for name in expected)
    assert not any(".layers.61." in name or name.startswith("layers.61.") for name in expected)
    assert (tmp_path / "out" / "tokenizer.json").exists()


@pytest.mark.parametrize("ranks", [8, 16, 32])
def test_bf16_is_cut_for_as_many_ranks_as_the_demo_runs_on(tmp_path: Path, ranks: int) -> None:
    shape = Shape(hidden=256, heads=256, latent=256, intermediate=256, experts=32, vocabulary=64)
    write_checkpoint(tmp_path / "fp8", shape)
    run(tmp_path / "fp8", tmp_path / "in")
    tensors = read(tmp_path / "in")

    cut(tmp_path / "in", tmp_path / "out", ranks, experts=32)

    expected = reference(tensors, ranks, 32)
    for rank in (0, ranks - 1):
        (tmp_path / f"one{rank}").mkdir()
        (tmp_path / f"one{rank}" / "x.safetensors").symlink_to(tmp_path / "out" / f"model{rank}-mp{ranks}.safetensors")
        found = read(tmp_path / f"one{rank}")
        assert found.keys() == expected[rank].keys()
        assert all(same_bits(found[name], np.ascontiguousarray(expected[rank][name])) for name in found)


def test_fp8_that_does_not_divide_is_refused_with_the_remedy(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "in", Shape(**{**EVEN.__dict__, "experts": 16}))

    with pytest.raises(InputError, match=r"weight_scale_inv: dimension [01] of .* cast the checkpoint to BF16 first"):
        cut(tmp_path / "in", tmp_path / "out", 16, experts=16)


@pytest.mark.parametrize(
    ("ranks", "experts", "words"),
    [(3, 8, "8 experts do not divide by it"), (2, 16, "config.json says 8; use --experts 8")],
)
def test_wrong_numbers_are_refused(tmp_path: Path, ranks: int, experts: int, words: str) -> None:
    write_checkpoint(tmp_path / "in", EVEN)

    with pytest.raises(InputError, match=words):
        cut(tmp_path / "in", tmp_path / "out", ranks, experts)


def test_a_model_of_another_family_is_refused(tmp_path: Path) -> None:
    tensors = write_checkpoint(tmp_path / "in", EVEN)
    assert tensors
    index = tmp_path / "in" / "model.safetensors.index.json"
    index.unlink()
    for path in (tmp_path / "in").glob("*.safetensors"):
        path.write_bytes(path.read_bytes().replace(b"kv_b_proj", b"kv_c_proj"))

    with pytest.raises(InputError, match=r"kv_c_proj.*the demo has no such module"):
        cut(tmp_path / "in", tmp_path / "out", 2)

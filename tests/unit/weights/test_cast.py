from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from deepseek_operator.weights.cast import cast
from deepseek_operator.weights.checkpoint import open_checkpoint
from deepseek_operator.weights.dequantize import CODE_DTYPES, CpuDequantizer
from deepseek_operator.weights.errors import CorruptError, InputError
from deepseek_operator.weights.progress import Progress
from deepseek_operator.weights.verify import verify
from deepseek_operator.weights.workspace import MARKER, read_marker
from tests.unit.weights.checkpoints import (
    COMPANIONS,
    DTYPES,
    Array,
    Shape,
    config_of,
    dequantized,
    dtype_name,
    write_checkpoint,
    write_file,
)

ON_CPU = CpuDequantizer()


def run(source: Path, target: Path, workers: int = 2) -> None:
    cast(source, target, dequantize=ON_CPU, workers=workers, progress=Progress())


def read(directory: Path) -> dict[str, Array]:
    """All tensors of a directory by its own index or files; bytes as the header says they are."""
    found: dict[str, Array] = {}
    for path in sorted(directory.glob("*.safetensors")):
        raw = path.read_bytes()
        length = int.from_bytes(raw[:8], "little")
        header = json.loads(raw[8 : 8 + length])
        header.pop("__metadata__")
        for name, entry in header.items():
            first, last = (8 + length + each for each in entry["data_offsets"])
            found[name] = np.frombuffer(raw[first:last], DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return found


def same_bits(left: Array, right: Array) -> bool:
    return left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes()


@pytest.mark.parametrize("scale", ["F32", "F8_E8M0", "BF16"])
@pytest.mark.parametrize("code", ["F8_E4M3", "I8", "F8_E5M2"])
@pytest.mark.parametrize("files", [1, 3])
def test_every_weight_is_the_reference_bit_for_bit_and_the_rest_is_unchanged(
    tmp_path: Path, code: str, scale: str, files: int
) -> None:
    tensors = write_checkpoint(tmp_path / "in", Shape(code=code, scale=scale, files=files))

    run(tmp_path / "in", tmp_path / "out")

    out = read(tmp_path / "out")
    scales = {name for name in tensors if name.endswith("_scale_inv")}
    assert set(out) == set(tensors) - scales
    for name, array in out.items():
        companion = tensors.get(f"{name}_scale_inv")
        expected = tensors[name] if companion is None else dequantized(tensors[name], companion)
        assert same_bits(array, expected), name


def test_the_reference_library_reads_the_result(tmp_path: Path) -> None:
    tensors = write_checkpoint(tmp_path / "in")
    run(tmp_path / "in", tmp_path / "out")

    names: set[str] = set()
    for path in (tmp_path / "out").glob("*.safetensors"):
        with safe_open(path, framework="numpy") as file:
            names |= set(file.keys())
            bias = next((name for name in file.keys() if name.endswith("correction_bias")), None)  # noqa: SIM118 - no mapping
            if bias:
                assert same_bits(file.get_tensor(bias), tensors[bias])
            assert file.metadata() == {"format": "pt"}
    assert names == {name for name in tensors if not name.endswith("_scale_inv")}


def test_index_configuration_and_companions_fit_the_result(tmp_path: Path) -> None:
    tensors = write_checkpoint(tmp_path / "in", Shape(config={"text_config": {"quantization_config": {}, "a": 1}}))
    run(tmp_path / "in", tmp_path / "out")

    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    out = read(tmp_path / "out")
    assert set(index["weight_map"]) == set(out)
    assert index["metadata"]["total_size"] == sum(array.nbytes for array in out.values())
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config == {
        **{key: value for key, value in config_of(Shape()).items() if key != "quantization_config"},
        "torch_dtype": "bfloat16",
        "text_config": {"a": 1},
    }
    for name, content in COMPANIONS.items():
        assert (tmp_path / "out" / name).read_bytes() == content
    assert open_checkpoint(tmp_path / "out").tensors.keys() == tensors.keys() - {
        name for name in tensors if name.endswith("_scale_inv")
    }
    assert verify(tmp_path / "out", full=True, workers=2, progress=Progress()).findings == ()


def test_a_single_file_without_an_index_stays_one(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "in", Shape(files=1))
    (tmp_path / "in" / "model.safetensors.index.json").unlink()

    run(tmp_path / "in", tmp_path / "out")

    assert not (tmp_path / "out" / "model.safetensors.index.json").exists()
    assert read_marker(tmp_path / "out") is not None


def test_matrices_in_stacks_and_blocks_of_another_size_are_cast(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    random = np.random.default_rng(3)
    codes = random.integers(0, 256, (3, 70, 90), dtype=np.uint8).view(ml_dtypes.float8_e4m3fn)
    scales = random.random((3, 3, 2)).astype(np.float32)
    write_file(tmp_path / "in" / "model.safetensors", {"w.weight": codes, "w.weight_scale_inv": scales})
    config = {"quantization_config": {"weight_block_size": [32, 64]}}
    (tmp_path / "in" / "config.json").write_text(json.dumps(config))

    run(tmp_path / "in", tmp_path / "out")

    wide = np.repeat(np.repeat(scales, 32, -2), 64, -1)[:, :70, :90]
    expected = (codes.astype(np.float32) * wide).astype(ml_dtypes.bfloat16)
    assert same_bits(read(tmp_path / "out")["w.weight"], expected)


awkward = st.sampled_from([0.0, -0.0, np.inf, -np.inf, np.nan, -np.nan, 1e-45, 1e-38, 3e38, -1.5, 2.0**-127])


@settings(deadline=None, max_examples=60)
@given(
    rows=st.integers(1, 300),
    columns=st.integers(1, 300),
    code=st.sampled_from(sorted(CODE_DTYPES)),
    scale=st.one_of(awkward, st.floats(width=32)),
    seed=st.integers(0, 2**32),
)
def test_any_shape_any_scale_any_code(rows: int, columns: int, code: str, scale: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    codes = random.integers(0, 256, (rows, columns), dtype=np.uint8)
    scales = random.standard_normal((-(-rows // 128), -(-columns // 128))).astype(np.float32)
    scales.reshape(-1)[0] = np.float32(scale)
    out = np.full((rows, columns), 0x5A5A, np.uint16)

    ON_CPU(codes, code, scales, out, (128, 128))

    assert out.tobytes() == dequantized(codes.view(CODE_DTYPES[code]), scales).tobytes()


def test_nan_stays_nan_with_its_sign() -> None:
    codes = np.array([[0x7F, 0xFF, 0x38]], dtype=np.uint8)
    out = np.empty((1, 3), np.uint16)

    ON_CPU(codes, "F8_E4M3", np.array([[1.0]], dtype=np.float32), out, (128, 128))

    assert out.tolist() == [[0x7FC0, 0xFFC0, 0x3F80]]


def test_a_second_run_does_nothing_and_another_input_is_refused(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "in")
    run(tmp_path / "in", tmp_path / "out")
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir() if path.is_file()}
    run(tmp_path / "in", tmp_path / "out")
    assert before == {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir() if path.is_file()}

    write_checkpoint(tmp_path / "other", Shape(seed=1))
    with pytest.raises(InputError, match="holds the result of another input; empty it"):
        run(tmp_path / "other", tmp_path / "out")


def test_a_file_that_was_cut_after_the_cast_is_made_again(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "in")
    run(tmp_path / "in", tmp_path / "out")
    victim = sorted((tmp_path / "out").glob("*.safetensors"))[1]
    whole = victim.read_bytes()
    victim.write_bytes(whole[:-1])

    run(tmp_path / "in", tmp_path / "out")

    assert victim.read_bytes() == whole


def drop(name: str) -> Any:
    return lambda tensors: tensors.pop(name)


QUERY = "model.layers.0.self_attn.q_a_proj"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (drop(f"{QUERY}.weight_scale_inv"), f"{QUERY}.weight: an F8_E4M3 weight .* without scales"),
        (
            lambda tensors: tensors.update({f"{QUERY}.weight_scale_inv": np.ones((130, 1), np.float32)}),
            f"{QUERY}.weight: scales of shape .*130, 1.* do not fit .* 128 by 128",
        ),
    ],
)
def test_weights_that_cannot_be_cast_are_named(tmp_path: Path, change: Any, words: str) -> None:
    tensors = write_checkpoint(tmp_path / "all", Shape(files=1))
    change(tensors)
    (tmp_path / "in").mkdir()
    write_file(tmp_path / "in" / "model.safetensors", tensors)

    with pytest.raises(InputError, match=words):
        run(tmp_path / "in", tmp_path / "out")


def test_a_bf16_checkpoint_is_refused(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "in")
    run(tmp_path / "in", tmp_path / "out")

    with pytest.raises(InputError, match="no weight in it has block scales"):
        run(tmp_path / "out", tmp_path / "again")


def test_casting_onto_itself_is_refused(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "in")

    with pytest.raises(InputError, match="it is the input"):
        run(tmp_path / "in", tmp_path / "in")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-5]), "it should have"),
        (lambda path: path.write_bytes(b"\xff" * 100), "its header would have"),
        (lambda path: path.unlink(), "names it and it is not there"),
        (lambda path: path.write_bytes((16).to_bytes(8, "little") + b"not JSON at all!"), "is not JSON"),
    ],
)
def test_a_damaged_input_is_named_and_leaves_no_marker(tmp_path: Path, damage: Any, words: str) -> None:
    write_checkpoint(tmp_path / "in")
    damage(tmp_path / "in" / "model-00002-of-000003.safetensors")

    with pytest.raises(CorruptError, match=f"model-00002-of-000003.safetensors: .*{words}"):
        run(tmp_path / "in", tmp_path / "out")

    assert not (tmp_path / "out" / MARKER).exists()


def test_each_tensor_begins_at_a_multiple_of_its_element(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "in")
    run(tmp_path / "in", tmp_path / "out")

    for tensor in open_checkpoint(tmp_path / "out").tensors.values():
        assert tensor.offset % (4 if tensor.dtype == "F32" else 2) == 0, tensor


def test_the_tests_write_what_they_mean() -> None:
    assert dtype_name(np.zeros(1, ml_dtypes.float8_e8m0fnu)) == "F8_E8M0"

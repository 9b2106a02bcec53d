"""Small checkpoints of DeepSeek-V3's layout: every kind of tensor, odd shapes, scales in other files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import ml_dtypes
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

DTYPES: Final[dict[str, Any]] = {
    "F32": np.float32,
    "BF16": ml_dtypes.bfloat16,
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2,
    "F8_E8M0": ml_dtypes.float8_e8m0fnu,
    "I8": np.int8,
    "I64": np.int64,
}
BLOCK: Final = 128
COMPANIONS: Final = {
    "generation_config.json": b'{"temperature": 0.6}',
    "tokenizer.json": b'{"version": "1.0"}',
    "tokenizer_config.json": b"{}",
    "modeling_deepseek.py": b"# code\n",
    "LICENSE": b"MIT\n",
    "README.md": b"# model\n",
}


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Sizes of a model; the defaults divide by 128 almost nowhere."""

    hidden: int = 200
    heads: int = 320
    latent: int = 130
    intermediate: int = 300
    experts: int = 4
    layers: int = 2
    vocabulary: int = 64
    code: str = "F8_E4M3"
    scale: str = "F32"
    files: int = 3
    seed: int = 0
    config: dict[str, Any] = field(default_factory=dict)


def dtype_name(array: Array) -> str:
    """The name of an array's dtype in a safetensors file."""
    return next(name for name, dtype in DTYPES.items() if np.dtype(dtype) == array.dtype)


def tensors_of(shape: Shape) -> dict[str, Array]:
    """All tensors of a model with random content; codes take every value, NaN included."""
    random = np.random.default_rng(shape.seed)
    return dict(_tensors(shape, random))


def _tensors(shape: Shape, random: np.random.Generator) -> Iterator[tuple[str, Array]]:
    def plain(*dimensions: int) -> Array:
        return random.standard_normal(dimensions).astype(ml_dtypes.bfloat16)

    def quantized(name: str, rows: int, columns: int) -> Iterator[tuple[str, Array]]:
        codes = random.integers(0, 256, (rows, columns), dtype=np.uint8)
        blocks = (-(-rows // BLOCK), -(-columns // BLOCK))
        yield f"{name}.weight", codes.view(DTYPES[shape.code])
        if shape.scale == "F8_E8M0":
            yield f"{name}.weight_scale_inv", random.integers(90, 140, blocks, dtype=np.uint8).view(DTYPES["F8_E8M0"])
        else:
            scales = random.random(blocks) * 1e-3 + 1e-6
            yield f"{name}.weight_scale_inv", scales.astype(DTYPES[shape.scale])

    yield "model.embed_tokens.weight", plain(shape.vocabulary, shape.hidden)
    for layer in [*range(shape.layers), 61]:
        stem = f"model.layers.{layer}"
        yield f"{stem}.input_layernorm.weight", plain(shape.hidden)
        yield f"{stem}.post_attention_layernorm.weight", plain(shape.hidden)
        yield from quantized(f"{stem}.self_attn.q_a_proj", shape.latent, shape.hidden)
        yield f"{stem}.self_attn.q_a_layernorm.weight", plain(shape.latent)
        yield from quantized(f"{stem}.self_attn.q_b_proj", shape.heads, shape.latent)
        yield from quantized(f"{stem}.self_attn.kv_a_proj_with_mqa", shape.latent, shape.hidden)
        yield f"{stem}.self_attn.kv_a_layernorm.weight", plain(shape.latent)
        yield from quantized(f"{stem}.self_attn.kv_b_proj", shape.heads, shape.latent)
        yield from quantized(f"{stem}.self_attn.o_proj", shape.hidden, shape.heads)
        if layer == 0:
            yield from _mlp(quantized, f"{stem}.mlp", shape.intermediate, shape.hidden)
            continue
        yield f"{stem}.mlp.gate.weight", plain(shape.experts, shape.hidden)
        yield f"{stem}.mlp.gate.e_score_correction_bias", random.standard_normal(shape.experts).astype(np.float32)
        yield from _mlp(quantized, f"{stem}.mlp.shared_experts", shape.intermediate, shape.hidden)
        for expert in range(shape.experts):
            yield from _mlp(quantized, f"{stem}.mlp.experts.{expert}", shape.intermediate, shape.hidden)
    yield "model.layers.61.eh_proj.weight", plain(shape.hidden, 2 * shape.hidden)
    yield "model.layers.61.enorm.weight", plain(shape.hidden)
    yield "model.norm.weight", plain(shape.hidden)
    yield "lm_head.weight", plain(shape.vocabulary, shape.hidden)


def _mlp(quantized: Any, stem: str, intermediate: int, hidden: int) -> Iterator[tuple[str, Array]]:
    yield from quantized(f"{stem}.gate_proj", intermediate, hidden)
    yield from quantized(f"{stem}.up_proj", intermediate, hidden)
    yield from quantized(f"{stem}.down_proj", hidden, intermediate)


def write_file(path: Path, tensors: dict[str, Array]) -> None:
    """A safetensors file, written without the code under test."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    position = 0
    for name, array in tensors.items():
        end = position + array.nbytes
        header[name] = {"dtype": dtype_name(array), "shape": list(array.shape), "data_offsets": [position, end]}
        position = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for array in tensors.values():
            stream.write(array.tobytes())


def write_checkpoint(directory: Path, shape: Shape | None = None) -> dict[str, Array]:
    """A checkpoint in several files, scales mostly in another file than their weights; returns its tensors."""
    shape = shape or Shape()
    directory.mkdir(parents=True, exist_ok=True)
    tensors = tensors_of(shape)
    width = -(-len(tensors) // shape.files)
    names = [f"model-{number + 1:05d}-of-{shape.files:06d}.safetensors" for number in range(shape.files)]
    weight_map: dict[str, str] = {}
    for position, name in enumerate(tensors):
        shifted = position + (width if name.endswith("_scale_inv") else 0)
        weight_map[name] = names[shifted // width % shape.files]
    for file in names:
        write_file(directory / file, {name: tensors[name] for name in tensors if weight_map[name] == file})
    index = {"metadata": {"total_size": sum(each.nbytes for each in tensors.values())}, "weight_map": weight_map}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    (directory / "config.json").write_text(json.dumps(config_of(shape)))
    for name, content in COMPANIONS.items():
        (directory / name).write_bytes(content)
    return tensors


def config_of(shape: Shape) -> dict[str, Any]:
    """A configuration as DeepSeek publishes it."""
    return {
        "architectures": ["DeepseekV3ForCausalLM"],
        "n_routed_experts": shape.experts,
        "num_hidden_layers": 61,
        "num_nextn_predict_layers": 1,
        "quantization_config": {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128]},
        "torch_dtype": "bfloat16",
        **shape.config,
    }


def dequantized(weight: Array, scale: Array) -> Array:
    """The reference: ``weight.to(float32) * scale`` in blocks of 128, rounded to bfloat16 by ml_dtypes."""
    wide = np.repeat(np.repeat(scale.astype(np.float32), BLOCK, -2), BLOCK, -1)
    wide = wide[..., : weight.shape[-2], : weight.shape[-1]]
    with np.errstate(all="ignore"):
        result: Array = (weight.astype(np.float32) * wide).astype(ml_dtypes.bfloat16)
    return result

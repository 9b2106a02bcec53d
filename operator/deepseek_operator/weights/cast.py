"""``weights cast``: a block-scaled FP8 or INT8 checkpoint as BF16, for hardware and engines without FP8.

Weights and scales are told apart by dtype and shape: a tensor of one byte an element that has a companion of scales
is a quantised weight, the companion is dropped, and everything else is passed through byte for byte. Names only
say which scale belongs to which weight; the scale may lie in any file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np

from deepseek_operator.weights import companions as beside
from deepseek_operator.weights import lease
from deepseek_operator.weights.checkpoint import CONFIG, INDEX, Checkpoint, open_checkpoint
from deepseek_operator.weights.dequantize import CODE_DTYPES, SCALE_DTYPES, Bits, Codes, Scales, scales_of
from deepseek_operator.weights.errors import InputError, storage_error
from deepseek_operator.weights.progress import Progress, say
from deepseek_operator.weights.safetensors_format import Tensor
from deepseek_operator.weights.stream import CHUNK, Buffers, Inputs, Output, Piece, Production, aligned, whole
from deepseek_operator.weights.workspace import Marker, Workspace, read_marker, size_of

_BLOCK: Final = (128, 128)
"""DeepSeek-V3 technical report, 3.3.2: weights are scaled in blocks of 128 by 128."""
_FP8: Final = frozenset({"F8_E4M3", "F8_E5M2"})


class Dequantizer(Protocol):
    """Fills ``out`` from a strip of codes and the scales of its blocks."""

    def __call__(self, codes: Codes, dtype: str, scales: Scales, out: Bits, block: tuple[int, int]) -> None:
        """Rows by columns of codes, blocks of ``block`` rows and columns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantized:
    """A weight, its scales, and the rows and columns of a block."""

    weight: Tensor
    scale: Tensor
    block: tuple[int, int]


def cast(source: Path, target: Path, *, dequantize: Dequantizer, workers: int, progress: Progress) -> Marker:
    """Write the BF16 form of a checkpoint.

    Args:
        source: Directory of the checkpoint; it is only read.
        target: Directory to make; an interrupted cast of the same source goes on.
        dequantize: On the CPU or an accelerator.
        workers: Files at once; each needs about 64 MiB.
        progress: Told how far it is.

    Raises:
        WeightsError: See errors.py.
    """
    if source.resolve() == target.resolve():
        raise InputError(f"--output {target}", "it is the input", "name another directory")
    checkpoint = open_checkpoint(source)
    quantized = find_quantized(checkpoint)
    if not quantized:
        raise InputError(str(source), "no weight in it has block scales", "use it as it is, or name an FP8 checkpoint")
    job = {"producer": "cast", "of": fingerprint(checkpoint)}
    work = Workspace(target)
    try:
        with lease.hold(work.work, say=say) as held:
            if (complete := complete_job(target, job)) is not None:
                return complete
            refuse_mixture(work, job)
            production = Production(source=source, work=work, lease=held, progress=progress, workers=workers)
            return _produce(checkpoint, quantized, production, dequantize=dequantize, job=job)
    except OSError as error:
        raise storage_error(error, error.filename or target) from error


def find_quantized(checkpoint: Checkpoint) -> dict[str, Quantized]:
    """The quantised weights, by name.

    Raises:
        InputError: An FP8 weight without scales, or scales of another layout.
    """
    block = _block_of(checkpoint.config)
    found = {}
    for tensor in checkpoint.tensors.values():
        if tensor.dtype not in CODE_DTYPES:
            continue
        scale = _scale_of(tensor, checkpoint)
        if scale is None:
            if tensor.dtype in _FP8:
                raise InputError(
                    tensor.name,
                    f"an {tensor.dtype} weight in {tensor.file} without scales",
                    "fetch the checkpoint again; without its scale a weight cannot be cast",
                )
            continue
        _check_layout(tensor, scale, block)
        found[tensor.name] = Quantized(weight=tensor, scale=scale, block=block)
    return found


def _block_of(config: dict[str, Any]) -> tuple[int, int]:
    match config.get("quantization_config"):
        case {"weight_block_size": [int(rows), int(columns)]} if rows > 0 and columns > 0:
            return rows, columns
    return _BLOCK


def _scale_of(weight: Tensor, checkpoint: Checkpoint) -> Tensor | None:
    stem = weight.name.removesuffix("weight")
    for name in (f"{weight.name}_scale_inv", f"{weight.name}_scale", f"{stem}scale_inv", f"{stem}scale"):
        scale = checkpoint.tensors.get(name)
        if scale is not None and scale.dtype in SCALE_DTYPES:
            return scale
    return None


def _check_layout(weight: Tensor, scale: Tensor, block: tuple[int, int]) -> None:
    *leading, rows, columns = weight.shape if len(weight.shape) > 1 else (-1, *weight.shape)
    expected = (*leading, -(-rows // block[0]), -(-columns // block[1]))
    if scale.shape != expected:
        raise InputError(
            weight.name,
            f"scales of shape {list(scale.shape)} do not fit a weight of shape {list(weight.shape)} in blocks of "
            f"{block[0]} by {block[1]}",
            "only block-scaled weights can be cast; use a BF16 checkpoint, or an engine that reads this layout",
        )


def fingerprint(checkpoint: Checkpoint) -> str:
    """The same for the same input only: hashes of its marker, else sizes and times of change."""
    marker = read_marker(checkpoint.directory)
    parts = [json.dumps(checkpoint.config, sort_keys=True)]
    for name in checkpoint.headers:
        entry = marker.files.get(name) if marker else None
        status = (checkpoint.directory / name).stat()
        parts.append(f"{name}:{entry.sha256 if entry else (status.st_size, status.st_mtime_ns)}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def complete_job(target: Path, job: dict[str, Any]) -> Marker | None:
    """The marker of a directory that already is what the job would make."""
    marker = read_marker(target)
    if marker is None or any(marker.about.get(key) != value for key, value in job.items()):
        return None
    if any(size_of(target / path) != entry.size for path, entry in marker.files.items()):
        return None
    return marker


def refuse_mixture(work: Workspace, job: dict[str, Any]) -> None:
    """Raise InputError when the directory is, or begins to be, something else."""
    marker, begun = read_marker(work.directory), work.job()
    mine = {key: marker.about.get(key) for key in job} if marker else begun
    if mine is not None and mine != job:
        raise InputError(
            f"--output {work.directory}", "it holds the result of another input", "empty it, or name another directory"
        )


def _produce(
    checkpoint: Checkpoint,
    quantized: dict[str, Quantized],
    production: Production,
    *,
    dequantize: Dequantizer,
    job: dict[str, Any],
) -> Marker:
    outputs = plan_outputs(checkpoint, quantized, dequantize, identity=job["of"])
    names = beside.companions(checkpoint.directory)
    small = sum((checkpoint.directory / name).stat().st_size for name in names)
    say(f"casting {len(quantized)} of {len(checkpoint.tensors)} tensors to BF16, {production.workers} files at once")
    entries = production.run(outputs, phase=f"cast {checkpoint.directory}", extra_bytes=small, job=job)
    entries |= beside.write_all(production.work, _small_files(checkpoint, outputs, names), job["of"])
    marker = Marker(about={**job, "layout": "bf16"}, files=entries)
    production.lease.check()
    production.work.finish(marker)
    return marker


def _small_files(
    checkpoint: Checkpoint, outputs: tuple[Output, ...], names: tuple[str, ...]
) -> Iterator[tuple[str, bytes]]:
    for name in names:
        yield name, (checkpoint.directory / name).read_bytes()
    if checkpoint.config:
        config = {"torch_dtype": "bfloat16", **checkpoint.config}
        yield CONFIG, (json.dumps(beside.bf16_config(config), indent=2) + "\n").encode()
    if checkpoint.indexed or len(outputs) > 1:
        weight_map = {piece.name: output.path for output in outputs for piece in output.pieces}
        yield INDEX, beside.index_document(weight_map, sum(piece.size for each in outputs for piece in each.pieces))


def plan_outputs(
    checkpoint: Checkpoint, quantized: dict[str, Quantized], dequantize: Dequantizer, *, identity: str
) -> tuple[Output, ...]:
    """One file for each input file, under the same name, without the scales."""
    scales = {each.scale.name for each in quantized.values()}
    outputs = []
    for name, header in checkpoint.headers.items():
        pieces = [
            _piece(tensor, quantized.get(tensor.name), dequantize)
            for tensor in header.tensors
            if tensor.name not in scales and checkpoint.tensors[tensor.name].file == name
        ]
        if pieces:
            metadata = header.metadata or {"format": "pt"}
            outputs.append(Output(path=name, pieces=aligned(pieces), metadata=metadata, identity=identity))
    return tuple(outputs)


def _piece(tensor: Tensor, quantized: Quantized | None, dequantize: Dequantizer) -> Piece:
    if quantized is None:
        return Piece(name=tensor.name, dtype=tensor.dtype, shape=tensor.shape, parts=whole(tensor))

    def parts(inputs: Inputs, buffers: Buffers) -> Iterator[memoryview]:
        return _dequantized(quantized, inputs, buffers, dequantize)

    return Piece(name=tensor.name, dtype="BF16", shape=tensor.shape, parts=parts)


def _dequantized(
    quantized: Quantized, inputs: Inputs, buffers: Buffers, dequantize: Dequantizer
) -> Iterator[memoryview]:
    """The weight in strips of whole block rows; matrices of a stack follow one another."""
    weight, scale, block = quantized.weight, quantized.scale, quantized.block
    rows, columns = weight.shape[-2:]
    if not weight.size:
        return
    raw = memoryview(bytearray(scale.size))
    inputs.read(scale, 0, raw)
    factors = scales_of(bytes(raw), scale.dtype, (-1, *scale.shape[-2:]))
    strip = max(CHUNK // (columns * block[0]), 1) * block[0]
    for number, matrix in enumerate(factors):
        for first in range(0, rows, strip):
            count = min(strip, rows - first)
            codes = buffers.take("input", count * columns)
            inputs.read(weight, (number * rows + first) * columns, codes)
            out = buffers.take("output", count * columns * 2)
            dequantize(
                np.frombuffer(codes, np.uint8).reshape(count, columns),
                weight.dtype,
                matrix[first // block[0] : -(-(first + count) // block[0])],
                np.frombuffer(out, np.uint16).reshape(count, columns),
                block,
            )
            yield out

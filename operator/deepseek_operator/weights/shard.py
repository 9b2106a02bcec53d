"""``weights shard``: a checkpoint cut for the DeepSeek-Infer demo, one file a rank.

The mapping is that of deepseek-ai/DeepSeek-V3 ``inference/convert.py`` (commit 9b4e978): names are rewritten, routed
experts are dealt out whole, every other matrix is cut along the dimension below or given to all ranks. The
original holds all ranks in memory, 0.7 to 1.4 TB; here each rank's file is streamed.

The multi-token-prediction layer (61) is left out: the demo's model has no place for it, and it loads strictly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from deepseek_operator.weights import companions as beside
from deepseek_operator.weights import lease
from deepseek_operator.weights.cast import complete_job, fingerprint, refuse_mixture
from deepseek_operator.weights.checkpoint import Checkpoint, open_checkpoint
from deepseek_operator.weights.errors import InputError, storage_error
from deepseek_operator.weights.progress import Progress, say
from deepseek_operator.weights.safetensors_format import BITS, Tensor
from deepseek_operator.weights.stream import CHUNK, Buffers, Inputs, Output, Piece, Production, aligned, whole
from deepseek_operator.weights.workspace import Marker, Workspace

_MTP_LAYER: Final = 61
_CUT: Final[dict[str, tuple[str, int | None]]] = {
    "embed_tokens": ("embed", 0),
    "input_layernorm": ("attn_norm", None),
    "post_attention_layernorm": ("ffn_norm", None),
    "q_proj": ("wq", 0),
    "q_a_proj": ("wq_a", None),
    "q_a_layernorm": ("q_norm", None),
    "q_b_proj": ("wq_b", 0),
    "kv_a_proj_with_mqa": ("wkv_a", None),
    "kv_a_layernorm": ("kv_norm", None),
    "kv_b_proj": ("wkv_b", 0),
    "o_proj": ("wo", 1),
    "gate": ("gate", None),
    "gate_proj": ("w1", 0),
    "down_proj": ("w2", 1),
    "up_proj": ("w3", 0),
    "norm": ("norm", None),
    "lm_head": ("head", 0),
}
"""The demo's name of each module, and the dimension that ranks divide (convert.py, ``mapping``)."""


def shard(source: Path, target: Path, *, model_parallel: int, experts: int, workers: int, progress: Progress) -> Marker:
    """Write ``model<rank>-mp<N>.safetensors`` for every rank, and the tokenizer.

    Args:
        source: Directory of an FP8 or BF16 checkpoint.
        target: Directory to make; an interrupted run of the same source goes on.
        model_parallel: Ranks, the later WORLD_SIZE.
        experts: Routed experts of the model.
        workers: Files at once.
        progress: Told how far it is.

    Raises:
        WeightsError: See errors.py; InputError where a dimension does not divide, as with FP8 on 32 ranks.
    """
    if source.resolve() == target.resolve():
        raise InputError(f"--output {target}", "it is the input", "name another directory")
    checkpoint = open_checkpoint(source)
    _check_experts(checkpoint, experts, model_parallel)
    job: dict[str, Any] = {"producer": "shard", "of": fingerprint(checkpoint), "modelParallel": model_parallel}
    outputs = plan_ranks(checkpoint, model_parallel=model_parallel, experts=experts, identity=job["of"])
    work = Workspace(target)
    try:
        with lease.hold(work.work, say=say) as held:
            if (complete := complete_job(target, job)) is not None:
                return complete
            refuse_mixture(work, job)
            production = Production(source=source, work=work, lease=held, progress=progress, workers=workers)
            return _produce(checkpoint, outputs, production, job)
    except OSError as error:
        raise storage_error(error, error.filename or target) from error


def _check_experts(checkpoint: Checkpoint, experts: int, model_parallel: int) -> None:
    told = checkpoint.config.get("n_routed_experts", experts)
    if told != experts:
        raise InputError(f"--experts {experts}", f"config.json says {told}", f"use --experts {told}")
    if experts % model_parallel:
        raise InputError(
            f"--model-parallel {model_parallel}", f"{experts} experts do not divide by it", "use 8, 16 or 32"
        )


def _produce(
    checkpoint: Checkpoint, outputs: tuple[Output, ...], production: Production, job: dict[str, Any]
) -> Marker:
    # As convert.py: the tokenizer is all that the demo reads beside the weights.
    names = [name for name in beside.companions(checkpoint.directory) if "token" in name or "LICENSE" in name]
    say(f"writing {len(outputs)} ranks, {production.workers} at once")
    entries = production.run(outputs, phase=f"shard {checkpoint.directory}", job=job)
    contents = ((name, (checkpoint.directory / name).read_bytes()) for name in names)
    entries |= beside.write_all(production.work, contents, job["of"])
    marker = Marker(about=dict(job), files=entries)
    production.lease.check()
    production.work.finish(marker)
    return marker


def plan_ranks(checkpoint: Checkpoint, *, model_parallel: int, experts: int, identity: str) -> tuple[Output, ...]:
    """The file of each rank; raises InputError where a tensor cannot be cut or has no place in the demo."""
    local = experts // model_parallel
    layers = min(int(checkpoint.config.get("num_hidden_layers", _MTP_LAYER)), _MTP_LAYER)
    pieces: list[list[Piece]] = [[] for _ in range(model_parallel)]
    for tensor in checkpoint.tensors.values():
        if _layer(tensor.name) >= layers:
            continue
        name, dimension = demo_name(tensor.name)
        if "experts" in name and "shared_experts" not in name:
            owner = int(name.split(".")[-3]) // local
            pieces[owner].append(Piece(name=name, dtype=tensor.dtype, shape=tensor.shape, parts=whole(tensor)))
            continue
        for rank in range(model_parallel):
            pieces[rank].append(_cut(tensor, name, dimension, rank, model_parallel))
    return tuple(
        Output(
            path=f"model{rank}-mp{model_parallel}.safetensors",
            pieces=aligned(sorted(each, key=lambda piece: piece.name)),
            metadata={"format": "pt"},
            identity=identity,
        )
        for rank, each in enumerate(pieces)
    )


def _layer(name: str) -> int:
    """The number of the layer that a tensor belongs to; -1 outside of layers."""
    parts = name.split(".")
    return int(parts[2]) if parts[:2] == ["model", "layers"] else -1


def demo_name(name: str) -> tuple[str, int | None]:
    """The demo's name of a tensor and the dimension that ranks divide.

    Raises:
        InputError: A module that the demo does not know.
    """
    new = name.removeprefix("model.").replace("self_attn", "attn").replace("mlp", "ffn")
    new = new.replace("weight_scale_inv", "scale").replace("e_score_correction_bias", "bias")
    parts = new.split(".")
    key = parts[-2] if len(parts) > 1 else new
    if key not in _CUT:
        raise InputError(name, "the demo has no such module", "only DeepSeek-V3 and R1 checkpoints can be cut for it")
    module, dimension = _CUT[key]
    return new.replace(key, module), dimension


def _cut(tensor: Tensor, name: str, dimension: int | None, rank: int, ranks: int) -> Piece:
    if dimension is None:
        return Piece(name=name, dtype=tensor.dtype, shape=tensor.shape, parts=whole(tensor))
    if len(tensor.shape) <= dimension or tensor.shape[dimension] % ranks:
        raise InputError(
            tensor.name,
            f"dimension {dimension} of {list(tensor.shape)} does not divide by {ranks}",
            "use a smaller --model-parallel, or cast the checkpoint to BF16 first (block scales limit FP8 to 16)",
        )
    shape = list(tensor.shape)
    shape[dimension] //= ranks
    if dimension == 0:
        size = tensor.size // ranks
        parts = whole(tensor, offset=rank * size, size=size)
    else:
        parts = _columns(tensor, rank, ranks)
    return Piece(name=name, dtype=tensor.dtype, shape=tuple(shape), parts=parts)


def _columns(tensor: Tensor, rank: int, ranks: int) -> Callable[[Inputs, Buffers], Iterator[memoryview]]:
    """One rank's columns of a matrix, read in strips of whole rows."""
    rows, columns = tensor.shape
    row_bytes = columns * BITS[tensor.dtype] // 8
    width = row_bytes // ranks
    strip = max(CHUNK // max(row_bytes, 1), 1)

    def parts(inputs: Inputs, buffers: Buffers) -> Iterator[memoryview]:
        for first in range(0, rows, strip):
            count = min(strip, rows - first)
            source = buffers.take("input", count * row_bytes)
            inputs.read(tensor, first * row_bytes, source)
            target = buffers.take("output", count * width)
            _copy_columns(source, target, (count, row_bytes), slice(rank * width, (rank + 1) * width))
            yield target

    return parts


def _copy_columns(source: memoryview, target: memoryview, shape: tuple[int, int], columns: slice) -> None:
    np.frombuffer(target, np.uint8).reshape(shape[0], -1)[:] = np.frombuffer(source, np.uint8).reshape(shape)[
        :, columns
    ]

"""The safetensors format, read and written piece by piece.

Eight bytes of length, that many bytes of JSON, then the tensors' bytes without gaps (safetensors' README, "Format").
The safetensors package reads and writes whole tensors and whole files; here a file of 9 GB is made in 48 MiB.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from deepseek_operator.weights.errors import CorruptError, storage_error

BITS: Final = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "U16": 16, "I16": 16, "F16": 16, "BF16": 16, "U32": 32, "I32": 32, "F32": 32, "U64": 64, "I64": 64, "F64": 64,
    "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip
"""Bits of an element (safetensors/src/tensor.rs, Dtype)."""
_LONGEST_HEADER: Final = 100_000_000
"""As the library limits it (safetensors/src/tensor.rs, MAX_HEADER_SIZE)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """A tensor in a file: ``offset`` in bytes from the file's begin, ``size`` in bytes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: str
    offset: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a file says of itself; tensors in the order of their bytes."""

    tensors: tuple[Tensor, ...]
    metadata: dict[str, str]
    size: int


def bytes_of(dtype: str, shape: Iterable[int]) -> int:
    """Bytes of a tensor; raises KeyError for a dtype that the format does not have."""
    return math.prod(shape) * BITS[dtype] // 8


def read_header(path: Path) -> Header:
    """Read and check a file's header against the file's size.

    Raises:
        CorruptError: Not a safetensors file, or cut, or with gaps.
    """
    try:
        total = path.stat().st_size
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if not 2 <= length <= min(_LONGEST_HEADER, total - 8):
                raise _corrupt(path, f"its header would have {length} bytes and the file has {total}")
            document = json.loads(stream.read(length))
    except OSError as error:
        raise storage_error(error, path) from error
    except ValueError as error:
        raise _corrupt(path, f"its header is not JSON ({error})") from error
    begin = 8 + length
    metadata = document.pop("__metadata__", None) or {}
    try:
        tensors = sorted(
            (_tensor(name, entry, path.name, begin) for name, entry in document.items()), key=lambda each: each.offset
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _corrupt(path, f"its header describes a tensor wrongly ({error!r})") from error
    position = begin
    for tensor in tensors:
        if tensor.offset != position:
            raise _corrupt(path, f"tensor {tensor.name} begins at {tensor.offset} instead of {position}")
        position += tensor.size
    if position != total:
        raise _corrupt(path, f"it should have {position} bytes and has {total}")
    return Header(tensors=tuple(tensors), metadata=metadata, size=begin)


def _tensor(name: str, entry: dict[str, Any], file: str, begin: int) -> Tensor:
    first, last = entry["data_offsets"]
    shape = tuple(int(each) for each in entry["shape"])
    if last - first != bytes_of(entry["dtype"], shape):
        message = f"{name}: {last - first} bytes for {entry['dtype']} {list(shape)}"
        raise ValueError(message)
    return Tensor(name=name, dtype=entry["dtype"], shape=shape, file=file, offset=begin + first, size=last - first)


def make_header(tensors: Iterable[tuple[str, str, tuple[int, ...]]], metadata: dict[str, str]) -> bytes:
    """The begin of a file whose tensors (name, dtype, shape) follow in this order, padded to eight bytes."""
    document: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    position = 0
    for name, dtype, shape in tensors:
        size = bytes_of(dtype, shape)
        document[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [position, position + size]}
        position += size
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _corrupt(path: Path, why: str) -> CorruptError:
    return CorruptError(str(path), why, "fetch it again")

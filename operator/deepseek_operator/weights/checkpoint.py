"""A checkpoint: an index, safetensors files, and what the tensors are called."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from deepseek_operator.weights.errors import CorruptError, InputError
from deepseek_operator.weights.safetensors_format import Header, Tensor, read_header

INDEX: Final = "model.safetensors.index.json"
CONFIG: Final = "config.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """All headers of a directory.

    Attributes:
        directory: Where it lies.
        headers: By file name, in the order of the names.
        tensors: By tensor name; a tensor that two files hold is the one that the index names.
        config: config.json.
        indexed: Whether the directory has an index.
    """

    directory: Path
    headers: dict[str, Header]
    tensors: dict[str, Tensor]
    config: dict[str, Any]
    indexed: bool


def open_checkpoint(directory: Path) -> Checkpoint:
    """Read every header.

    Raises:
        InputError: No checkpoint there.
        CorruptError: A file is cut, or the index and the files disagree.
    """
    if not directory.is_dir():
        raise InputError(str(directory), "no such directory", "name the directory that holds config.json")
    weight_map = _weight_map(directory)
    names = (
        sorted(set(weight_map.values()))
        if weight_map
        else sorted(each.name for each in directory.glob("*.safetensors"))
    )
    if not names:
        raise InputError(str(directory), "it has no safetensors file", "name the directory of a checkpoint")
    for name in names:
        if not (directory / name).is_file():
            raise CorruptError(str(directory / name), f"{INDEX} names it and it is not there", "fetch it again")
    headers = {name: read_header(directory / name) for name in names}
    tensors = {tensor.name: tensor for header in headers.values() for tensor in header.tensors}
    if weight_map:
        tensors |= _indexed(weight_map, headers, directory)
    return Checkpoint(
        directory=directory,
        headers=headers,
        tensors=tensors,
        config=_object(directory / CONFIG),
        indexed=bool(weight_map),
    )


def check(directory: Path, paths: Iterable[str]) -> None:
    """Compare headers, sizes and index of the files of a directory, whatever folders they lie in.

    Raises:
        CorruptError: As open_checkpoint.
    """
    for folder in sorted({Path(path).parent for path in paths if path.endswith(".safetensors")}):
        open_checkpoint(directory / folder)


def _indexed(weight_map: dict[str, str], headers: dict[str, Header], directory: Path) -> dict[str, Tensor]:
    by_file = {file: {tensor.name: tensor for tensor in header.tensors} for file, header in headers.items()}
    for name, file in weight_map.items():
        if name not in by_file[file]:
            raise CorruptError(
                str(directory / INDEX), f"it says that {name} is in {file}, and it is not", "fetch it again"
            )
    return {name: by_file[file][name] for name, file in weight_map.items()}


def _weight_map(directory: Path) -> dict[str, str]:
    path = directory / INDEX
    if not path.exists():
        return {}
    found = _object(path).get("weight_map")
    if not isinstance(found, dict) or not found:
        raise CorruptError(str(path), "it has no weight_map", "fetch it again")
    return {str(name): str(file) for name, file in found.items()}


def _object(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_bytes())
    except ValueError as error:
        raise CorruptError(str(path), f"it is not JSON ({error})", "fetch it again") from error
    if not isinstance(found, dict):
        raise CorruptError(str(path), "it is not a JSON object", "fetch it again")
    return found

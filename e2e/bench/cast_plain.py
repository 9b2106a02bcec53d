"""What ``weights cast`` is measured against: the loop over tensors that one would write with numpy in ten lines."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

DTYPES: dict[str, Any] = {"F8_E4M3": ml_dtypes.float8_e4m3fn, "F32": np.float32}


def cast_plain(source: Path, target: Path, workers: int) -> None:
    """Cast every file of a directory whose scales lie beside their weights; ``workers`` files at once."""
    target.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(max_workers=workers) as pool:
        list(pool.map(lambda path: _cast_file(path, target / path.name), sorted(source.glob("*.safetensors"))))


def _cast_file(source: Path, target: Path) -> None:
    raw = np.fromfile(source, dtype=np.uint8)
    length = int(raw[:8].view(np.uint64)[0])
    header = json.loads(raw[8 : 8 + length].tobytes())
    tensors = {}
    for name, entry in header.items():
        first, last = (8 + length + each for each in entry["data_offsets"])
        tensors[name] = raw[first:last].view(DTYPES[entry["dtype"]]).reshape(entry["shape"])
    with target.open("wb") as stream:
        for name, tensor in tensors.items():
            if name.endswith("_scale_inv"):
                continue
            scale = np.repeat(np.repeat(tensors[f"{name}_scale_inv"], 128, axis=0), 128, axis=1)
            scale = scale[: tensor.shape[0], : tensor.shape[1]]
            (tensor.astype(np.float32) * scale).astype(ml_dtypes.bfloat16).tofile(stream)

"""What lies beside the tensors: configuration, tokenizer, generation settings, code, license."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deepseek_operator.weights import durable
from deepseek_operator.weights.checkpoint import CONFIG, INDEX
from deepseek_operator.weights.digest import measure
from deepseek_operator.weights.listing import IGNORED
from deepseek_operator.weights.workspace import Entry, Workspace


def companions(directory: Path) -> tuple[str, ...]:
    """Names of the files beside the tensors, config.json and the index left out."""
    return tuple(
        sorted(
            entry.name
            for entry in os.scandir(directory)
            if entry.is_file()
            and not entry.name.startswith(".")
            and entry.name not in {CONFIG, INDEX}
            and not entry.name.endswith((".safetensors", *IGNORED))
        )
    )


def bf16_config(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration for the same model in bfloat16: with ``quantization_config`` in it, engines look for scales."""
    return {key: _bf16_value(key, value) for key, value in config.items() if key != "quantization_config"}


def _bf16_value(key: str, value: Any) -> Any:
    if key in {"torch_dtype", "dtype"}:
        return "bfloat16"
    # Multimodal configurations nest the language model's.
    return bf16_config(value) if isinstance(value, dict) else value


def write_all(work: Workspace, contents: Iterator[tuple[str, bytes]], identity: str) -> dict[str, Entry]:
    """Write small files; returns their entries."""
    entries = {}
    for name, content in contents:
        durable.write_bytes(work.final(name), content)
        found = measure(work.final(name))
        entries[name] = Entry(size=found.size, sha256=found.sha256, identity=identity)
    return entries


def index_document(tensors: dict[str, str], total_size: int) -> bytes:
    """``model.safetensors.index.json``: the file of each tensor, and the bytes of all."""
    document = {"metadata": {"total_size": total_size}, "weight_map": tensors}
    return (json.dumps(document, indent=2) + "\n").encode()

"""SGLang's own argument parser and validation, for tests and generators: fetched once, run in a child process.

A release's wheel is fetched without its dependencies (`e2e.parsers.sources`).
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from e2e.parsers.sources import SGLANG
from e2e.parsers.sources import sources as fetched

if TYPE_CHECKING:
    from collections.abc import Sequence

CHECK_SECONDS: Final = 120
PROGRAM: Final = Path(__file__).with_name("sglang_under_stubs.py")

DEEPSEEK_V3: Final[Mapping[str, Any]] = {
    "architectures": ["DeepseekV3ForCausalLM"],
    "model_type": "deepseek_v3",
    "hidden_size": 7168,
    "num_hidden_layers": 61,
    "first_k_dense_replace": 3,
    "num_attention_heads": 128,
    "q_lora_rank": 1536,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "intermediate_size": 18432,
    "moe_intermediate_size": 2048,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "num_nextn_predict_layers": 1,
    "vocab_size": 129280,
    "max_position_embeddings": 163840,
    "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]},
}
"""config.json of deepseek-ai/DeepSeek-V3 (Hugging Face), as far as SGLang's argument checks read it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command line as SGLang would see it: without ``python3 -m sglang.launch_server``."""

    argv: tuple[str, ...]
    vendor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What SGLang makes of a command: its refusal, or None, and the parsed values by destination."""

    error: str | None
    values: Mapping[str, Any]


def sources(version: str) -> Path:
    """The directory that holds the Python sources of a release, fetched if need be.

    Raises:
        FetchError: the package registry cannot be reached, or has no such release.
    """
    return fetched(SGLANG, version)


def check(version: str, commands: Sequence[Command], *, model: Mapping[str, Any] = DEEPSEEK_V3) -> tuple[Outcome, ...]:
    """Lets a release parse, resolve and validate every command, in the order given."""
    request = {
        "model": dict(model),
        "commands": [{"argv": command.argv, "vendor": command.vendor} for command in commands],
    }
    return tuple(Outcome(**outcome) for outcome in _ask(version, request)["outcomes"])


def flags(version: str) -> dict[str, dict[str, Any]]:
    """Every flag that a release's parser knows, by canonical spelling, with aliases, arity and choices."""
    found: dict[str, dict[str, Any]] = _ask(version, {"model": dict(DEEPSEEK_V3), "commands": []})["flags"]
    return found


def _ask(version: str, request: Mapping[str, Any]) -> Any:
    done = subprocess.run(
        [sys.executable, "-I", str(PROGRAM), str(sources(version))],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        timeout=CHECK_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"SGLang {version}'s parser cannot be built without its dependencies: {done.stderr[-4000:]}")
    return json.loads(done.stdout)

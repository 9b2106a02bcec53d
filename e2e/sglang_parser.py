"""SGLang's own argument parser and validation, for tests and generators: fetched once, run in a child process.

A release's wheel is fetched without its dependencies into ``$XDG_CACHE_HOME/deepseek-operator/sglang/VERSION``
(default ``~/.cache``); later calls use what is there. Several processes may ask at once.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FETCH_SECONDS: Final = 600
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


class FetchError(Exception):
    """SGLang's wheel could not be fetched; says what was tried."""


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
        FetchError: neither pip nor uv could fetch the wheel.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "deepseek-operator" / "sglang"
    place = cache / version
    with _lock(cache, version):
        if not place.is_dir():
            _fetch(version, place)
    return place


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


@contextmanager
def _lock(cache: Path, version: str) -> Iterator[None]:
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{version}.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _fetch(version: str, place: Path) -> None:
    with tempfile.TemporaryDirectory(dir=place.parent) as scratch:
        unpacked = Path(scratch) / "sources"
        print(f"fetching sglang {version} (without dependencies) into {place}", file=sys.stderr)
        complaints = [
            _run(command) for command in _ways(version, Path(scratch)) if not list(Path(scratch).rglob("sglang*"))
        ]
        wheels = list(Path(scratch).glob("sglang-*.whl"))
        if wheels:
            with zipfile.ZipFile(wheels[0]) as wheel:
                names = [name for name in wheel.namelist() if name.startswith("sglang/") and name.endswith(".py")]
                wheel.extractall(unpacked, members=names)
        elif (Path(scratch) / "target" / "sglang").is_dir():
            shutil.copytree(Path(scratch) / "target" / "sglang", unpacked / "sglang", ignore=_all_but_python)
        else:
            raise FetchError(f"sglang {version} could not be fetched:\n" + "\n".join(complaints))
        unpacked.rename(place)


def _ways(version: str, scratch: Path) -> Iterator[list[str]]:
    """Commands that fetch the wheel built for CPython 3.11 on Linux; its Python sources run anywhere."""
    requirement = f"sglang=={version}"
    platform = ["--python-version", "3.11", "--only-binary", ":all:"]
    # A virtual environment made without pip leaves it to the interpreter it was made from.
    base = getattr(sys, "_base_executable", sys.executable)
    # .ci/bootstrap makes this one where the machine has no uv.
    beside_uv = Path(__file__).parents[1] / ".state" / "uv" / "bin"
    for python in dict.fromkeys([sys.executable, base, str(beside_uv / "python")]):
        yield [
            *[python, "-m", "pip", "download", requirement, "--no-deps", "--dest", str(scratch), *platform],
            *["--platform", "manylinux_2_34_x86_64", "--platform", "any"],
        ]
    yield [
        *[shutil.which("uv") or str(beside_uv / "uv"), "pip", "install", requirement, "--no-deps", *platform],
        *["--python-platform", "x86_64-manylinux_2_34", "--target", str(scratch / "target")],
    ]


def _run(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_SECONDS, check=False)
    except OSError as error:
        return f"{command[0]}: {error}"
    return f"{' '.join(command)}: {done.stderr.strip()}"


def _all_but_python(directory: str, names: list[str]) -> set[str]:
    return {name for name in names if not name.endswith(".py") and not Path(directory, name).is_dir()}

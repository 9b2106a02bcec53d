"""A stand-in as a container image with any tag: the engine, and the parser of one release with its sources."""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from e2e import sglang_under_stubs
from e2e.cluster.images import write
from e2e.cluster.requirements import SYSTEM_PATH
from e2e.parsers.sources import SGLANG, TORCH, VLLM
from e2e.parsers.sources import sources as fetched
from e2e.under_stubs import torchrun as torchrun_under_stubs
from e2e.under_stubs import vllm as vllm_under_stubs

HOME: Final = "/opt/engine"
E2E: Final = Path(__file__).parents[1]
BASE: Final = "python:3.11-slim"
"""Of ``context``: Debian's bash and a Python that the packages of this environment fit."""


def build(archive: Path, *, tag: str, version: str, engine: str = "sglang", vendor: str = "nvidia") -> Path:
    """Write the archive of an image that behaves as a release of an engine for ``vendor``; return its path.

    Raises ``LookupError`` for an engine that has no stand-in.
    """
    with tempfile.TemporaryDirectory(dir=archive.parent) as scratch:
        return write(
            archive,
            tags=[tag],
            command=["/bin/bash"],
            environment=_environment(vendor),
            trees={f"{HOME}/{name}": path for name, path in _files(engine, version, Path(scratch)).items()},
        )


def context(folder: Path, *, version: str, engine: str = "sglang", vendor: str = "nvidia", devices: int = 8) -> None:
    """Write what ``docker build`` needs for the same image on a base of its own, with names of devices."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        for name, path in _files(engine, version, Path(scratch)).items():
            target = folder / "engine" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                shutil.copytree(path, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(path, target)
    variables = {**_environment(vendor), "NVIDIA_VISIBLE_DEVICES": ",".join(f"GPU-{each}" for each in range(devices))}
    lines = [f"FROM {BASE}", f"COPY engine {HOME}", *(f'ENV {name}="{value}"' for name, value in variables.items())]
    (folder / "Dockerfile").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _environment(vendor: str) -> dict[str, str]:
    return {
        "PATH": f"{HOME}/e2e/engine/entry/bin:{SYSTEM_PATH}",
        "PYTHONPATH": f"{HOME}/e2e/engine/entry:{HOME}",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "STAND_IN_HOME": HOME,
        "STAND_IN_VENDOR": vendor,
    }


def _files(engine: str, version: str, scratch: Path) -> dict[str, Path]:
    """All files of an image, by their paths below the stand-in's home."""
    return {
        "e2e/__init__.py": E2E / "__init__.py",
        "e2e/sglang_under_stubs.py": E2E / "sglang_under_stubs.py",
        "e2e/under_stubs": E2E / "under_stubs",
        "e2e/engine": E2E / "engine",
        **parser_files(engine, version, scratch),
    }


def parser_files(engine: str, version: str, scratch: Path) -> dict[str, Path]:
    """What a release's own parser needs, by its path below the stand-in's home; copies lie under ``scratch``.

    Raises ``LookupError`` for an engine that has no stand-in.
    """
    parser = PARSERS[engine]
    sources = _executed(parser.sources(version), parser.executed, scratch / "sources")
    return {"sources": sources, **{f"packages/{path.name}": path for path in map(_package, parser.packages)}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Parser:
    """An engine's own parser: the modules of it that run, and packages that must be real to it."""

    sources: Callable[[str], Path]
    executed: Sequence[str]
    packages: Sequence[str]


PARSERS: Final[Mapping[str, Parser]] = {
    "sglang": Parser(
        sources=lambda version: fetched(SGLANG, version), executed=sglang_under_stubs.EXECUTED, packages=("msgspec",)
    ),
    "deepseek-infer": Parser(
        # The demo has no releases; what its version names is torch's.
        sources=lambda version: fetched(TORCH, version),
        executed=torchrun_under_stubs.EXECUTED,
        packages=(),
    ),
    "vllm": Parser(
        sources=lambda version: fetched(VLLM, version),
        executed=vllm_under_stubs.EXECUTED,
        packages=(
            "annotated_types",
            "packaging",
            "pydantic",
            "pydantic_core",
            "typing_extensions",
            "typing_inspection",
        ),
    ),
}


def _executed(whole: Path, modules: Sequence[str], place: Path) -> Path:
    """The modules that the parser runs; all others are stubs to it anyway."""
    for module in modules:
        path = Path(*module.split("."))
        if (whole / path).is_dir():
            shutil.copytree(whole / path, place / path, dirs_exist_ok=True)
        elif (file := (whole / path).with_suffix(".py")).is_file():
            target = (place / path).with_suffix(".py")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
    return place


def _package(name: str) -> Path:
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        raise ModuleNotFoundError(f"{name} is not installed; run make lint once")
    place = Path(found.origin)
    return place.parent if place.name == "__init__.py" else place


def main() -> None:
    """``python -m e2e.engine.image``: write a folder for ``docker build``."""
    parser = argparse.ArgumentParser(prog="python -m e2e.engine.image")
    parser.add_argument("--engine", choices=sorted(PARSERS), default="sglang")
    parser.add_argument("--version", required=True, help="the release whose command lines it takes")
    parser.add_argument("--context", type=Path, required=True, metavar="FOLDER")
    options = parser.parse_args()
    context(options.context, version=options.version, engine=options.engine)


if __name__ == "__main__":
    main()

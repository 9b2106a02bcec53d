"""The stand-in as a container image with any tag: the engine, the parser of one SGLang release and its sources."""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
from pathlib import Path
from typing import Final

from e2e import sglang_parser
from e2e.cluster.images import write
from e2e.sglang_under_stubs import EXECUTED

HOME: Final = "/opt/engine"
E2E: Final = Path(__file__).parents[1]


def build(archive: Path, *, tag: str, version: str, vendor: str = "nvidia") -> Path:
    """Write the archive of an image that behaves as SGLang ``version`` for ``vendor``; return its path."""
    with tempfile.TemporaryDirectory(dir=archive.parent) as scratch:
        sources = _parser_sources(version, Path(scratch) / "sources")
        return write(
            archive,
            tags=[tag],
            command=["/bin/bash"],
            environment={
                "PYTHONPATH": f"{HOME}/e2e/engine/entry:{HOME}",
                "PYTHONUNBUFFERED": "1",
                "PYTHONDONTWRITEBYTECODE": "1",
                "STAND_IN_HOME": HOME,
                "STAND_IN_VENDOR": vendor,
            },
            trees={
                f"{HOME}/e2e/__init__.py": E2E / "__init__.py",
                f"{HOME}/e2e/sglang_under_stubs.py": E2E / "sglang_under_stubs.py",
                f"{HOME}/e2e/under_stubs/__init__.py": E2E / "under_stubs" / "__init__.py",
                f"{HOME}/e2e/under_stubs/stubs.py": E2E / "under_stubs" / "stubs.py",
                f"{HOME}/e2e/engine": E2E / "engine",
                f"{HOME}/packages/msgspec": _package("msgspec"),
                f"{HOME}/sources": sources,
            },
        )


def _parser_sources(version: str, place: Path) -> Path:
    """The modules that the parser runs; all others are stubs to it anyway."""
    whole = sglang_parser.sources(version)
    for module in EXECUTED:
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
    return Path(found.origin).parent

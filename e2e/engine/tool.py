"""The operator's own image for real nodes: its package and what it needs, without a container engine.

The interpreter is the machine's, as for every program in these images (e2e/cluster/images.py); it must be of the
version that this environment has, since compiled packages are copied as they are.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Final

from e2e.cluster.images import write

HOME: Final = "/opt/deepseek-operator"
_NAME: Final = re.compile(r"^[A-Za-z0-9._-]+")
_SCRIPT: Final = """#!/usr/bin/env python3
import sys
from deepseek_operator.cli.main import main
sys.exit(main())
"""


def build(archive: Path, *, tag: str) -> Path:
    """Write the archive of an image with ``deepseek-operator`` on its path; return its path."""
    with tempfile.TemporaryDirectory(dir=archive.parent) as scratch:
        folder = Path(scratch)
        program = folder / "deepseek-operator"
        program.write_text(_SCRIPT)
        program.chmod(0o755)
        package = Path(__file__).parents[2] / "operator" / "deepseek_operator"
        shutil.copytree(package, folder / "deepseek_operator", ignore=shutil.ignore_patterns("__pycache__"))
        trees = {
            f"{HOME}/bin/deepseek-operator": program,
            f"{HOME}/lib/deepseek_operator": folder / "deepseek_operator",
        }
        for found in _closure("deepseek-operator"):
            for top in _tops(found):
                trees[f"{HOME}/lib/{top.name}"] = top
        return write(
            archive,
            tags=[tag],
            command=["deepseek-operator"],
            environment={
                "PATH": f"{HOME}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "PYTHONPATH": f"{HOME}/lib",
                "PYTHONDONTWRITEBYTECODE": "1",
                "PYTHONUNBUFFERED": "1",
                "HOME": "/root",
            },
            trees=trees,
        )


def _closure(name: str) -> list[Distribution]:
    """A package and everything that it needs, with the tool's own extra."""
    found: dict[str, Distribution] = {}
    waiting = [name]
    while waiting:
        try:
            each = distribution(waiting.pop())
        except PackageNotFoundError:
            # For another platform or Python.
            continue
        if each.name in found:
            continue
        found[each.name] = each
        for requirement in each.requires or ():
            named = _NAME.match(requirement)
            optional = "extra ==" in requirement and not ("weights" in requirement and each.name == name)
            if named and not optional:
                waiting.append(named[0])
    return list(found.values())


def _tops(found: Distribution) -> set[Path]:
    """The files and folders of a distribution at the top of its place."""
    root = Path(str(found.locate_file("")))
    names = {Path(str(each)).parts[0] for each in found.files or ()}
    names -= {"..", "__pycache__"}
    return {root / name for name in names if not name.endswith(".pth") and (root / name).exists()}

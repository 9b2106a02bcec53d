"""Asks an engine's own parser, which runs in a process of its own with stubs for whatever is not in the image."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from e2e.engine.machine import RefusedError

HOME: Final = Path(os.environ.get("STAND_IN_HOME", "/opt/engine"))
PROGRAMS: Final = Path(__file__).parents[1]
PARSE_SECONDS: Final = 120
# An image is made for one vendor; engines ask torch, which is not here.
VENDOR: Final = os.environ.get("STAND_IN_VENDOR", "nvidia")


def ask(program: str, request: Mapping[str, Any], *, home: Path = HOME) -> dict[str, Any]:
    """What the parser made of the one command in ``request``, by destination.

    Raises:
        RefusedError: the engine refuses the command; in its own words.
        RuntimeError: its parser does not run here.
    """
    done = subprocess.run(
        [sys.executable, str(PROGRAMS / program), str(home / "sources")],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        timeout=PARSE_SECONDS,
        check=False,
        env={**os.environ, "PYTHONPATH": str(home / "packages")},
    )
    if done.returncode != 0:
        raise RuntimeError(f"{program} does not run: {done.stderr[-2000:]}")
    (outcome,) = json.loads(done.stdout)["outcomes"]
    if outcome["error"] is not None:
        # argparse ends with 2 and its own prefix, a failed check with a traceback and 1.
        raise RefusedError(outcome["error"], code=1 if outcome["values"] else 2)
    found: dict[str, Any] = outcome["values"]
    return found


def checkpoint(path: str) -> dict[str, Any]:
    """A checkpoint's config.json, which engines read before anything else; raises ``RefusedError``."""
    try:
        found: dict[str, Any] = json.loads((Path(path) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RefusedError(f"Can't load the configuration of '{path}': {error}") from error
    return found

"""Kill -9 at random moments; WEIGHTS_KILLS says how often for each command (``make kill-weights``: 100 in all)."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from deepseek_operator.weights.progress import Progress
from deepseek_operator.weights.verify import verify
from deepseek_operator.weights.workspace import MARKER
from tests.unit.weights.checkpoints import Shape, write_checkpoint
from tests.unit.weights.conftest import content_of, expected_of
from tests.unit.weights.hub import Fault, Hub

KILLS = int(os.environ.get("WEIGHTS_KILLS", "2"))
SHAPE = Shape(hidden=1024, heads=1024, latent=512, intermediate=1024, experts=8, layers=2, files=6)
pytestmark = pytest.mark.timeout(300 + 60 * KILLS)


def start(arguments: list[str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.unit.weights.program", *arguments]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert process.stderr is not None
    # The line before the work begins: what comes earlier is the interpreter's start, which a kill cannot hurt.
    begun = next((line for line in iter(process.stderr.readline, "") if " at " in line or "at once" in line), "")
    assert begun or process.wait(240) == 0
    return process


def survive(arguments: list[str], target: Path, expected: Callable[[], dict[str, bytes]]) -> None:
    """Run, kill, run again …; each time it ends by itself, the result is compared and removed."""
    seed = os.environ.get("WEIGHTS_SEED") or str(time.time_ns())
    chance = random.Random(seed)  # noqa: S311 - moments, not secrets
    with start(arguments) as process:
        began = time.monotonic()
        assert process.wait(240) == 0
        usual = time.monotonic() - began
    shutil.rmtree(target)
    kills = finished = 0
    while kills < KILLS or not (target / MARKER).exists():
        with start(arguments) as process:
            try:
                code: int | None = process.wait(chance.uniform(0, usual) if kills < KILLS else 240)
            except subprocess.TimeoutExpired:
                process.kill()
                code = None
                kills += 1
            process.wait(240)
        if (target / MARKER).exists():
            assert verify(target, full=True, workers=1, progress=Progress()).findings == ()
            assert content_of(target) == expected()
            finished += 1
            if kills < KILLS:
                shutil.rmtree(target)
        else:
            assert code != 0
    sys.stdout.write(f"seed {seed}: {kills} kills within {usual:.2f} s of work, {finished} results, all equal\n")


def test_fetch(hub: Hub, tmp_path: Path) -> None:
    shutil.rmtree(hub.directory)
    write_checkpoint(hub.directory, SHAPE)
    (hub.directory / "large.dat").write_bytes(bytes(range(256)) * (3 * 2**14))
    for path in hub.directory.iterdir():
        hub.fail(path.name, Fault("slow", times=10**6))
    arguments = ["fetch", "--source", f"hf://{hub.repository}", "--output", str(tmp_path / "out"), "--workers", "3"]

    survive(arguments, tmp_path / "out", lambda: expected_of(hub.directory))


def test_cast(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "in", SHAPE)
    subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.unit.weights.program",
            "cast",
            "--input",
            tmp_path / "in",
            "--output",
            tmp_path / "whole",
        ],
        check=True,
        timeout=240,
        stderr=subprocess.DEVNULL,
    )
    arguments = ["cast", "--input", str(tmp_path / "in"), "--output", str(tmp_path / "out"), "--workers", "2"]

    survive(arguments, tmp_path / "out", lambda: content_of(tmp_path / "whole"))


def test_shard(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "in", SHAPE)
    options = ["--input", str(tmp_path / "in"), "--model-parallel", "4", "--experts", "8", "--workers", "2"]
    subprocess.run(
        [sys.executable, "-m", "tests.unit.weights.program", "shard", *options, "--output", tmp_path / "whole"],
        check=True,
        timeout=240,
        stderr=subprocess.DEVNULL,
    )

    survive(
        ["shard", *options, "--output", str(tmp_path / "out")], tmp_path / "out", lambda: content_of(tmp_path / "whole")
    )

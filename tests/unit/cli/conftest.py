"""The command line as a user calls it, with files instead of a cluster."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from deepseek_operator.cli.main import app

ROOT = Path(__file__).parents[3]
NODES = ROOT / "e2e" / "cluster" / "nodes"
FP8 = ROOT / "manifests" / "deepseek-fp8.yaml"

Run = Callable[..., Result]


@pytest.fixture
def run() -> Run:
    """Runs the program with arguments; ``stdin`` is what it reads from ``-``."""

    def call(*arguments: str | Path, stdin: str | None = None) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)

    return call


@pytest.fixture
def h100() -> tuple[str, ...]:
    """Options for four H100 nodes with RDMA in a cluster with a default StorageClass."""
    return ("--nodes", str(NODES / "nvidia-h100.yaml"), "--default-storage-class")

"""A sample of the crash matrix (`make faults` runs all of it): another one with each seed."""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import pytest

from e2e.cluster import Cluster
from e2e.faults.matrix import NODES_A_CASE, add_nodes, run_matrix
from tests.world import Kubectl

SEED = int(os.environ.get("FAULTS_SEED") or 1)
"""One and the same unless asked otherwise: a change is blamed for what it broke, and `make faults` looks further."""
SECONDS = float(os.environ.get("FAULTS_SECONDS") or 150)
AT_ONCE = 4
CASES = 12
"""At least, however busy the machine is."""


@pytest.mark.timeout(SECONDS + 600)
def test_an_operator_killed_at_any_write_ends_like_the_undisturbed_run(
    cluster: Cluster, kubectl: Kubectl, crd: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with capsys.disabled():
        print(f"\ncrash matrix: FAULTS_SEED={SEED}, {SECONDS:.0f} s", flush=True)  # noqa: T201 - to repeat it
    add_nodes(cluster, AT_ONCE * NODES_A_CASE, folder=tmp_path)
    sample = random.Random(SEED)  # noqa: S311 - to be repeatable
    matrix = asyncio.run(
        run_matrix(cluster, tmp_path / "runs", at_once=AT_ONCE, sample=sample, seconds=SECONDS, least=CASES)
    )
    with capsys.disabled():
        print(f"crash matrix: {len(matrix.results)} cases, {matrix.seconds:.0f} s", flush=True)  # noqa: T201
    told = "\n\n".join(f"{r.scenario} {r.write} {r.moment} {r.label}:\n{r.difference}" for r in matrix.unequal)
    assert not matrix.unequal, f"FAULTS_SEED={SEED}\n{told}"
    assert not matrix.mixed
    assert len([result for result in matrix.results if result.reached]) >= CASES / 2

"""``python -m e2e.faults``: run the crash matrix and write its page."""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shutil
import signal
import sys
from pathlib import Path

from e2e.cluster import up
from e2e.faults.matrix import NODES_A_CASE, ROOT, add_nodes, install_crd, run_matrix
from e2e.faults.report import MOMENTS, page
from e2e.faults.scenarios import SCENARIOS

PAGE = ROOT / "docs" / "measurements" / "faults.md"


def main() -> int:
    """Returns 1 when a case ended differently or two starts of a group met."""
    parser = argparse.ArgumentParser(prog="python -m e2e.faults", description=__doc__)
    names = [scenario.name for scenario in SCENARIOS]
    parser.add_argument("--scenario", action="append", choices=names, help="only this one; repeatable")
    parser.add_argument("--moment", action="append", choices=MOMENTS, help="only this fault; repeatable")
    parser.add_argument("--seconds", type=float, help="a random sample for so long, instead of the whole")
    parser.add_argument("--seed", type=int, default=1, help="of the sample (default 1)")
    parser.add_argument("--at-once", type=int, default=2 * (os.cpu_count() or 2), help="cases at once")
    parser.add_argument("--page", type=Path, default=PAGE, help="where the page is written")
    chosen = parser.parse_args()
    scenarios = [scenario for scenario in SCENARIOS if not chosen.scenario or scenario.name in chosen.scenario]
    for number in (signal.SIGINT, signal.SIGTERM):
        # Also in the background of a script, where SIGINT is ignored: the control plane must be taken down.
        signal.signal(number, signal.default_int_handler)
    folder = ROOT / ".state" / "faults"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    cluster = up(folder / "cluster")
    try:
        install_crd(cluster)
        add_nodes(cluster, chosen.at_once * NODES_A_CASE, folder=folder)
        moments = tuple(chosen.moment or MOMENTS)
        run = run_matrix(
            cluster,
            folder / "runs",
            at_once=chosen.at_once,
            scenarios=scenarios,
            moments=moments,
            sample=random.Random(chosen.seed) if chosen.seconds else None,  # noqa: S311 - to be repeatable
            seconds=chosen.seconds or float("inf"),
        )
        matrix = asyncio.run(run)
    finally:
        cluster.down()
    chosen.page.parent.mkdir(parents=True, exist_ok=True)
    chosen.page.write_text(page(matrix), encoding="utf-8")
    print(f"{len(matrix.results)} cases, {len(matrix.unequal)} differ, {len(matrix.mixed)} mixed; {chosen.page}")
    print(f"logs of the operators: {folder / 'runs'}", file=sys.stderr)
    return 1 if matrix.unequal or matrix.mixed else 0


if __name__ == "__main__":
    sys.exit(main())

"""torchrun's agent of one node: starts a process a rank, and ends all of them when one fails.

As torch 2.4.1 (distributed/run.py, elastic/agent/server): static rendezvous, no restarts; the first failure is told
with rank, exit code and process; SIGTERM goes on to the ranks.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Final

from e2e.engine import machine
from e2e.engine.machine import RefusedError
from e2e.engine.manners import log
from e2e.engine.parser import ask

POLL_SECONDS: Final = 0.1
MASTER_PORT: Final = 29500


def main(argv: Sequence[str]) -> int:
    """Run this node's ranks; returns the exit code."""
    try:
        values = ask("under_stubs/torchrun.py", {"commands": [list(argv)]})
        nodes, node = int(values["max_nodes"]), int(values["node_rank"])
        local = int(values["nproc_per_node"])
        store = (str(values["master_addr"]), int(values["master_port"] or MASTER_PORT))
        _check(node, nodes)
        address = machine.check(machine.Needs(nodes=nodes, node=node, local=local, store=store), os.environ)
    except RefusedError as error:
        log(f"torchrun: error: {error}")
        return error.code
    common = {"WORLD_SIZE": nodes * local, "LOCAL_WORLD_SIZE": local, "MASTER_ADDR": store[0], "MASTER_PORT": store[1]}
    told = {"STAND_IN_ADDRESS": address, "STAND_IN_NODES": nodes, **common}
    ranks = [
        subprocess.Popen(
            [sys.executable, *values["program"]],
            env={**os.environ, **_texts({**told, "RANK": node * local + each, "LOCAL_RANK": each})},
        )
        for each in range(local)
    ]
    return _watch(ranks, first=node * local)


def _check(node: int, nodes: int) -> None:
    if node not in range(nodes):
        raise RefusedError(f"ValueError: The node rank must be in [0, {nodes}), and is {node}")


def _watch(ranks: list[subprocess.Popen[bytes]], *, first: int) -> int:
    def pass_on(number: int, _frame: FrameType | None) -> None:
        log(f"Received {number} death signal, shutting down workers")
        for rank in ranks:
            rank.send_signal(number)

    signal.signal(signal.SIGTERM, pass_on)
    while True:
        codes = [rank.poll() for rank in ranks]
        failed = next(((index, code) for index, code in enumerate(codes) if code), None)
        if failed is not None:
            for rank in ranks:
                rank.kill()
            index, code = failed
            log(f"failed (exitcode: {code}) local_rank: {index} (pid: {ranks[index].pid}) of binary: {sys.executable}")
            log(f"torch.distributed.elastic.multiprocessing.errors.ChildFailedError: rank {first + index}")
            return 1
        if all(code == 0 for code in codes):
            return 0
        time.sleep(POLL_SECONDS)


def _texts(values: Mapping[str, object]) -> dict[str, str]:
    return {name: str(value) for name, value in values.items()}

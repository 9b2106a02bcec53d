"""One node's engine: starts a process a rank, and lives and dies as vLLM 0.32.0 does.

The bad manners, each read in vLLM's sources (entrypoints/cli/serve.py, v1/executor/multiproc_executor.py):

- The leader watches its own ranks only. When one ends, the engine is dead: /health is 503 and the process ends.
- A rank of another node that is lost is noticed when a step has got no answer for 300 s, and /health is 200 until then.
- A headless node has no HTTP server, watches its own ranks, and ends with code 0 when one of them did.
- A headless node does not end when its leader has.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from e2e.engine import faults, machine
from e2e.engine.front import Front
from e2e.engine.machine import RefusedError
from e2e.engine.manners import log
from e2e.engine.node import Group, Node
from e2e.engine.vllm.arguments import Arguments, read
from e2e.engine.vllm.serving import leader_server

if TYPE_CHECKING:
    from collections.abc import Sequence

WATCH_SECONDS: Final = 0.2
DIED: Final = "Worker proc VllmWorker-{rank} died unexpectedly (exit code: {code}), shutting down executor."
STEP_SECONDS: Final = float(os.environ.get("VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS", "300"))


def title(arguments: Arguments, rank: int) -> str:
    """A worker's process title (setup_proc_title_and_log_prefix)."""
    stage = f"_PP{rank // arguments.tensor}" if arguments.pipeline > 1 else ""
    place = f"_TP{rank % arguments.tensor}" if arguments.tensor > 1 else ""
    return f"VLLM::Worker{stage}{place}"


def main(argv: Sequence[str]) -> int:
    """Run this node's part of the engine; returns the exit code."""
    if argv[:1] != ["serve"]:
        log("usage: vllm serve [model_tag] [options]")
        return 2
    try:
        arguments = read(argv[1:], os.environ)
        log(f"non-default args: {dict(arguments.values)}")
        node = Node(_group(arguments))
    except RefusedError as error:
        log(f"vllm serve: error: {error}")
        return error.code
    try:
        node.wait_ready(died=DIED)
        return _follow(arguments, node) if arguments.node else _lead(arguments, node)
    except RefusedError as error:
        log(f"RuntimeError: Engine core initialization failed. {error}")
        return error.code
    finally:
        node.kill()


def _group(arguments: Arguments) -> Group:
    needs = machine.Needs(nodes=arguments.nodes, node=arguments.node, local=arguments.local, store=arguments.store)
    return Group(
        engine="vllm",
        world=arguments.world,
        nodes=arguments.nodes,
        node=arguments.node,
        store=arguments.store,
        address=machine.check(needs, os.environ),
        dist_seconds=arguments.dist_seconds,
        step_seconds=STEP_SECONDS,
        title=lambda rank: title(arguments, rank),
    )


def _follow(arguments: Arguments, node: Node) -> int:
    if not arguments.headless:
        # An API server here would ask ranks that only the leader may ask.
        raise RefusedError("AssertionError: collective_rpc should not be called on follower node")

    def end(_number: int, _frame: FrameType | None) -> None:
        sys.exit(0)

    signal.signal(signal.SIGTERM, end)
    while (dead := node.dead()) is None:
        time.sleep(WATCH_SECONDS)
    log(f"Worker proc {dead.args!r} died unexpectedly (exit code: {dead.returncode}), shutting down executor.")
    return 0


def _lead(arguments: Arguments, node: Node) -> int:
    order, replies = node.ranks[0].stdin, node.ranks[0].stdout
    if order is None or replies is None:
        raise RuntimeError("rank 0 was started without pipes")
    ending = threading.Event()

    def send(message: dict[str, Any]) -> None:
        try:
            order.write(json.dumps(message) + "\n")
            order.flush()
        except OSError as error:
            log(f"EngineCore encountered a fatal error: {error}")

    mute = any(each.phase == "serve" and each.action == "mute" for each in faults.read(os.environ))
    front = Front(world=arguments.world, nodes=arguments.nodes, send=send, mute=mute)
    signal.signal(signal.SIGTERM, lambda *_: ending.set())

    def listen() -> None:
        for line in replies:
            front.hear(json.loads(line))

    threading.Thread(target=listen, daemon=True).start()
    front.warm_up()
    server = leader_server(arguments, front)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    log(f"Starting vLLM server on http://{arguments.host}:{arguments.port}")
    while not ending.wait(WATCH_SECONDS):
        if (dead := node.dead()) is not None:
            front.dead = True
            log(f"EngineDeadError: {dead.args!r} ended with {dead.returncode}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

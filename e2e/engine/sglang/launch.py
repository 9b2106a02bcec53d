"""One node's engine: starts a process a rank, and lives and dies as SGLang 0.5.23 does.

The bad manners, each read in SGLang's sources (entrypoints/engine.py, entrypoints/http_server.py, srt/utils):

- The command line, keys included, is logged at the start.
- A follower's HTTP server answers 200 for ever once its own ranks have loaded.
- A follower ignores SIGTERM and waits for rank 0's order; with plain tensor parallelism nobody watches its ranks: it
  waits for the first of them, and a killed one goes unnoticed there.
- A rank's error ends its node by SIGQUIT; as process 1 of a container that ends with exit code 0, because a process
  cannot kill itself there and ``sys.exit(0)`` follows.
- Rank 0 drains without limit at SIGTERM.
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
from e2e.engine.node import Group, Node
from e2e.engine.sglang.arguments import Arguments, read
from e2e.engine.sglang.serving import dummy_server, leader_server

if TYPE_CHECKING:
    from collections.abc import Sequence

POLL_SECONDS: Final = 0.1
WATCH_SECONDS: Final = 1.0
STOP_SECONDS: Final = 15.0
LOCAL_STORE_PORT: Final = 22000
"""SGLang takes one of 22000-29999 when no address is given; a single node has its network to itself here."""


def log(text: str) -> None:
    """One line of the pod's log."""
    print(f"[{time.strftime('%Y-%m-%d %H:%M:%S')}] {text}", file=sys.stderr, flush=True)


def title(arguments: Arguments, rank: int) -> str:
    """A scheduler's process title."""
    stage = f"_PP{rank // arguments.tensor}" if arguments.pipeline > 1 else ""
    return f"sglang::scheduler{stage}_TP{rank % arguments.tensor}"


def group(arguments: Arguments, address: str) -> Group:
    """The ranks as SGLang lays them out."""
    return Group(
        engine="sglang",
        world=arguments.world,
        nodes=arguments.nodes,
        node=arguments.node,
        store=arguments.store or ("127.0.0.1", LOCAL_STORE_PORT),
        address=address,
        dist_seconds=arguments.dist_seconds,
        step_seconds=arguments.watchdog_seconds,
        title=lambda rank: title(arguments, rank),
    )


def main(argv: Sequence[str]) -> int:
    """Run this node's part of the engine; returns the exit code."""
    try:
        arguments = read(argv)
        log(f"server_args=ServerArgs({', '.join(f'{key}={value!r}' for key, value in arguments.values.items())})")
        needs = machine.Needs(
            nodes=arguments.nodes,
            node=arguments.node,
            local=arguments.local,
            store=arguments.store,
            binds_name=arguments.attention_data > 1,
        )
        address = machine.check(needs, os.environ)
        node = Node(group(arguments, address))
    except RefusedError as error:
        log(f"launch_server.py: error: {error}")
        return error.code
    _end_with_children(node)
    try:
        node.wait_ready(died="Rank {rank} scheduler died during initialization (exit code: {code}).")
        return _lead(arguments, node) if arguments.node == 0 else _follow(arguments, node)
    except RefusedError as error:
        log(f"RuntimeError: {error}")
        return error.code
    finally:
        node.kill()


def _end_with_children(node: Node) -> None:
    def quit_all(_number: int, _frame: FrameType | None) -> None:
        log("Received sigquit from a child process. It usually means the child failed.")
        node.strike()
        # No effect as process 1 of a container.
        os.kill(os.getpid(), signal.SIGKILL)
        sys.exit(0)

    signal.signal(signal.SIGQUIT, quit_all)


def _follow(arguments: Arguments, node: Node) -> int:
    def only_log(_number: int, _frame: FrameType | None) -> None:
        log("SIGTERM received on a non-zero rank node; waiting for the leader's shutdown request.")

    signal.signal(signal.SIGTERM, only_log)
    server = dummy_server(arguments)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    log(f"Dummy health check server started on {arguments.host}:{arguments.port}")
    for rank in node.ranks:
        rank.wait()
        log(f"Scheduler or DataParallelController {rank.pid} terminated with {rank.returncode}")
    return 0


def _lead(arguments: Arguments, node: Node) -> int:
    order, replies = node.ranks[0].stdin, node.ranks[0].stdout
    if order is None or replies is None:
        raise RuntimeError("rank 0 was started without pipes")

    def send(message: dict[str, Any]) -> None:
        order.write(json.dumps(message) + "\n")
        order.flush()

    mute = any(each.phase == "serve" and each.action == "mute" for each in faults.read(os.environ))
    front = Front(world=arguments.world, nodes=arguments.nodes, send=send, mute=mute)
    ending = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ending.set())

    def listen() -> None:
        for line in replies:
            front.hear(json.loads(line))

    threading.Thread(target=listen, daemon=True).start()
    server = leader_server(arguments, front)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    front.warm_up()
    log("The server is fired up and ready to roll!")
    while not ending.wait(WATCH_SECONDS):
        if (dead := node.dead()) is not None:
            log(f"Subprocess {dead.pid} ({dead.args!r}) ended with {dead.returncode}")
            os.kill(os.getpid(), signal.SIGQUIT)
    front.drain()
    send({"kind": "stop"})
    deadline = time.monotonic() + STOP_SECONDS
    while any(rank.poll() is None for rank in node.ranks) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    return 0

"""One rank: a process of its own, with the title that the engine's own would have.

Its settings come as JSON in its environment. It joins the ring, checks by an all-reduce that every rank is there once,
loads, meets the others again, and then works in steps. Rank 0 takes commands from its parent; the others take what
comes round. What it does when something ends is the engine's (``manners``).
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import sys
import time
import traceback
from typing import Any, Final

from e2e.engine import faults, manners
from e2e.engine.manners import log
from e2e.engine.ring import Message, PeerLostError, Ring, Store

PR_SET_PDEATHSIG: Final = 1  # prctl(2)


class Rank:
    """One rank's life."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.rank, self.world = int(settings["rank"]), int(settings["world"])
        self.settings = settings
        self.faults = faults.read(os.environ)
        self.manners = manners.of(settings["engine"])
        self.ring = Ring(self.rank, world=self.world)

    def run(self) -> None:
        """From the start to the group's end."""
        faults.strike(self.faults, phase="start", rank=self.rank)
        self._rendezvous()
        self._load()
        self.ready()
        if self.rank == 0:
            self.lead()
        else:
            self._follow()

    def ready(self) -> None:
        """All ranks have loaded."""
        tell({"ready": self.rank})

    def _rendezvous(self) -> None:
        log(f"TP{self.rank} Init torch distributed begin.")
        settings = self.settings
        host, port = settings["store"]
        if self.rank == 0 and self.world > 1:
            Store(port, world=self.world, nodes=settings["nodes"])
        seconds = settings["dist_seconds"]
        self.ring.join((host, port), address=settings["address"], nodes=settings["nodes"], seconds=seconds)
        self._all_reduce(seconds=seconds)
        log(f"TP{self.rank} Init torch distributed ends.")

    def _all_reduce(self, *, seconds: float) -> None:
        """Sum of all ranks' numbers, known to every rank: wrong when one is missing or there twice."""
        expected = self.world * (self.world - 1) // 2
        total = self._exchange({"kind": "sum", "value": 0}, seconds=seconds)
        total = self._exchange({"kind": "result", "value": total.get("value")}, seconds=seconds)
        if total["value"] != expected:
            raise RuntimeError(f"all_reduce gave {total['value']}, expected {expected}")

    def _exchange(self, message: Message, *, seconds: float) -> Message:
        """One message once round the ring, started by rank 0."""
        if self.rank == 0:
            answer = self.ring.round(message, seconds=seconds, own=self._add)
        else:
            answer = self.ring.receive(seconds=seconds)
            if answer is not None:
                answer = self._add(answer)
                self.ring.send(answer)
        if answer is None:
            raise TimeoutError(f"rank {self.rank}: other ranks did not answer within {seconds:.0f} s")
        return answer

    def _add(self, message: Message) -> Message:
        return {**message, "value": message["value"] + self.rank} if message["kind"] == "sum" else message

    def _load(self) -> None:
        log(f"TP{self.rank} Load weight begin.")
        faults.strike(self.faults, phase="load", rank=self.rank)
        time.sleep(faults.LOAD_SECONDS)
        try:
            self._exchange({"kind": "loaded", "value": 0}, seconds=self.manners.load_barrier_seconds)
        except TimeoutError as error:
            raise RuntimeError(
                f"TP rank {self.rank} could finish the model loading, but there are other ranks that didn't finish "
                "loading. It is likely due to unexpected failures or a slow node."
            ) from error
        log(f"TP{self.rank} Load weight end.")

    def step(self, message: Message) -> Message:
        """This rank's part of a step."""
        faults.strike(self.faults, phase="step", rank=self.rank)
        return message

    def lead(self) -> None:
        """Rank 0: one step for each line of the parent; a lost connection is noticed while idle, too."""
        waiting = b""
        while True:
            while b"\n" not in waiting:
                left = self.ring.left if self.manners.notices_when_idle else None
                watched = [0] if left is None else [0, left.fileno()]
                ready, _, _ = select.select(watched, [], [])
                if 0 not in ready:
                    # Nothing is under way: this can only be the end of the connection, which raises.
                    self.ring.receive(seconds=0)
                    continue
                received = os.read(0, 65536)
                if not received:
                    return
                waiting += received
            line, _, waiting = waiting.partition(b"\n")
            command = json.loads(line)
            if command["kind"] == "stop":
                self.ring.send(command)
                return
            seconds = self.settings["step_seconds"]
            answer = self.ring.round(command, seconds=seconds, own=self.step)
            if answer is None:
                raise TimeoutError(f"Watchdog timeout (self.watchdog_timeout={seconds:.0f})")
            tell({"done": answer["step"]})

    def _follow(self) -> None:
        while (message := self._next()) is not None:
            if message["kind"] == "stop":
                if self.rank < self.world - 1:
                    self.ring.send(message)
                return
            self.ring.send(self.step(message))

    def _next(self) -> Message | None:
        try:
            return self.ring.receive()
        except PeerLostError as error:
            if self.manners.ends_with_neighbour:
                raise
            log(f"[c10d] recvValue failed on SocketImpl: {error}")
            while True:
                signal.pause()


def tell(message: Message) -> None:
    """One line to the parent."""
    print(json.dumps(message), flush=True)


def main() -> int:
    """Run the rank."""
    # All of them end with their parent (SGLang: kill_itself_when_parent_died; vLLM: the death pipe).
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    settings = json.loads(os.environ["STAND_IN_RANK"])
    own = manners.of(settings["engine"])
    if own.ignores_sigterm:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        Rank(settings).run()
    except (PeerLostError, Exception):  # noqa: BLE001 - whatever it is, others have to learn of it
        log(f"{settings['title']} hit an exception: {traceback.format_exc()}")
        own.on_error()
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What stands behind an engine's HTTP endpoints on rank 0: requests become steps of all ranks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final

WARM_UP_SECONDS: Final = 600.0


class Front:
    """Turns requests into steps of all ranks, one at a time; ``mute`` never answers and never says so."""

    def __init__(self, *, world: int, nodes: int, send: Callable[[dict[str, Any]], None], mute: bool) -> None:
        self.world, self.nodes = world, nodes
        self.serving = False
        self.dead = False
        self.draining = False
        self.counts = {"requests": 0, "prompt": 0, "generated": 0, "running": 0}
        self._send = send
        self._mute = mute
        self._turn = threading.Lock()
        self._done = threading.Condition()
        self._step = 0
        self._finished = 0

    def hear(self, message: dict[str, Any]) -> None:
        """Take a reply of rank 0's process."""
        with self._done:
            self._finished = max(self._finished, int(message["done"]))
            self._done.notify_all()

    def step(self, *, seconds: float | None = None) -> bool:
        """Let all ranks make one token; false when any has not in time."""
        with self._turn:
            self._step += 1
            wanted = self._step
            self._send({"kind": "step", "step": wanted})
        with self._done:
            return self._done.wait_for(lambda: self._finished >= wanted, timeout=seconds)

    def warm_up(self) -> None:
        """One request before the server calls itself ready."""
        if not self.step(seconds=WARM_UP_SECONDS):
            raise TimeoutError("Initialization failed. warmup error")
        self.serving = True

    @property
    def mute(self) -> bool:
        """Whether nothing is ever answered."""
        return self._mute

    def complete(self, messages: list[dict[str, Any]], *, tokens: int) -> tuple[str, str, int, int]:
        """Return text, finish reason, and the numbers of prompt and generated tokens; a token is a word."""
        prompt = " ".join(str(each.get("content", "")) for each in messages)
        told = f"{self.world} ranks on {self.nodes} nodes heard: {messages[-1].get('content', '')}"
        words = told.split()
        spoken = words[:tokens]
        self.counts["requests"] += 1
        self.counts["running"] += 1
        try:
            for _ in spoken:
                self.step()
                if self._mute:
                    threading.Event().wait()
        finally:
            self.counts["running"] -= 1
        self.counts["prompt"] += len(prompt.split())
        self.counts["generated"] += len(spoken)
        reason = "stop" if len(spoken) == len(words) else "length"
        return " ".join(spoken), reason, len(prompt.split()), len(spoken)

    def drain(self) -> None:
        """Wait, without limit, until no request is left."""
        self.draining = True
        pause = threading.Event()
        while self.counts["running"]:
            pause.wait(0.5)

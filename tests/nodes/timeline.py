"""When a user of the API saw what: a deployment's states by the clock, from one watch."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from e2e.cluster import Cluster, binary

State = dict[str, Any]


@dataclass
class Timeline:
    """States of one deployment in the order they were seen; times by `time.monotonic`."""

    seen: list[tuple[float, State]] = field(default_factory=list)
    news: threading.Condition = field(default_factory=threading.Condition)

    def add(self, state: State) -> None:
        with self.news:
            self.seen.append((time.monotonic(), state))
            self.news.notify_all()

    def wait(self, holds: Callable[[State], Any], *, after: float, seconds: float, what: str) -> tuple[float, Any]:
        """The first moment after `after` at which a state gives something true, and that; fails when none does."""
        deadline = time.monotonic() + seconds
        checked = 0
        with self.news:
            while True:
                for moment, state in self.seen[checked:]:
                    if moment > after and (found := holds(state)):
                        return moment, found
                checked = len(self.seen)
                if not self.news.wait(max(deadline - time.monotonic(), 0)):
                    last = self.seen[-1][1].get("status", {}) if self.seen else None
                    pytest.fail(f"not within {seconds} s: {what}; last status: {json.dumps(last)[:3000]}")


@contextmanager
def watched(cluster: Cluster, namespace: str, name: str = "x") -> Iterator[Timeline]:
    """Watch a deployment for as long as the block lasts; a watch that breaks is started again."""
    timeline = Timeline()
    ended = threading.Event()
    running: list[subprocess.Popen[str]] = []
    command: list[str | Path] = [
        binary("kubectl"),
        f"--kubeconfig={cluster.kubeconfig}",
        "-n",
        namespace,
        "get",
        "dsd",
        name,
    ]
    command += ["--watch", "-o", "json"]

    def follow() -> None:
        while not ended.is_set():
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
                running[:] = [process]
                if process.stdout is not None:
                    for state in _documents(process.stdout):
                        timeline.add(state)
            ended.wait(0.2)

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        yield timeline
    finally:
        ended.set()
        for process in running:
            with suppress(ProcessLookupError):
                process.kill()
        thread.join()


def _documents(lines: Iterator[str] | Any) -> Iterator[State]:
    """Documents as kubectl prints them one after the other: each ends with a brace at the line's start."""
    text: list[str] = []
    for line in lines:
        text.append(line)
        if line.rstrip() == "}":
            yield json.loads("".join(text))
            text = []


def condition(state: State, kind: str) -> str:
    """The status of a condition, or the empty string."""
    conditions = state.get("status", {}).get("conditions", [])
    return next((str(each["status"]) for each in conditions if each["type"] == kind), "")


def group(state: State, index: int = 0) -> State:
    """A group's entry, or an empty one."""
    groups = state.get("status", {}).get("groups", [])
    return next((each for each in groups if each["index"] == index), {})

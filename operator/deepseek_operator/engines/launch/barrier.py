"""The rank barrier: no rank starts its engine before all ranks of the group's same start are there and alike.

``barrier.py PORT MARKER``, by the environment of the pod. Rank 0 listens; every other rank connects, reports what it
is, and waits. Rank 0 answers all of them only when all agree. Messages are one JSON object a line:

    worker → leader   {"incarnation": "7", "rank": 1, "size": 2, "image": …, "devices": 8, "driver": …, "pod": …}
    leader → worker   {"waiting": "…"} again and again, then {"go": true}, {"refused": why} or {"differs": why}

A rank of another incarnation or size is refused and tries again: the operator is still replacing pods. Ranks whose
image, device count or driver differ can never work together: all of them end with exit code 3 and the reason.
There is no deadline here; the operator judges how long a start may take. MARKER is written before the first engine
may start: from then on this pod must not join again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import socket
import sys
import time
from pathlib import Path
from typing import Any

REPORT_SECONDS = 10.0
HELLO_SECONDS = 10.0  # a connection that does not say who it is in this time is dropped
SILENCE_SECONDS = 3.5 * REPORT_SECONDS  # a leader silent for so long is gone without a word
RETRY_SECONDS = 1.0
MAX_LINE = 4096
MUST_AGREE = ("image", "devices", "driver")
EXIT_DIFFERS = 3
DEVICE_FILES = re.compile(r"nvidia\d+|davinci\d+")
DRIVER_FILES = (
    "/proc/driver/nvidia/version",
    "/sys/module/amdgpu/version",
    "/usr/local/Ascend/driver/version.info",
)


def say(text: str) -> None:
    """One line for the pod's log; its end becomes the termination message."""
    # On one line, whatever a stranger has sent.
    sys.stderr.write(f"rank barrier: {' '.join(text.split())}\n")
    sys.stderr.flush()


def mark(marker: Path) -> None:
    """From now on this pod may have started its engine."""
    marker.write_text("released by the rank barrier\n")


def driver_major() -> str | None:
    """The first part of the accelerator driver's version, where the container can see it."""
    for path in map(Path, DRIVER_FILES):
        if path.exists():
            version = re.search(r"\b(\d+)\.\d+", path.read_text(errors="replace"))
            return version.group(1) if version else None
    return None


def report(environment: dict[str, str]) -> dict[str, Any]:
    """What this rank is."""
    visible = sum(bool(DEVICE_FILES.fullmatch(path.name)) for path in Path("/dev").iterdir())
    return {
        "incarnation": environment["INCARNATION"],
        "rank": int(environment["NODE_RANK"]),
        "size": int(environment["GROUP_SIZE"]),
        "image": environment["IMAGE"],
        "devices": visible or int(environment["ACCELERATORS"]),
        "driver": driver_major(),
        "pod": environment["POD_NAME"],
        "uid": environment["POD_UID"],
        "node": environment["NODE_NAME"],
    }


class Leader:
    """Rank 0: collects the reports."""

    def __init__(self, own: dict[str, Any]) -> None:
        self.own = own
        self.joined: dict[int, tuple[dict[str, Any], asyncio.StreamWriter]] = {}
        self.difference: str | None = None
        self.settled = asyncio.Event()

    def missing(self) -> list[int]:
        """Ranks that have not joined."""
        return [rank for rank in range(1, self.own["size"]) if rank not in self.joined]

    def waiting(self) -> str:
        """Whom the group is waiting for, in a sentence."""
        ranks = ", ".join(map(str, self.missing()))
        return f"waiting for rank {ranks} of {self.own['size']} (incarnation {self.own['incarnation']})"

    def refusal(self, other: dict[str, Any]) -> str | None:
        """Why a report does not belong to this start of the group, or None."""
        for key in ("incarnation", "size"):
            if other[key] != self.own[key]:
                return f"rank {other['rank']} ({other['pod']}): {key} {other[key]} there, {self.own[key]} here"
        if other["rank"] not in range(1, self.own["size"]):
            return f"rank {other['rank']} ({other['pod']}): not a worker's rank in a group of {self.own['size']}"
        return None

    def disagreement(self, other: dict[str, Any]) -> str | None:
        """What keeps a rank from working together with rank 0, or None; an unknown driver agrees with any."""
        found = [
            f"{key} {other[key]} there, {self.own[key]} on rank 0"
            for key in MUST_AGREE
            if other[key] != self.own[key] and None not in (other[key], self.own[key])
        ]
        return f"rank {other['rank']} ({other['pod']} on {other['node']}): {'; '.join(found)}" if found else None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from its report to its end."""
        try:
            hello = json.loads(await asyncio.wait_for(reader.readline(), HELLO_SECONDS))
            refused = self.refusal(hello)
            difference = self.disagreement(hello)
            rank = int(hello["rank"])
        except (asyncio.TimeoutError, OSError, ValueError, LookupError, TypeError):  # noqa: UP041 - not the same before 3.11
            writer.close()
            return
        if refused:
            say(f"refused {refused}")
            await tell(writer, {"refused": refused})
            writer.close()
            return
        if rank in self.joined:
            self.joined[rank][1].close()
        self.joined[rank] = (hello, writer)
        self.difference = self.difference or difference
        if self.difference or not self.missing():
            self.settled.set()
        with contextlib.suppress(OSError):
            await reader.read(1)
        if not self.settled.is_set() and self.joined.get(rank, (None, None))[1] is writer:
            del self.joined[rank]
            say(f"rank {rank} left")
        writer.close()

    async def run(self, address: str, port: int, marker: Path) -> int:
        """Waits until all ranks are there, or two differ; returns the exit code."""
        server = await asyncio.start_server(self.serve, address, port, limit=MAX_LINE)
        while not self.settled.is_set():
            say(self.waiting())
            for _, writer in list(self.joined.values()):
                await tell(writer, {"waiting": self.waiting()})
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.settled.wait(), REPORT_SECONDS)
        answer: dict[str, Any] = {"differs": self.difference}
        if self.difference is None:
            mark(marker)
            answer = {"go": True}
        for _, writer in self.joined.values():
            await tell(writer, answer)
            writer.close()
        # Not waited for: a connection that says nothing must not hold the group.
        server.close()
        say(self.difference or f"all {self.own['size']} ranks joined")
        return 0 if self.difference is None else EXIT_DIFFERS


async def tell(writer: asyncio.StreamWriter, message: dict[str, Any]) -> None:
    """Sends one message; a peer that is gone will come back."""
    try:
        writer.write(json.dumps(message).encode() + b"\n")
        await asyncio.wait_for(writer.drain(), HELLO_SECONDS)
    except (OSError, asyncio.TimeoutError):  # noqa: UP041 - not the same before 3.11
        writer.close()


def ask(own: dict[str, Any], address: str, port: int) -> dict[str, Any]:
    """One try of a worker: the leader's decision. The name is resolved anew: the leader's pod may have moved."""
    with socket.create_connection((address, port), timeout=HELLO_SECONDS) as connection:
        connection.settimeout(SILENCE_SECONDS)
        connection.sendall(json.dumps(own).encode() + b"\n")
        with connection.makefile("rb") as lines:
            while line := lines.readline(MAX_LINE):
                answer: dict[str, Any] = json.loads(line)
                if "waiting" not in answer:
                    return answer
                say(f"joined; {answer['waiting']}")
    raise ConnectionError("the leader closed the connection")


def follow(own: dict[str, Any], address: str, port: int, marker: Path) -> int:
    """A worker: tries until the leader has decided; returns the exit code."""
    said, when = "", 0.0
    while True:
        try:
            answer = ask(own, address, port)
        except (OSError, ValueError, TypeError) as error:
            problem = f"rank 0 at {address}:{port} cannot be reached yet: {error}"
        else:
            if "go" in answer:
                mark(marker)
                return 0
            if "differs" in answer:
                say(str(answer["differs"]))
                return EXIT_DIFFERS
            problem = f"rank 0 refused: {answer.get('refused')}; trying again"
        if problem != said or time.monotonic() - when >= REPORT_SECONDS:
            said, when = problem, time.monotonic()
            say(problem)
        time.sleep(RETRY_SECONDS)


def main() -> int:
    """Joins the group as the rank of the environment."""
    port, marker = int(sys.argv[1]), Path(sys.argv[2])
    own = report(dict(os.environ))
    if own["rank"] == 0:
        return asyncio.run(lead(own, os.environ["POD_IP"], port, marker))
    return follow(own, os.environ["LEADER_ADDRESS"], port, marker)


async def lead(own: dict[str, Any], address: str, port: int, marker: Path) -> int:
    """Rank 0 inside a running event loop."""
    return await Leader(own).run(address, port, marker)


if __name__ == "__main__":
    raise SystemExit(main())

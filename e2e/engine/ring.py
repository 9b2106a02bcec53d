"""The ranks' rendezvous and their collective: a store at rank 0, then a ring of TCP connections through all ranks.

As torch's TCPStore and gloo do, over plain sockets: each rank publishes the address of its own interface, and the
others really dial it. A message goes once round; a rank that hangs stops it, and a rank that dies closes its two
connections, which its neighbours notice at once and pass on by dying themselves.
"""

from __future__ import annotations

import json
import select
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, Final

RETRY_SECONDS: Final = 0.2
CONNECT_SECONDS: Final = 5.0

Message = dict[str, Any]


class PeerLostError(Exception):
    """A neighbour's connection ended."""


class Store:
    """Rank 0's meeting place: answers everybody with everybody's address when all are there."""

    def __init__(self, port: int, *, world: int, nodes: int) -> None:
        self._world, self._nodes = world, nodes
        self._joined: dict[int, tuple[Message, socket.socket]] = {}
        # All interfaces, as TCPStore: the name it is reached by is another's business.
        self._listener = socket.create_server(("", port), backlog=world)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while len(self._joined) < self._world:
            connection, _ = self._listener.accept()
            hello = json.loads(connection.makefile("rb").readline() or b"{}")
            if (refusal := self._refusal(hello)) is not None:
                _send(connection, {"refused": refusal})
                connection.close()
                continue
            self._joined[hello["rank"]] = (hello, connection)
        members = [self._joined[rank][0]["address"] for rank in range(self._world)]
        for _, connection in self._joined.values():
            _send(connection, {"members": members})
            connection.close()
        self._listener.close()

    def _refusal(self, hello: Message) -> str | None:
        for key, own in (("world", self._world), ("nodes", self._nodes)):
            if hello.get(key) != own:
                return f"{key} size {hello.get(key)} there, {own} at rank 0"
        if hello["rank"] in self._joined:
            return f"rank {hello['rank']} is there already"
        return None


class Ring:
    """One rank's place in the ring."""

    def __init__(self, rank: int, *, world: int) -> None:
        self.rank, self.world = rank, world
        self._left: socket.socket | None = None
        self._right: socket.socket | None = None
        self._buffer = b""

    def join(self, store: tuple[str, int], *, address: str, nodes: int, seconds: float) -> None:
        """Meet all other ranks; raises ``TimeoutError`` when they are not all there in time."""
        if self.world == 1:
            return
        deadline = time.monotonic() + seconds
        with socket.create_server((address, 0), backlog=2) as listener:
            hello = {
                "rank": self.rank,
                "world": self.world,
                "nodes": nodes,
                "address": [address, listener.getsockname()[1]],
            }
            members = self._meet(store, hello, deadline=deadline)
            right = members[(self.rank + 1) % self.world]
            self._right = _dial((right[0], right[1]), deadline=deadline)
            listener.settimeout(max(deadline - time.monotonic(), RETRY_SECONDS))
            self._left, _ = listener.accept()
        for connection in (self._left, self._right):
            connection.setblocking(True)  # noqa: FBT003 - the socket's own signature
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _meet(self, store: tuple[str, int], hello: Message, *, deadline: float) -> list[list[Any]]:
        while True:
            try:
                with _dial(store, deadline=deadline) as connection:
                    connection.settimeout(max(deadline - time.monotonic(), RETRY_SECONDS))
                    _send(connection, hello)
                    answer = json.loads(connection.makefile("rb").readline() or b"{}")
            except ConnectionError:
                answer = {}
            if "refused" in answer:
                raise RuntimeError(f"rank {self.rank} was refused by the store at {store[0]}: {answer['refused']}")
            if "members" in answer:
                found: list[list[Any]] = answer["members"]
                return found
            if time.monotonic() > deadline:
                raise TimeoutError(f"the store at {store[0]}:{store[1]} does not answer")
            time.sleep(RETRY_SECONDS)

    def send(self, message: Message) -> None:
        """Pass a message on to the next rank."""
        if self._right is None:
            return
        try:
            _send(self._right, message)
        except OSError as error:
            raise PeerLostError(f"Connection closed by peer [rank {(self.rank + 1) % self.world}]: {error}") from error

    def receive(self, *, seconds: float | None = None) -> Message | None:
        """Return the next message of the rank before, or None when none comes in time."""
        while b"\n" not in self._buffer:
            if self._left is None or (
                seconds is not None and not select.select([self._left], [], [], max(seconds, 0))[0]
            ):
                return None
            try:
                received = self._left.recv(65536)
            except OSError:
                received = b""
            if not received:
                raise PeerLostError(f"Connection closed by peer [rank {(self.rank - 1) % self.world}]")
            self._buffer += received
        line, _, self._buffer = self._buffer.partition(b"\n")
        found: Message = json.loads(line)
        return found

    def round(self, message: Message, *, seconds: float, own: Callable[[Message], Message]) -> Message | None:
        """Rank 0: let a message pass all ranks and return what came back, or None after ``seconds``."""
        message = own(message)
        if self.world == 1:
            return message
        self.send(message)
        return self.receive(seconds=seconds)

    @property
    def left(self) -> socket.socket | None:
        """The connection on which messages come; rank 0 watches it while idle."""
        return self._left


def _dial(target: tuple[str, int], *, deadline: float) -> socket.socket:
    """Connect, and resolve the name anew each time: it may not be published yet."""
    while True:
        try:
            return socket.create_connection(target, timeout=CONNECT_SECONDS)
        except OSError as error:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{target[0]}:{target[1]} cannot be reached: {error}") from error
            time.sleep(RETRY_SECONDS)


def _send(connection: socket.socket, message: Message) -> None:
    connection.sendall(json.dumps(message).encode() + b"\n")

"""LMDeploy's own proxy, with its control routes closed to clients: ``lmdeploy_proxy.py RANKS lmdeploy serve proxy …``.

The proxy shares the API's port with routes that add, remove and end servers, and its keys do not guard them (0.18.0
serve/utils/server_utils.py, skip_prefixes): any client could have other people's prompts sent to a server of its own.
Here those routes answer the group's own pods only. ``/health``, which the proxy lacks, is 200 while all RANKS servers
are registered: one registers when its engine is loaded, and the proxy drops one whose own ``/health`` fails.
"""

from __future__ import annotations

import importlib
import ipaddress
import os
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

CLOSED = ("/nodes", "/distserve")
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]


def members(environment: Mapping[str, str]) -> set[str]:
    """Addresses of the group's pods, by the names of the headless Service; a pod may have moved since."""
    leader, size = environment["LEADER_ADDRESS"], int(environment["GROUP_SIZE"])
    host, dot, domain = leader.partition(".")
    base, dash, rank = host.rpartition("-")
    names = [f"{base}-{each}{dot}{domain}" for each in range(size)] if dash and rank == "0" else [leader]
    found = {environment["POD_IP"]}
    for name in names:
        try:
            found |= {str(entry[4][0]) for entry in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)}
        except OSError:
            continue
    return found


class Guard:
    """An ASGI application in front of the proxy's."""

    def __init__(self, app: Application, *, nodes: Callable[[], int], ranks: int) -> None:
        self.app = app
        self.nodes = nodes
        self.ranks = ranks

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answers what is not for the proxy."""
        path = scope.get("path", "")
        if path == "/health":
            registered = self.nodes()
            await answer(send, 200 if registered >= self.ranks else 503, f"{registered} of {self.ranks} servers")
        elif path.startswith(CLOSED) and not own(scope):
            await answer(send, 403, "only the group's own pods may use this path")
        else:
            await self.app(scope, receive, send)


def own(scope: Message) -> bool:
    """Whether a request comes from the group itself."""
    address = str((scope.get("client") or ("",))[0])
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return parsed.is_loopback or address in members(os.environ)


async def answer(send: Send, status: int, text: str) -> None:
    """A whole response."""
    headers = [(b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode() + b"\n"})


def main() -> None:
    """Becomes ``lmdeploy``."""
    ranks, *command = sys.argv[1:]
    proxy = importlib.import_module("lmdeploy.serve.proxy.proxy")
    proxy.app.add_middleware(Guard, nodes=lambda: len(proxy.node_manager.nodes), ranks=int(ranks))
    sys.argv = command
    importlib.import_module("lmdeploy.cli.entrypoint").run()


if __name__ == "__main__":
    main()

"""A reverse proxy in front of the API server: the only way an operator under test reaches it.

Plain HTTP on the loopback interface towards the operator; TLS with the administrator's certificate towards the API
server. Every call is numbered, logged and given to the rules.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeVar

import aiohttp
import yaml
from aiohttp import web
from multidict import CIMultiDict

from e2e.cluster import Cluster
from e2e.faults.api import TLS_CLOSE_SECONDS
from e2e.faults.calls import Call, counts_as_write, read_call
from e2e.faults.rules import Answer, Ask, CutError, Rule

T = TypeVar("T")

PORTS: Final = range(18000, 20000)
"""Below the kernel's ephemeral range and the clusters' own ports: the proxy comes back on the port it left."""
HOP_HEADERS: Final = frozenset({"connection", "transfer-encoding", "keep-alive", "host", "content-length"})
NEVER_FORWARDED: Final = HOP_HEADERS | {"authorization", "accept-encoding"}
MAX_BODY: Final = 16 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A call that was answered, or not (status 0)."""

    call: Call
    status: int
    at: float
    """time.monotonic() when it arrived."""


class Proxy:
    """The proxy inside a running event loop."""

    def __init__(self, cluster: Cluster) -> None:
        self.rules: list[Rule] = []
        self.seen: list[Seen] = []
        self.writes = 0
        """Numbered writes so far; set it to 0 to count from here."""
        self.last_write = time.monotonic()
        self.port = 0
        self._cluster = cluster
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen on a free port."""
        context = ssl.create_default_context(cafile=str(self._cluster.state / "pki" / "ca.crt"))
        keys = self._cluster.state / "pki"
        context.load_cert_chain(keys / "admin.crt", keys / "admin.key")
        self._upstream = aiohttp.ClientSession(
            f"https://127.0.0.1:{self._cluster.port}",
            connector=aiohttp.TCPConnector(ssl=context, limit=0),
            timeout=aiohttp.ClientTimeout(total=None, connect=10),
            auto_decompress=False,
        )
        self.port = free_port()
        await self.up()

    async def stop(self) -> None:
        """Close everything."""
        await self.down()
        await self._upstream.close()
        await asyncio.sleep(TLS_CLOSE_SECONDS)

    async def up(self) -> None:
        """Answer again after ``down``, on the same port."""
        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_route("*", "/{path:.*}", self._handle)
        # A client that is gone must not keep its watch open; writes are shielded from that in _handle.
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    async def down(self) -> None:
        """Be gone: connections end, new ones are refused."""
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await runner.cleanup()

    def write_kubeconfig(self, path: Path) -> Path:
        """Write a kubeconfig that leads here; the token in it stops at the proxy."""
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "faults", "cluster": {"server": f"http://127.0.0.1:{self.port}"}}],
            "users": [{"name": "faults", "user": {"token": "stops-at-the-proxy"}}],
            "contexts": [{"name": "faults", "context": {"cluster": "faults", "user": "faults"}}],
            "current-context": "faults",
        }
        path.write_text(yaml.safe_dump(document), encoding="utf-8")
        return path

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        call = read_call(request.method, request.path_qs, headers=request.headers.copy(), body=await request.read())
        if counts_as_write(call):
            self.writes += 1
            call = replace(call, write=self.writes)
            self.last_write = time.monotonic()
        arrived = time.monotonic()
        work = asyncio.ensure_future(self._answer(call))
        # What was sent arrives, even when its client is gone before the answer.
        answer = await (asyncio.shield(work) if call.mutating else work)
        if answer is None:
            self.seen.append(Seen(call=call, status=0, at=arrived))
            return _hang_up(request)
        self.seen.append(Seen(call=call, status=answer.status, at=arrived))
        return await _deliver(request, answer)

    async def _answer(self, call: Call) -> Answer | None:
        try:
            return await self._through_rules(call)
        except (CutError, aiohttp.ClientError):
            return None

    async def _through_rules(self, call: Call) -> Answer:
        ask: Ask = self._forward
        for rule in reversed([rule for rule in self.rules if rule.applies(call)]):
            ask = _wrapped(rule, ask)
        return await ask(call)

    async def _forward(self, call: Call) -> Answer:
        headers = CIMultiDict((key, value) for key, value in call.headers.items() if key.lower() not in NEVER_FORWARDED)
        response = await self._upstream.request(call.method, call.target, headers=headers, data=call.body or None)
        kept = {key: value for key, value in response.headers.items() if key.lower() not in HOP_HEADERS}
        if call.verb == "watch" and response.status == 200:
            return Answer(status=response.status, headers=kept, events=_lines(response))
        return Answer(status=response.status, headers=kept, body=await response.read())


def _wrapped(rule: Rule, ask: Ask) -> Ask:
    async def through(call: Call) -> Answer:
        return await rule.behaviour(call, ask)

    return through


async def _deliver(request: web.Request, answer: Answer) -> web.StreamResponse:
    response: web.StreamResponse
    try:
        if answer.events is None:
            response = web.Response(status=answer.status, headers=answer.headers, body=answer.body)
            await response.prepare(request)
            await response.write_eof()
        else:
            response = web.StreamResponse(status=answer.status, headers=answer.headers)
            await response.prepare(request)
            async for line in answer.events:
                await response.write(line)
            await response.write_eof()
    except (CutError, aiohttp.ClientError):
        return _hang_up(request)
    if answer.delivered is not None:
        await answer.delivered()
    return response


def _hang_up(request: web.Request) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=502)


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    rest = b""
    try:
        async for chunk in response.content.iter_any():
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                yield line + b"\n"
    finally:
        response.close()


def free_port() -> int:
    """A port nobody listens on now."""
    while True:
        port = secrets.choice(PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class ProxyThread:
    """The proxy for code that is not asynchronous: its event loop runs in a thread."""

    def __init__(self, cluster: Cluster) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True, name="fault-proxy")
        self._thread.start()
        self.proxy = Proxy(cluster)
        self._run(self.proxy.start())

    def rule(self, rule: Rule) -> Rule:
        """Add a rule; returns it."""
        self.proxy.rules.append(rule)
        return rule

    def clear(self) -> None:
        """Take all rules away."""
        self.proxy.rules.clear()

    def down(self) -> None:
        """The API server is gone."""
        self._run(self.proxy.down())

    def up(self) -> None:
        """The API server is back."""
        self._run(self.proxy.up())

    def stop(self) -> None:
        """End the proxy and its thread."""
        self._run(self._finish())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _finish(self) -> None:
        await self.proxy.stop()
        await self._loop.shutdown_asyncgens()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

"""Answers of a real HTTP server as kopf gets to see them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from deepseek_operator.control.login import going_on


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """A session like kopf's to a server that answers with the status that the path names."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=int(request.match_info["status"]), text='{"kind":"Status"}')

    app = web.Application()
    app.router.add_get("/{status}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    async with aiohttp.ClientSession(site.name, middlewares=(going_on,)) as session:
        yield session
    await runner.cleanup()


async def test_a_watch_answered_with_410_tells_that_its_version_is_too_old_and_ends(
    session: aiohttp.ClientSession,
) -> None:
    async with session.get("/410?watch=true") as response:
        lines = [line async for line in response.content]
    (told,) = (json.loads(line) for line in lines)
    assert (response.status, told["type"], told["object"]["code"]) == (200, "ERROR", 410)


@pytest.mark.parametrize("path", ["/403?watch=true", "/403", "/410", "/500", "/503?watch=true", "/504"])
async def test_what_passes_is_a_lost_connection(session: aiohttp.ClientSession, path: str) -> None:
    with pytest.raises(aiohttp.ClientConnectionError, match=f"{path[1:4]} for /{path[1:4]}"):
        await session.get(path)


@pytest.mark.parametrize("status", [200, 401, 404, 429])
async def test_what_kopf_understands_is_left_as_it_is(session: aiohttp.ClientSession, status: int) -> None:
    async with session.get(f"/{status}?watch=true") as response:
        assert (response.status, await response.json(content_type=None)) == (status, {"kind": "Status"})

"""The stand-in for the API server and a client of it, for each test anew."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from deepseek_operator.control.client import KubeClient
from tests.unit.control.stand_in import StandIn, connected, serving


@pytest.fixture
async def server() -> AsyncIterator[StandIn]:
    async with serving() as server:
        yield server


@pytest.fixture
async def client(server: StandIn) -> AsyncIterator[KubeClient]:
    async with connected(server.url) as client:
        yield client

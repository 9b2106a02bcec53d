"""How far weights are, asked of the pods themselves."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from deepseek_operator.control import progress as module
from deepseek_operator.control.cache import Key
from deepseek_operator.control.progress import ProgressReader, ask, read
from deepseek_operator.control.projections import project_deployment
from deepseek_operator.lifecycle.entries import Progress
from deepseek_operator.weights.progress import Progress as ToolProgress
from deepseek_operator.weights.progress import reporting
from tests.unit.control import bodies
from tests.unit.lifecycle.observed import pod

DEPLOYMENT = project_deployment(bodies.deployment())


def free_port() -> int:
    import socket  # noqa: PLC0415 - only here

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def test_the_tools_own_answer_is_understood() -> None:
    tool, port = ToolProgress(), free_port()
    tool.begin("fetch hf://a/b", total=1000, files=3, done=100)
    tool.add(300)
    with reporting(tool, every=60, address=f"127.0.0.1:{port}"):
        found = await ask("127.0.0.1", port)
    assert found is not None
    assert (found.phase, found.bytes_done, found.bytes_total) == ("fetch", 400, 1000)


async def test_over_ipv6_too() -> None:
    tool, port = ToolProgress(), free_port()
    tool.begin("read ahead", total=10, files=1)
    with reporting(tool, every=60, address=f"[::1]:{port}"):
        found = await ask("::1", port)
    assert found == Progress(phase="read", bytes_done=0, bytes_total=10)


async def test_nobody_there_is_no_answer() -> None:
    assert await ask("127.0.0.1", free_port()) is None


@pytest.mark.parametrize("document", [None, [], {}, {"phase": "fetch"}, {"phase": 1, "bytesDone": 1, "bytesTotal": 2}])
def test_an_answer_of_another_shape_is_none(document: Any) -> None:
    assert read(document) is None


def test_more_done_than_there_is_is_cut_and_strange_words_are_not_passed_on() -> None:
    assert read({"phase": "<script> x", "bytesDone": 9, "bytesTotal": 5}) == Progress(
        phase="verify", bytes_done=5, bytes_total=5
    )


async def test_a_pod_is_asked_while_it_works_and_forgotten_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVERY_SECONDS", 0.05)
    told: asyncio.Queue[set[Key]] = asyncio.Queue()
    tool, port = ToolProgress(), free_port()
    tool.begin("fetch hf://a/b", total=1000, files=3)
    reader = ProgressReader(told.put_nowait, port=port)
    working = pod(1, fetching=True, step="fetch-weights", ip="127.0.0.1")
    with reporting(tool, every=60, address=f"127.0.0.1:{port}"):
        assert reader.look(DEPLOYMENT, [working, pod(0)]) == 0.05
        assert await asyncio.wait_for(told.get(), 5) == {("default", "x")}
        assert set(reader.answers("cr")) == {working.uid}
        # Not again before its time.
        reader.look(DEPLOYMENT, [working])
        assert told.empty()
        await asyncio.sleep(0.06)
        tool.add(500)
        reader.look(DEPLOYMENT, [working])
        await asyncio.wait_for(told.get(), 5)
        assert reader.answers("cr")[working.uid].bytes_done == 500
    assert reader.look(DEPLOYMENT, [replace(working, fetching=False, step="")]) is None
    assert reader.answers("cr") == {}
    await reader.close()

"""Asking a leader for its memory: a real HTTP server answers, refuses, or keeps silent."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from deepseek_operator.control import reported
from deepseek_operator.control.cache import Key
from deepseek_operator.control.reported import Reporter, ask
from deepseek_operator.lifecycle.records import ContainerRecord, DeploymentRecord, PodRecord

PAGE = """\
# HELP sglang:max_total_num_tokens Maximum total number of tokens in the KV cache pool.
# TYPE sglang:max_total_num_tokens gauge
sglang:max_total_num_tokens{engine_type="unified",model_name="DeepSeek-V3",moe_ep_rank="0",tp_rank="0"} 433000.0
sglang:max_total_num_tokens{engine_type="unified",model_name="DeepSeek-V3",moe_ep_rank="0",tp_rank="1"} 432900.0
sglang:weight_memory_usage_gb{engine_type="unified",model_name="a \\"b\\" } c",tp_rank="0"} 40.31
sglang:token_usage{model_name="DeepSeek-V3"} NaN
"""


@asynccontextmanager
async def server(page: str = PAGE, *, status: int = 200, silent: bool = False) -> AsyncIterator[tuple[int, list[str]]]:
    """A leader on loopback: its port, and the paths and keys that it was asked with."""
    asked: list[str] = []
    ended = asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        asked.append(f"{request.path} {request.headers.get('Authorization', 'no key')}")
        if silent:
            await ended.wait()
        moved = {"Location": "/elsewhere"} if status == 302 and request.path == "/metrics" else None
        return web.Response(text=page, status=status if moved or status != 302 else 200, headers=moved)

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield runner.addresses[0][1], asked
    finally:
        ended.set()
        await runner.cleanup()


def deployment(**group: Any) -> DeploymentRecord:
    entry = {"index": 0, "incarnation": 2, "ready": True, **group}
    return DeploymentRecord(
        name="x",
        namespace="default",
        uid="u",
        generation=1,
        resource_version=1,
        deleting=False,
        spec={},
        status={"groups": [entry], "plan": {"engine": "sglang"}},
    )


def leader(ip: str = "127.0.0.1") -> PodRecord:
    return PodRecord(
        name="x-g0-0",
        namespace="default",
        deployment="x",
        uid="p",
        group=0,
        rank=0,
        incarnation=2,
        node="n",
        phase="Running",
        phase_reason="",
        deleting=False,
        ready=True,
        scheduled=True,
        waiting_message="",
        fetching=False,
        init_reason="",
        engine=ContainerRecord(),
        ip=ip,
    )


async def test_the_figures_are_read_without_any_key() -> None:
    async with server() as (port, asked):
        report = await ask("127.0.0.1", port, engine="sglang", incarnation=2)
    assert (report.kv_tokens, report.weights_gib, report.unknown) == (432_900, 40.31, "")
    assert asked == ["/metrics no key"]


async def test_vllm_tells_blocks_and_their_size() -> None:
    page = 'vllm:cache_config_info{block_size="64",cache_dtype="auto",num_gpu_blocks="1000"} 1.0\n'
    async with server(page) as (port, _):
        report = await ask("127.0.0.1", port, engine="vllm", incarnation=1)
    assert (report.kv_tokens, report.weights_gib) == (64_000, None)


@pytest.mark.parametrize(
    ("page", "status", "says"),
    [
        (PAGE, 503, "answers 503"),
        (PAGE, 302, "answers 302"),
        ("something else", 200, "has no number of KV tokens"),
        ("sglang:max_total_num_tokens many\n", 200, "has no number of KV tokens"),
    ],
)
async def test_an_answer_without_figures_says_so(page: str, status: int, says: str) -> None:
    async with server(page, status=status) as (port, _):
        report = await ask("127.0.0.1", port, engine="sglang", incarnation=1)
    assert report.kv_tokens is None
    assert says in report.unknown


async def test_a_closed_port_names_what_would_let_the_operator_in() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    report = await ask("127.0.0.1", port, engine="sglang", incarnation=1)
    assert "cannot be reached" in report.unknown
    assert "metricsNamespaceLabels" in report.unknown


async def test_a_silent_leader_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reported, "SECONDS", 0.2)
    async with server(silent=True) as (port, _):
        report = await ask("127.0.0.1", port, engine="sglang", incarnation=1)
    assert "did not answer in 0.2 s" in report.unknown


async def test_a_group_is_asked_once_an_incarnation_and_never_again() -> None:
    finished = asyncio.Event()
    done: list[set[Key]] = []

    def note(keys: set[Key]) -> None:
        done.append(keys)
        finished.set()

    async with server() as (port, asked):
        reporter = Reporter(note, port=port)
        for _ in range(3):
            reporter.look(deployment(), {0: [leader()]})
        await asyncio.wait_for(finished.wait(), 30)
        assert done == [{("default", "x")}]
        report = reporter.answers("u")[0]
        assert report.kv_tokens == 432_900
        reporter.look(deployment(), {0: [leader()]})
        # Status has taken it over: forgotten here, not asked again.
        reporter.look(deployment(memory={"incarnation": 2, "kvTokens": 432_900}), {0: [leader()]})
        assert reporter.answers("u") == {}
        assert len(asked) == 1
        finished.clear()
        reporter.look(deployment(incarnation=3, memory={"incarnation": 2, "kvTokens": 1}), {0: [leader()]})
        await asyncio.wait_for(finished.wait(), 30)
        assert reporter.answers("u")[0].incarnation == 3
        await reporter.close()


async def test_a_group_that_does_not_serve_or_has_no_address_is_not_asked() -> None:
    async with server() as (port, asked):
        reporter = Reporter(lambda _: None, port=port)
        reporter.look(deployment(ready=False), {0: [leader()]})
        reporter.look(deployment(), {0: [leader(ip="")]})
        reporter.look(deployment(), {})
        await reporter.close()
        assert asked == []


async def test_ending_the_operator_does_not_wait_for_a_silent_leader() -> None:
    async with server(silent=True) as (port, _):
        reporter = Reporter(lambda _: None, port=port)
        reporter.look(deployment(), {0: [leader()]})
        await asyncio.wait_for(reporter.close(), 30)
        assert reporter.answers("u") == {}

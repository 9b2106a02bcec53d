"""The work queue: never two workers on a key, nothing lost, failures wait."""

from __future__ import annotations

import asyncio

import pytest

from deepseek_operator.api.config import OperatorConfig
from deepseek_operator.control import kinds
from deepseek_operator.control.process import Operator
from deepseek_operator.control.queue import WorkQueue


async def test_a_key_added_twice_is_worked_on_once() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    queue.add("a")
    assert await queue.get() == "a"
    assert len(queue) == 0


async def test_a_key_added_while_worked_on_runs_once_more_and_never_at_the_same_time() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    key = await queue.get()
    queue.add("a")
    queue.add("a")
    second = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    assert not second.done()
    queue.done(key)
    assert await second == "a"


async def test_failures_wait_longer_and_success_forgives() -> None:
    queue: WorkQueue[str] = WorkQueue()
    waits = [queue.failed("a") for _ in range(4)]
    assert waits[0] < waits[2] < waits[3]
    queue.succeeded("a")
    assert queue.failed("a") < 1.0


async def test_an_earlier_wish_wins_over_a_later_one() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add_after("a", 60)
    queue.add_after("a", 0.01)
    assert await asyncio.wait_for(queue.get(), 5) == "a"


async def test_a_server_that_asks_to_wait_is_obeyed() -> None:
    queue: WorkQueue[str] = WorkQueue()
    assert queue.failed("a", at_least=7.0) == 7.0


async def served(queue: WorkQueue[str], count: int) -> list[str]:
    keys = []
    for _ in range(count):
        key = await asyncio.wait_for(queue.get(), 5)
        keys.append(key)
        queue.done(key)
    return keys


async def test_an_urgent_key_goes_first_whether_it_waited_already_or_not() -> None:
    queue: WorkQueue[str] = WorkQueue()
    for key in ("a", "b", "c"):
        queue.add(key)
    queue.add_urgent("c")
    queue.add_urgent("d")
    queue.add_urgent("c")
    assert len(queue) == 4
    assert await served(queue, 4) == ["c", "d", "a", "b"]
    assert len(queue) == 0
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    assert not waiting.done()
    queue.add("a")
    assert await waiting == "a"


async def test_a_key_that_becomes_urgent_while_it_is_worked_on_goes_first_afterwards() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    key = await queue.get()
    queue.add("b")
    queue.add("a")
    queue.add_urgent("a")
    queue.done(key)
    assert await served(queue, 2) == ["a", "b"]


@pytest.mark.parametrize(("kind", "first"), [(kinds.POD, "late"), (kinds.STATEFUL_SET, "late"), (kinds.NODE, "early")])
async def test_a_rank_that_failed_does_not_wait_behind_what_a_node_has_woken(kind: kinds.Kind, first: str) -> None:
    operator = Operator(OperatorConfig(), ())
    operator._seen(kinds.NODE, {("default", "early")})  # noqa: SLF001 - what its watches call
    operator._seen(kind, {("default", "late")})  # noqa: SLF001
    assert await operator._queue.get() == ("default", first)  # noqa: SLF001

"""The work queue: never two workers on a key, nothing lost, failures wait."""

from __future__ import annotations

import asyncio

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

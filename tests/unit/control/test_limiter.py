"""Writes: a burst at once, then a steady rate."""

from __future__ import annotations

import asyncio

import pytest

from deepseek_operator.control.limiter import WriteLimiter


def at_once(limiter: WriteLimiter) -> bool:
    """Whether a write may go out without waiting."""
    take = limiter.take()
    try:
        take.send(None)
    except StopIteration:
        return True
    take.close()
    return False


@pytest.mark.parametrize("burst", [1, 5, 20])
async def test_a_burst_goes_out_at_once_and_no_more(burst: int) -> None:
    limiter = WriteLimiter(per_second=0.01, burst=burst)
    assert [at_once(limiter) for _ in range(burst)] == [True] * burst
    assert not at_once(limiter)


async def test_after_the_burst_the_rate_holds() -> None:
    loop = asyncio.get_running_loop()
    limiter = WriteLimiter(per_second=200, burst=10)
    started = loop.time()
    for _ in range(30):
        await limiter.take()
    assert loop.time() - started >= 0.099  # 20 beyond the burst, 5 ms each


async def test_writers_are_served_in_order_of_arrival() -> None:
    limiter = WriteLimiter(per_second=200, burst=1)
    served: list[int] = []

    async def write(number: int) -> None:
        await limiter.take()
        served.append(number)

    async with asyncio.TaskGroup() as group:
        for number in range(8):
            group.create_task(write(number))
    assert served == list(range(8))


async def test_idle_time_fills_the_burst_again_but_never_beyond() -> None:
    limiter = WriteLimiter(per_second=0.01, burst=3)
    assert [at_once(limiter) for _ in range(4)] == [True, True, True, False]
    limiter._next = asyncio.get_running_loop().time() - 10_000_000  # noqa: SLF001 - idle for months
    assert [at_once(limiter) for _ in range(4)] == [True, True, True, False]

"""How a case is played: the operator is killed at its write whenever that comes, and always replaced."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from e2e.faults.calls import Call, read_call
from e2e.faults.case import KillAt, Moment, play
from e2e.faults.rules import Answer
from e2e.faults.user import User

NOBODY = cast("User", None)


async def content(_user: User) -> None:
    """The user sees what they wanted at once."""


async def carried_out(_call: Call) -> Answer:
    return Answer(status=200, headers={})


def write(number: int) -> Call:
    return read_call("PUT", "/api/v1/namespaces/a/things/b/status", headers={}, body=b"", write=number)


class Resting:
    """An operator that writes while the harness waits for it to rest, and then is silent until it is replaced."""

    def __init__(self, moment: Moment, *, writes: int) -> None:
        self.user = NOBODY
        self.killed = 0
        self.replaced = asyncio.Event()
        self.fault = KillAt(write=2, moment=moment, kill=self._kill)
        self._writes = writes

    async def _kill(self) -> None:
        self.killed += 1

    async def settle(self) -> None:
        for number in range(1, self._writes + 1):
            try:
                answer = await self.fault(write(number), carried_out)
            except Exception:  # noqa: BLE001 - a cut connection, of a dead process
                break
            if answer.delivered is not None:
                await answer.delivered()
        if self.fault.label:
            await self.replaced.wait()

    async def replace_operator(self) -> None:
        self.replaced.set()


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_an_operator_killed_at_a_write_that_comes_when_the_user_is_content_is_replaced(moment: Moment) -> None:
    run = Resting(moment, writes=2)
    await asyncio.wait_for(play(run, content, run.fault), 10)
    assert (run.killed, run.replaced.is_set()) == (1, True)


async def test_an_operator_that_rests_before_the_write_is_left_alive() -> None:
    run = Resting("after", writes=1)
    await asyncio.wait_for(play(run, content, run.fault), 10)
    answer = await run.fault(write(2), carried_out)
    assert (run.killed, run.fault.label, answer.delivered) == (0, "", None)

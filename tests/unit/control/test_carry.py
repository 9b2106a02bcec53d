"""Stops go out together, and one that fails keeps no other back."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import cast

import pytest

from deepseek_operator.control.carry import carry_out
from deepseek_operator.control.client import ApiError, ConflictError, UnreachableError
from deepseek_operator.control.execute import Executor
from deepseek_operator.lifecycle.actions import Action, Delete, StopGroup
from deepseek_operator.lifecycle.records import DeploymentRecord

DEPLOYMENT = DeploymentRecord(
    name="x", namespace="default", uid="cr", generation=1, resource_version=1, deleting=False, spec={}, status={}
)
STOPS = tuple(StopGroup(name=f"x-g{index}", uid=f"sts-{index}", group=index, incarnation=1) for index in range(3))
AFTER = Delete(kind="Service", name="x-g3", uid="svc")


class Recording:
    """An executor whose stops are answered when all of them are on their way."""

    def __init__(self, failures: Mapping[str, Exception] | None = None, *, together: int = 0) -> None:
        self.done: list[str] = []
        self._failures = failures or {}
        self._on_their_way = asyncio.Barrier(together) if together else None

    async def run(self, _deployment: DeploymentRecord, action: Action) -> None:
        if self._on_their_way and isinstance(action, StopGroup):
            await self._on_their_way.wait()
        name = getattr(action, "name", "")
        if failure := self._failures.get(name):
            raise failure
        self.done.append(name)


def executor(recording: Recording) -> Executor:
    return cast("Executor", recording)


async def test_groups_that_fail_together_are_stopped_together_and_before_anything_else() -> None:
    recording = Recording(together=3)
    async with asyncio.timeout(10):
        carried = await carry_out(executor(recording), DEPLOYMENT, (*STOPS, AFTER), withheld=None)
    assert sorted(recording.done[:3]) == ["x-g0", "x-g1", "x-g2"]
    assert recording.done[3:] == ["x-g3"]
    assert carried.failure is None


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (ConflictError(409, "Conflict", "moved on"), ""),
        (ApiError(403, "Forbidden", "no"), "StopGroup: 403 Forbidden: no"),
    ],
)
async def test_a_stop_that_is_refused_keeps_nothing_back_and_is_tried_again(failure: ApiError, told: str) -> None:
    recording = Recording({"x-g1": failure})
    carried = await carry_out(executor(recording), DEPLOYMENT, (*STOPS, AFTER), withheld=None)
    assert recording.done == ["x-g0", "x-g2", "x-g3"]
    assert (carried.failure, carried.told) == (failure, told)


async def test_nothing_is_tried_after_the_stops_when_the_api_server_is_gone() -> None:
    recording = Recording({"x-g1": UnreachableError("gone")})
    with pytest.raises(UnreachableError):
        await carry_out(executor(recording), DEPLOYMENT, (*STOPS, AFTER), withheld=None)
    assert "x-g3" not in recording.done

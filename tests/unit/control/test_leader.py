"""The Lease: one replica acts, a dead one is followed, and nobody writes on an old claim."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from deepseek_operator.control import leader as leader_module
from deepseek_operator.control.client import KubeClient
from deepseek_operator.control.kinds import LEASE
from deepseek_operator.control.leader import LEASE_NAME, Elector, LeadershipLostError
from tests.unit.control.stand_in import StandIn

PATIENCE = 30


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same proportions as in production, a hundred times faster."""
    monkeypatch.setattr(leader_module, "RETRY_SECONDS", 0.02)


def elector(client: KubeClient, identity: str) -> Elector:
    return Elector(client, namespace="default", identity=identity)


def lease(server: StandIn) -> dict[str, Any]:
    spec: dict[str, Any] = server.find(LEASE, LEASE_NAME)["spec"]
    return spec


def held_by(server: StandIn, holder: str, *, seconds: int | None) -> None:
    spec = {"holderIdentity": holder, "leaseTransitions": 4, "acquireTime": "2020-01-01T00:00:00.000000Z"}
    if seconds is not None:
        spec["leaseDurationSeconds"] = seconds
    server.add(LEASE, {"metadata": {"name": LEASE_NAME, "namespace": "default"}, "spec": spec})


async def until(check: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not check():  # noqa: ASYNC110 - the condition lies in the stand-in
            await asyncio.sleep(0.005)


@asynccontextmanager
async def running(work: Awaitable[None]) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.ensure_future(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_the_first_replica_makes_the_lease_and_leads(server: StandIn, client: KubeClient) -> None:
    one = elector(client, "one")
    await one.acquire()
    assert one.leads
    assert (lease(server)["holderIdentity"], lease(server)["leaseDurationSeconds"]) == ("one", 15)
    assert server.writes == ["POST leases"]


async def test_the_second_replica_waits_while_the_first_renews(server: StandIn, client: KubeClient) -> None:
    one, two = elector(client, "one"), elector(client, "two")
    await one.acquire()
    async with running(one.hold()), running(two.acquire()) as waiting:
        await until(lambda: len(server.asked(f"PUT leases/{LEASE_NAME}")) >= 5)
        assert not waiting.done()
    assert (one.leads, two.leads) == (True, False)
    assert lease(server)["holderIdentity"] == "one"


async def test_renewing_keeps_the_time_of_acquisition(server: StandIn, client: KubeClient) -> None:
    one = elector(client, "one")
    await one.acquire()
    acquired, renewed = lease(server)["acquireTime"], lease(server)["renewTime"]
    async with running(one.hold()):
        await until(lambda: lease(server)["renewTime"] > renewed)
    assert (lease(server)["acquireTime"], lease(server)["leaseTransitions"]) == (acquired, 0)


async def test_a_released_lease_is_taken_at_once(server: StandIn, client: KubeClient) -> None:
    one, two = elector(client, "one"), elector(client, "two")
    await one.acquire()
    await one.release()
    assert (one.leads, lease(server)["holderIdentity"]) == (False, "")
    await asyncio.wait_for(two.acquire(), PATIENCE)
    assert two.leads
    assert (lease(server)["holderIdentity"], lease(server)["leaseTransitions"]) == ("two", 1)


async def test_a_dead_holder_is_followed_after_its_time_by_our_own_clock(server: StandIn, client: KubeClient) -> None:
    held_by(server, "dead", seconds=1)
    loop = asyncio.get_running_loop()
    started = loop.time()
    two = elector(client, "two")
    await asyncio.wait_for(two.acquire(), PATIENCE)
    assert loop.time() - started >= 1.0
    assert lease(server)["leaseTransitions"] == 5


async def test_a_holder_whose_clock_is_years_behind_is_alive_while_it_renews(
    server: StandIn, client: KubeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leader_module, "LEASE_SECONDS", 0.05)
    two = elector(client, "two")
    loop = asyncio.get_running_loop()
    started = loop.time()
    while loop.time() - started < 0.2:
        held_by(server, "slow clock", seconds=None)
        assert not await two._try()  # noqa: SLF001 - one attempt, without waiting
    await asyncio.wait_for(two.acquire(), PATIENCE)
    assert two.leads


async def test_a_lease_without_a_duration_lasts_the_usual_time(server: StandIn, client: KubeClient) -> None:
    held_by(server, "somebody", seconds=None)
    two = elector(client, "two")
    async with running(two.acquire()) as waiting:
        await until(lambda: len(server.requests) >= 5)
        assert not waiting.done()


async def test_two_that_start_together_do_not_both_lead(server: StandIn, client: KubeClient) -> None:
    electors = [elector(client, f"e{number}") for number in range(5)]
    took = await asyncio.gather(*(each._try() for each in electors))  # noqa: SLF001 - one attempt each
    assert sum(took) == 1
    assert sum(each.leads for each in electors) == 1


async def test_the_gate_closes_by_itself_when_nobody_renews(
    server: StandIn, client: KubeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leader_module, "RENEW_SECONDS", 0.2)
    one = elector(client, "one")
    await one.acquire()
    await until(lambda: not one.leads)


async def test_a_holder_that_cannot_renew_in_time_ends(
    server: StandIn, client: KubeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = elector(client, "one")
    await one.acquire()
    monkeypatch.setattr(leader_module, "RENEW_SECONDS", 0.3)
    for _ in range(10_000):
        server.fail_next("PUT", 500, "InternalError")
    with pytest.raises(LeadershipLostError, match="Lease default/deepseek-operator was not renewed"):
        await asyncio.wait_for(one.hold(), PATIENCE)
    assert not one.leads


async def test_one_failed_renewal_is_no_loss(server: StandIn, client: KubeClient) -> None:
    one = elector(client, "one")
    await one.acquire()
    server.fail_next("PUT", 500, "InternalError")
    server.fail_next("GET", 503, "ServiceUnavailable")
    async with running(one.hold()) as holding:
        await until(lambda: len(server.asked(f"PUT leases/{LEASE_NAME}")) >= 3)
        assert not holding.done()
    assert one.leads


async def test_a_holder_that_lost_the_lease_leaves_it_to_the_next(server: StandIn, client: KubeClient) -> None:
    one = elector(client, "one")
    await one.acquire()
    held_by(server, "two", seconds=15)
    await one.release()
    assert lease(server)["holderIdentity"] == "two"


async def test_whose_gate_has_closed_writes_nothing_more_not_even_a_release(
    server: StandIn, client: KubeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leader_module, "RENEW_SECONDS", 0.05)
    one = elector(client, "one")
    await one.acquire()
    await until(lambda: not one.leads)
    await one.release()
    assert server.writes == ["POST leases"]


async def test_who_never_led_may_not_write_and_releases_nothing(server: StandIn, client: KubeClient) -> None:
    one = elector(client, "one")
    assert not one.leads
    await one.release()
    assert server.requests == []


async def test_operators_that_hold_different_leases_both_lead(server: StandIn, client: KubeClient) -> None:
    one = elector(client, "one")
    other = Elector(client, namespace="default", identity="two", name="deepseek-operator-b")
    await one.acquire()
    async with asyncio.timeout(PATIENCE):
        await other.acquire()
    assert (one.leads, other.leads) == (True, True)
    assert server.find(LEASE, "deepseek-operator-b")["spec"]["holderIdentity"] == "two"

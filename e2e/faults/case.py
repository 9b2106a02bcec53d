"""One run of a scenario: undisturbed, or with the operator killed at one exact write and replaced by a new process."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Protocol, Self

from deepseek_operator.control import kinds
from deepseek_operator.control.leader import LEASE_NAME, LeadershipLostError
from e2e.cluster import ClusterError
from e2e.faults.api import Api
from e2e.faults.calls import Call
from e2e.faults.endstate import Objects, collect, difference, starts
from e2e.faults.mask import Mask
from e2e.faults.operators import Nursery, OperatorProcess
from e2e.faults.proxy import Proxy
from e2e.faults.rules import (
    Answer,
    Ask,
    Behaviour,
    CutError,
    Drop,
    LoseAnswer,
    Refuse,
    Rule,
    Twice,
    writes,
)
from e2e.faults.scenarios import Scenario, Step
from e2e.faults.user import User

Moment = Literal["before", "after", "409", "429", "500", "dropped", "lost", "twice"]
"""What happens at a write. Before, after: the API server has carried it out, and the operator is killed before or after
it learns of it. The others leave the operator alive: the write is refused, never arrives, its answer is lost, or it
arrives twice."""

KILLS: Final[tuple[Moment, ...]] = ("before", "after")
FAULTS: Final[dict[Moment, Behaviour]] = {
    "409": Refuse(409),
    "429": Refuse(429, retry_after=1),
    "500": Refuse(500),
    "dropped": Drop(),
    "lost": LoseAnswer(),
    "twice": Twice(),
}

QUIET_SECONDS: Final = 1.2
"""No write for so long, longer than the operator holds progress back: settled."""
KUBELET_SECONDS: Final = 0.5
"""Between two looks whether an operator has ended by itself."""
REPLACED_SECONDS: Final = 120.0
"""A write that has come must have ended the operator, and the next one must lead, within so long."""
NEXT_WRITE_SECONDS: Final = 0.3
"""How long an operator that learned of its write may think before it is killed; its next write ends it at once."""
EQUAL_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """What all cases share."""

    api: Api
    nursery: Nursery
    mask: Mask
    folder: Path
    new_proxy: Callable[[], Proxy]


@dataclass(frozen=True, slots=True, kw_only=True)
class Undisturbed:
    """What a scenario does when nobody is killed."""

    scenario: Scenario
    namespace: str
    writes: tuple[str, ...]
    text: str
    """The end state under the mask."""
    starts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of a case."""

    scenario: str
    write: int
    """0: killed before the user acted."""
    moment: Moment
    label: str
    """The write it was killed at; empty when the run ended before it came to that."""
    difference: str
    """From the undisturbed end state; empty when equal."""
    extra_starts: int
    seconds: float
    namespace: str
    lost_leases: int = 0

    @property
    def reached(self) -> bool:
        """Whether the operator was killed at all."""
        return bool(self.label)


class KillAt:
    """Kill the operator at its n-th write; nothing that it sends later reaches the API server."""

    def __init__(self, *, write: int, moment: Moment, kill: Callable[[], Awaitable[None]]) -> None:
        self.label = ""
        self.done = asyncio.Event()
        self._write = write
        self._moment = moment
        self._kill = kill
        self._disarmed = False
        self._ending: asyncio.Task[None] | None = None

    async def __call__(self, call: Call, ask: Ask, /) -> Answer:
        """Let earlier writes through, carry this one out, and stop later ones."""
        if self._disarmed:
            return await ask(call)
        if self._ending is not None or call.write > self._write:
            await self._end(wait=0.0)
            raise CutError
        if call.write == self._write:
            self.label = call.label
        answer = await ask(call)
        if call.write == self._write:
            if self._moment == "before":
                await self._end(wait=0.0)
                raise CutError
            answer.delivered = self._soon
        return answer

    def disarm(self) -> bool:
        """Kill nobody any more, unless the write has come already; whether it has not."""
        self._disarmed = not self.label
        return self._disarmed

    async def _soon(self) -> None:
        self._ending = asyncio.create_task(self._finish(NEXT_WRITE_SECONDS))

    async def _end(self, *, wait: float) -> None:
        if self._ending is not None:
            self._ending.cancel()
        self._ending = asyncio.create_task(self._finish(wait))
        await asyncio.shield(self._ending)

    async def _finish(self, wait: float) -> None:
        await asyncio.sleep(wait)
        await self._kill()
        self.done.set()


class OnceAt:
    """A fault at the n-th write, and at no other."""

    def __init__(self, *, write: int, behaviour: Behaviour) -> None:
        self.label = ""
        self.done = asyncio.Event()
        """Never: nobody is killed."""
        self._write = write
        self._behaviour = behaviour

    async def __call__(self, call: Call, ask: Ask, /) -> Answer:
        """Let the fault happen to the one write."""
        if call.write != self._write:
            return await ask(call)
        self.label = call.label
        return await self._behaviour(call, ask)

    def disarm(self) -> bool:
        """Nobody is killed."""
        return True


class Stage(Protocol):
    """What playing a scenario needs of its run."""

    user: User

    async def settle(self) -> None:
        """Return when all rests."""

    async def replace_operator(self) -> None:
        """Start an operator in the place of a dead one."""


class Run:
    """A namespace, its proxy and its operator, one process after the other."""

    def __init__(self, environment: Environment, scenario: Scenario) -> None:
        self.namespace = f"f-{uuid.uuid4().hex[:10]}"
        self.user = User(api=environment.api, namespace=self.namespace)
        self.proxy = environment.new_proxy()
        self.lost_leases = 0
        """Operators that ended since a busy machine kept them from renewing their Lease in time."""
        self._environment = environment
        self._scenario = scenario
        self._operator: OperatorProcess | None = None
        self._broken = ""
        """Why an operator ended by itself, when it should not have."""
        self._kubelet: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._kubelet = asyncio.create_task(self._as_a_kubelet())
        await self.proxy.start()
        return self

    async def prepare(self) -> None:
        """Bring about what the scenario begins with, and count writes from there."""
        await self.user.arrive()
        await self.start_operator()
        await self._scenario.prepare(self.user)
        await self.settle()
        self.proxy.writes = 0
        self.proxy.seen.clear()

    async def __aexit__(self, *_: object) -> None:
        if self._kubelet is not None:
            self._kubelet.cancel()
        await self.kill()
        await self.proxy.stop()
        await self.user.leave()

    @property
    def operator(self) -> OperatorProcess:
        """The operator started last."""
        if self._operator is None:
            raise ClusterError("no operator was started yet")
        return self._operator

    async def start_operator(self) -> None:
        """Start an operator and wait until it leads."""
        kubeconfig = self.proxy.write_kubeconfig(self._environment.folder / f"{self.namespace}.kubeconfig")
        self._operator = await self._environment.nursery.start(kubeconfig=kubeconfig, namespace=self.namespace)
        await self.user.wait("the operator leads", self._leads)

    async def kill(self) -> None:
        """SIGKILL the operator."""
        if self._operator is not None:
            await self._operator.kill()

    async def replace_operator(self) -> None:
        """A new process in the place of a killed one.

        The dead one's Lease is deleted: waiting until it expires (15 s) is another test, and would make this one
        take hours.
        """
        self.proxy.rules.clear()
        await self._environment.api.delete(kinds.LEASE, self.namespace, LEASE_NAME)
        await self.start_operator()

    async def settle(self) -> None:
        """Return when the operator has looked at everything and writes no more."""
        await self.user.wait("the operator settles", self._is_quiet)

    async def state(self) -> Objects:
        """What is in the namespace."""
        return await collect(self._environment.api, self.namespace)

    async def _leads(self) -> bool:
        operator = self.operator
        if operator.ended.is_set():
            raise ClusterError(f"the operator ended with {operator.status}:\n{operator.last_words}")
        return (await operator.metrics()).get("deepseek_operator_leader") == 1

    async def _as_a_kubelet(self) -> None:
        """Start an operator again that gave its Lease up; one that ended for anything else is the case's failure."""
        while not self._broken:
            await asyncio.sleep(KUBELET_SECONDS)
            ended = self._operator
            if ended is None or ended.killed or not ended.ended.is_set():
                continue
            if LeadershipLostError.__name__ not in ended.last_words:
                self._broken = f"the operator ended by itself with {ended.status}:\n{ended.last_words}"
                return
            self.lost_leases += 1
            try:
                await self.start_operator()
            except ClusterError as error:
                self._broken = f"started again after it gave its Lease up: {error}"

    async def _is_quiet(self) -> bool:
        if self._broken:
            raise ClusterError(self._broken)
        if time.monotonic() - self.proxy.last_write < QUIET_SECONDS:
            return False
        deployment = await self.user.deployment()
        if deployment is None:
            return True
        # Each group that serves is asked for its memory once, and the answer is one more write.
        groups = deployment.get("status", {}).get("groups", ())
        if any(group.get("ready") and "memory" not in group for group in groups):
            return False
        metrics = await self.operator.metrics()
        return (
            metrics.get("deepseek_operator_reconciles_total", 0) >= 1
            and metrics.get("deepseek_operator_queue_depth", 1) == 0
        )


async def undisturbed(environment: Environment, scenario: Scenario) -> Undisturbed:
    """Run a scenario without faults; its writes are what others are killed at."""
    async with Run(environment, scenario) as run:
        await run.prepare()
        await scenario.act(run.user)
        await run.settle()
        objects = await run.state()
        return Undisturbed(
            scenario=scenario,
            namespace=run.namespace,
            writes=tuple(seen.call.label for seen in run.proxy.seen if seen.call.write),
            text=environment.mask.text(objects, namespace=run.namespace),
            starts=starts(objects),
        )


async def killed(environment: Environment, wanted: Undisturbed, *, write: int, moment: Moment) -> Result:
    """Run a scenario, kill the operator at a write, start another and compare the end states."""
    began = time.monotonic()
    async with Run(environment, wanted.scenario) as run:
        fault: KillAt | OnceAt
        if moment in FAULTS:
            fault = OnceAt(write=write, behaviour=FAULTS[moment])
        else:
            fault = KillAt(write=write, moment=moment, kill=run.kill)
        told = ""
        objects: Objects = []
        try:
            await run.prepare()
            if write == 0:
                await run.kill()
                fault.label = "nothing yet"
                fault.done.set()
            else:
                run.proxy.rules.append(Rule(writes, fault))
            await play(run, wanted.scenario.act, fault)
            told, objects = await _compare(environment, run, wanted)
        except Exception as error:  # noqa: BLE001 - whatever went wrong is the case's result
            told = f"{type(error).__name__}: {error}"
        return Result(
            scenario=wanted.scenario.name,
            write=write,
            moment=moment,
            label=fault.label,
            difference=told,
            extra_starts=starts(objects) - wanted.starts if objects else 0,
            seconds=time.monotonic() - began,
            namespace=run.namespace,
            lost_leases=run.lost_leases,
        )


async def play(run: Stage, act: Step, fault: KillAt | OnceAt) -> None:
    """Do what the user does and see it settle; whenever the operator is dead, start the next.

    The last writes only tell of what users see already: whether one of them is the fault's is known when all rests,
    not when the user is content.
    """
    acting = asyncio.create_task(_act(run, act))
    replacing = asyncio.create_task(_replace(run, fault))
    try:
        await asyncio.wait((acting, replacing), return_when=asyncio.FIRST_COMPLETED)
        if replacing.done():
            await replacing
        await acting
        if not fault.disarm():
            await asyncio.wait_for(replacing, REPLACED_SECONDS)
    finally:
        acting.cancel()
        replacing.cancel()


async def _act(run: Stage, act: Step) -> None:
    await act(run.user)
    await run.settle()


async def _replace(run: Stage, fault: KillAt | OnceAt) -> None:
    await fault.done.wait()
    await run.replace_operator()


async def _compare(environment: Environment, run: Run, wanted: Undisturbed) -> tuple[str, Objects]:
    deadline = time.monotonic() + EQUAL_SECONDS
    while True:
        await run.settle()
        objects = await run.state()
        told = difference(environment.mask, wanted.text, objects, namespace=run.namespace)
        if not told or time.monotonic() > deadline:
            return told, objects
        await asyncio.sleep(0.5)

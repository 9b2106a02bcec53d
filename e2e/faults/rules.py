"""What goes wrong, when: a rule is a match and a behaviour, and rules wrap one another in their order.

A behaviour is a function of the call and of ``ask``, which gives the call to the next rule and at last to the API
server. What it answers, delays, repeats or never asks is the fault.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from e2e.faults.calls import Call

HOLD_POLL_SECONDS: Final = 0.02


class CutError(Exception):
    """The connection ends here, without an answer or in the middle of one."""


@dataclass(slots=True, kw_only=True)
class Answer:
    """What the client gets."""

    status: int
    headers: dict[str, str]
    body: bytes = b""
    events: AsyncIterator[bytes] | None = None
    """A watch stream, one JSON line an item, in the place of a body."""
    delivered: Callable[[], Awaitable[None]] | None = None
    """Awaited when the client has been given all of it."""


Ask = Callable[[Call], Awaitable[Answer]]


class Behaviour(Protocol):
    """What happens to a call that a rule matches."""

    async def __call__(self, call: Call, ask: Ask, /) -> Answer:
        """Answer the call; raises CutError to end the connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Which calls; an empty field matches all."""

    verbs: Collection[str] = ()
    resources: Collection[str] = ()
    namespace: str = ""
    name: str = ""

    def __call__(self, call: Call) -> bool:
        """Whether the call is meant."""
        return (
            bool(call.verb)
            and (not self.verbs or call.verb in self.verbs)
            and (not self.resources or call.resource in self.resources)
            and self.namespace in ("", call.namespace)
            and self.name in ("", call.name)
        )


def writes(call: Call) -> bool:
    """Match every numbered write."""
    return call.write > 0


@dataclass(slots=True)
class Rule:
    """A behaviour for the calls that match, all of them or from the `first` to the `last`, counted from 1."""

    matches: Callable[[Call], bool]
    behaviour: Behaviour
    first: int = 1
    last: int | None = None
    seen: int = 0
    """How many calls matched so far."""

    def applies(self, call: Call) -> bool:
        """Whether this call gets the behaviour; counts it."""
        if not self.matches(call):
            return False
        self.seen += 1
        return self.seen >= self.first and (self.last is None or self.seen <= self.last)


@dataclass(slots=True)
class FirstOfEach:
    """Match the first of alike calls (verb, resource and name) among those that another match takes."""

    of: Callable[[Call], bool]
    known: set[str] = field(default_factory=set)

    def __call__(self, call: Call) -> bool:
        """Whether this is the first such call."""
        if not self.of(call) or call.label in self.known:
            return False
        self.known.add(call.label)
        return True


@dataclass(frozen=True, slots=True)
class Delay:
    """The request waits before it reaches the API server."""

    seconds: float

    async def __call__(self, call: Call, ask: Ask, /) -> Answer:
        """Wait, then ask."""
        await asyncio.sleep(self.seconds)
        return await ask(call)


@dataclass(frozen=True, slots=True)
class Refuse:
    """The API server is never asked: an error answer in its name."""

    status: int
    reason: str = ""
    retry_after: int | None = None

    async def __call__(self, _call: Call, _ask: Ask, /) -> Answer:
        """Answer with a Status object."""
        headers = {"Content-Type": "application/json"}
        if self.retry_after is not None:
            headers["Retry-After"] = str(self.retry_after)
        return Answer(status=self.status, headers=headers, body=_status(self.status, self.reason))


class Drop:
    """The request is lost on its way: the API server never sees it."""

    async def __call__(self, _call: Call, _ask: Ask, /) -> Answer:
        """End the connection."""
        raise CutError


class LoseAnswer:
    """The API server carries the request out; its answer is lost."""

    async def __call__(self, call: Call, ask: Ask, /) -> Answer:
        """Ask, then end the connection."""
        await ask(call)
        raise CutError


class Twice:
    """The request arrives twice; the client sees the second answer."""

    async def __call__(self, call: Call, ask: Ask, /) -> Answer:
        """Ask twice."""
        await ask(call)
        return await ask(call)


class Hold:
    """The request stays on its way until it is released, whatever becomes of the client meanwhile."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.answers: list[Answer] = []
        self._released = threading.Event()

    def release(self) -> None:
        """Let what is held, and all that comes, go on."""
        self._released.set()

    async def __call__(self, call: Call, ask: Ask, /) -> Answer:
        """Wait for the release, then ask."""
        self.calls.append(call)
        while not self._released.is_set():  # noqa: ASYNC110 - released from another thread
            await asyncio.sleep(HOLD_POLL_SECONDS)
        answer = await ask(call)
        self.answers.append(answer)
        return answer


class OldLists:
    """A cache in front of the API server that stopped following it: from ``freeze`` on, lists are those of before.

    ``keep`` remembers what was listed until then, to be served by a later ``freeze``.
    """

    def __init__(self) -> None:
        self.frozen = False
        self.kept = False
        self.served = 0
        self._lists: dict[tuple[str, str], Answer] = {}

    def keep(self) -> None:
        """Remember no newer lists, but serve the truth for now."""
        self.kept = True

    def freeze(self) -> None:
        """Serve what was listed last, from now on."""
        self.frozen = True

    def thaw(self) -> None:
        """Serve the truth again."""
        self.frozen = False

    async def __call__(self, call: Call, ask: Ask, /) -> Answer:
        """Answer from the cache when frozen, else ask and remember."""
        key = (urlsplit(call.target).path, call.headers.get("Accept", ""))
        if self.frozen and key in self._lists:
            self.served += 1
            return self._lists[key]
        answer = await ask(call)
        if answer.status == 200 and not self.frozen and not self.kept:
            self._lists[key] = answer
        return answer


class Gone:
    """410 inside a watch stream, as the API server tells of a resourceVersion that it no longer has."""

    async def __call__(self, _call: Call, _ask: Ask, /) -> Answer:
        """A stream of one ERROR event."""
        line = json.dumps({"type": "ERROR", "object": json.loads(_status(410, "Expired"))}).encode() + b"\n"
        return Answer(status=200, headers={"Content-Type": "application/json"}, events=_these(line))


@dataclass(slots=True)
class Events:
    """A watch stream whose events pass through a filter: each line becomes any number of lines."""

    change: Callable[[dict[str, Any]], int]
    """How often an event is delivered: 0 swallows it, 2 repeats it."""
    swallowed: int = 0

    async def __call__(self, call: Call, ask: Ask, /) -> Answer:
        """Ask, and filter the stream."""
        answer = await ask(call)
        if answer.events is not None:
            answer.events = self._filter(answer.events)
        return answer

    async def _filter(self, events: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for line in events:
            times = self.change(json.loads(line))
            self.swallowed += times == 0
            for _ in range(times):
                yield line


def swallow(_event: dict[str, Any]) -> int:
    """Deliver nothing, bookmarks excepted: the stream looks alive."""
    return 1 if _event["type"] == "BOOKMARK" else 0


def repeat(_event: dict[str, Any]) -> int:
    """Deliver everything twice."""
    return 2


@dataclass(frozen=True, slots=True)
class CutStream:
    """A watch stream breaks after so many events."""

    events: int

    async def __call__(self, call: Call, ask: Ask, /) -> Answer:
        """Ask, and break the stream."""
        answer = await ask(call)
        if answer.events is not None:
            answer.events = self._some(answer.events)
        return answer

    async def _some(self, events: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        left = self.events
        async for line in events:
            if left == 0:
                raise CutError
            left -= 1
            yield line


async def _these(*lines: bytes) -> AsyncIterator[bytes]:
    for line in lines:
        yield line


def _status(code: int, reason: str) -> bytes:
    reasons = {409: "Conflict", 410: "Expired", 429: "TooManyRequests", 500: "InternalError", 503: "ServiceUnavailable"}
    return json.dumps(
        {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": "answered by the fault proxy",
            "reason": reason or reasons.get(code, "Unknown"),
            "code": code,
        }
    ).encode()

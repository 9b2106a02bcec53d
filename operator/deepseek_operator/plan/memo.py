"""Answers kept between plans: a thousand deployments on a hundred nodes ask the same few questions.

Only for pure functions of their key. A full memo is emptied, so that a catalogue that was replaced is let go.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Answer = TypeVar("Answer")


class Same:
    """An object as part of a key: equal to itself only, and kept alive, so that no other takes its identity."""

    __slots__ = ("_it",)

    def __init__(self, it: object) -> None:
        self._it = it

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self._it is other._it

    def __hash__(self) -> int:
        return id(self._it)


class Memo(Generic[Answer]):
    """At most ``size`` answers by key."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: dict[Hashable, Answer] = {}

    def of(self, key: Hashable, make: Callable[[], Answer]) -> Answer:
        """The answer for a key, made once."""
        found = self._kept.get(key)
        if found is None:
            if len(self._kept) >= self._size:
                self._kept.clear()
            found = self._kept[key] = make()
        return found

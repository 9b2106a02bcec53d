"""Texts cut to what the API server and the size of status allow; both count bytes, not letters."""

from __future__ import annotations

from collections.abc import Sequence

GAP = "…"
"""Stands for lines that were left out."""


def first_bytes(text: str, limit: int) -> str:
    """The text's first bytes in UTF-8, without half a letter at the end."""
    return text.encode()[:limit].decode(errors="ignore")


def last_lines(lines: Sequence[str], limit: int) -> tuple[str, ...]:
    """The last lines that fit in so many bytes; a first line before a gap, which tells most, stays if anything does."""
    head = tuple(lines[:2]) if len(lines) > 1 and lines[1] == GAP else ()
    room = limit - sum(map(_size, head))
    kept: list[str] = []
    for line in reversed(lines[len(head) :]):
        room -= _size(line)
        if room < 0:
            break
        kept.append(line)
    return (*head, *reversed(kept)) if kept else ()


def _size(line: str) -> int:
    return len(line.encode()) + 1

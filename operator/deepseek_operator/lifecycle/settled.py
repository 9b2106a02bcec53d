"""Groups whose objects were found to be as they should be: the same question is not worked out again.

Rendering a group and comparing it field by field costs milliseconds, and every event of one group asks about all groups
of its deployment. The answer depends on what is in a ``Question`` and on nothing else: what is rendered follows from
the revision and the rest, and what it is compared with are the hash and the fields that the objects carry.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from deepseek_operator.render.owner import Owner

REMEMBERED: Final = 5_000
"""Groups; each takes one to two kilobytes, most of them shared with the cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """All that a running group's objects are rendered from, and which objects there are."""

    owner: Owner
    index: int
    revision: str
    template_hash: str
    incarnation: int
    avoided_nodes: tuple[str, ...]
    open_for_drain: bool
    config: str
    children: tuple[tuple[str, str, bytes], ...]
    """What ``objects.difference`` reads of each object: its kind and hash, and the fields that are ours."""


_known: OrderedDict[Question, None] = OrderedDict()


def is_settled(question: Question) -> bool:
    """Whether nothing was to be done when this was asked before."""
    if question not in _known:
        return False
    _known.move_to_end(question)
    return True


def settle(question: Question) -> None:
    """Nothing is to be done."""
    _known[question] = None
    if len(_known) > REMEMBERED:
        _known.popitem(last=False)

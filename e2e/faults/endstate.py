"""What a run left in its namespace: every object that an operator or its children could have made there."""

from __future__ import annotations

import asyncio
import difflib
from typing import Any, Final

from deepseek_operator.control import kinds
from e2e.faults.api import Api
from e2e.faults.mask import Mask

KINDS: Final = (
    kinds.DEPLOYMENT,
    kinds.STATEFUL_SET,
    kinds.POD,
    kinds.SERVICE,
    kinds.NETWORK_POLICY,
    kinds.BUDGET,
    kinds.REVISION,
    kinds.SECRET,
    kinds.CLAIM,
)
DIFF_LINES: Final = 60

Objects = list[dict[str, Any]]


async def collect(api: Api, namespace: str) -> Objects:
    """All objects of the kinds in the namespace, and the volumes bound to its claims; Events are no state."""
    lists = await asyncio.gather(*(api.list(kind, namespace) for kind in KINDS), api.list(kinds.VOLUME))
    *own, volumes = lists
    bound = [volume for volume in volumes if volume["spec"].get("claimRef", {}).get("namespace") == namespace]
    return [item for items in (*own, bound) for item in items]


def starts(objects: Objects) -> int:
    """How many times groups were started, as status counts it."""
    return sum(
        group.get("incarnation", 0)
        for item in objects
        if item["kind"] == kinds.DEPLOYMENT.kind
        for group in item.get("status", {}).get("groups", ())
    )


def difference(mask: Mask, wanted: str, objects: Objects, *, namespace: str) -> str:
    """A unified diff from the undisturbed run's text to these objects; empty when they are equal."""
    found = mask.text(objects, namespace=namespace)
    if found == wanted:
        return ""
    lines = list(difflib.unified_diff(wanted.splitlines(), found.splitlines(), "undisturbed", "killed", n=3))
    more = [f"… {len(lines) - DIFF_LINES} more lines"] if len(lines) > DIFF_LINES else []
    return "\n".join([*(line.rstrip() for line in lines[:DIFF_LINES]), *more])

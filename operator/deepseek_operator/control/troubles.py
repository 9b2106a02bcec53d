"""Why pods do not come: Warning events of a workload, a Job or a pod, read while a group is stuck and only then.

What keeps pods from being created (Pod Security, a quota, a webhook) and containers from starting (sandbox, volumes)
stands in Events alone. They are read for the objects of groups that have not moved for a while, at most one list an
object every half minute; a settled cluster sees none.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from deepseek_operator.control import kinds
from deepseek_operator.control.client import ApiError, KubeClient, UnreachableError
from deepseek_operator.lifecycle.clock import moment
from deepseek_operator.lifecycle.masking import masked
from deepseek_operator.lifecycle.records import JobRecord, Snapshot

logger = logging.getLogger(__name__)

STUCK_SECONDS: Final = 15
"""A group that has been in a stage for so long may need an explanation."""
FRESH_SECONDS: Final = 30.0
"""An answer is good for so long."""
OBJECTS_LIMIT: Final = 4
"""Objects of one deployment that are asked about in one pass; their troubles are alike."""
MESSAGE_LIMIT: Final = 300
_STAGES: Final = frozenset({"Pending", "PullingImage", "FetchingWeights"})


class Troubles:
    """Explanations by UID, for as long as they are fresh."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client
        self._found: dict[str, tuple[float, str]] = {}

    def known(self, snapshot: Snapshot) -> Mapping[str, str]:
        """Explanations that were found, by the UID of the workload, Job or pod; empty when nothing is stuck."""
        stuck = _stuck(snapshot, now=self._client.clock.now())
        return {uid: self._found[uid][1] for uid in stuck if self._found.get(uid, (0.0, ""))[1]}

    async def ask(self, snapshot: Snapshot) -> bool:
        """Look for explanations of what is stuck and has none that is fresh; whether they changed."""
        now = time.monotonic()
        self._found = {uid: known for uid, known in self._found.items() if now - known[0] < 2 * FRESH_SECONDS}
        changed = False
        for uid in list(dict.fromkeys(_stuck(snapshot, now=self._client.clock.now())))[:OBJECTS_LIMIT]:
            asked, before = self._found.get(uid, (float("-inf"), ""))
            if now - asked < FRESH_SECONDS:
                continue
            self._found[uid] = (now, await self._ask(snapshot.deployment.namespace, uid))
            changed |= self._found[uid][1] != before
        return changed

    async def _ask(self, namespace: str, uid: str) -> str:
        latest: tuple[str, str] = ("", "")
        try:
            async for page in self._client.pages(kinds.EVENT, namespace=namespace, fields=f"regarding.uid={uid}"):
                for event in page["items"]:
                    if event.get("type") == "Warning":
                        latest = max(latest, (_seen(event), f"{event.get('reason', '')}: {event.get('note', '')}"))
        except (ApiError, UnreachableError) as error:
            logger.info("events of %s cannot be read: %s", uid, error)
        return masked(latest[1])[:MESSAGE_LIMIT]


def starting(status: Mapping[str, Any]) -> bool:
    """Whether a group is in a stage in which it may get stuck: it is looked at again."""
    return any(group.get("stage") in _STAGES for group in status.get("groups", ()))


def _stuck(snapshot: Snapshot, *, now: datetime) -> Iterator[str]:
    """UIDs of objects that should have moved on."""
    for group in snapshot.deployment.status.get("groups", ()):
        since = group.get("since")
        if group.get("stage") not in _STAGES or not since:
            continue
        if (now - moment(since)).total_seconds() < STUCK_SECONDS:
            continue
        if group["stage"] == "Pending" and (owner := snapshot.workloads.get(group["index"])):
            yield owner.uid
        pods = snapshot.pods.get(group["index"], ())
        if group["stage"] == "FetchingWeights" and not pods:
            # It waits for the Job of a shared claim.
            yield from (c.uid for c in snapshot.children.values() if isinstance(c, JobRecord) and not c.complete)
        for pod in pods:
            if pod.scheduled and pod.engine.state != "running":
                yield pod.uid


def _seen(event: Mapping[str, Any]) -> str:
    """When an event was last seen; events.k8s.io keeps it in one of three places."""
    series = event.get("series") or {}
    return str(series.get("lastObservedTime") or event.get("deprecatedLastTimestamp") or event.get("eventTime") or "")

"""Watches every pod of every case: ranks of two starts of a group must never exist at the same time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from deepseek_operator.api import names
from deepseek_operator.control import kinds
from e2e.faults.api import Api

Group = tuple[str, str, str]
"""Namespace, UID of the deployment, index."""


class Incarnations:
    """What the API server's own order of events shows."""

    def __init__(self) -> None:
        self.mixed: list[str] = []
        """One line for each time that two starts of a group had pods at once."""
        self.seen = 0
        self._pods: defaultdict[Group, dict[str, str]] = defaultdict(dict)

    async def follow(self, api: Api) -> None:
        """Watch for ever."""
        async for kind, pod in api.watch(kinds.POD, selector=names.UID_LABEL):
            if kind in ("ADDED", "MODIFIED", "DELETED"):
                self.take(kind, pod["metadata"])

    def take(self, kind: str, metadata: Mapping[str, Any]) -> None:
        """Take an event in."""
        labels = metadata["labels"]
        group = (str(metadata["namespace"]), labels[names.UID_LABEL], labels.get(names.GROUP_LABEL, ""))
        pods = self._pods[group]
        if kind == "DELETED":
            pods.pop(str(metadata["uid"]), None)
            return
        self.seen += kind == "ADDED"
        before = set(pods.values())
        pods[str(metadata["uid"])] = labels.get(names.INCARNATION_LABEL, "")
        now = set(pods.values())
        if len(now) > 1 and now != before:
            self.mixed.append(f"{metadata['namespace']} group {group[2]}: incarnations {', '.join(sorted(now))}")

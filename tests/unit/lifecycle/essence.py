"""What a deployment in memory has come to, so that two of them can be compared whatever their histories."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from tests.unit.lifecycle.pure_cluster import PureCluster

STATUS: Final = (
    *("replicas", "readyReplicas", "updatedReplicas", "selector", "nameTaken", "currentRevision"),
    *("plan", "engine", "hardware", "precision", "image"),
)
"""Fields of status that do not tell of history."""
ENTRY: Final = ("revision", "templateHash", "intent", "stage", "ready")
"""Of each group; times, incidents, restarts, incarnation and index are history."""
NOT_COMPARED: Final = {
    # Which of the indexes a group has: a scale down removes what does not serve first.
    r"\bx-g\d+": "x-gN",
    r'(/group": |"GROUP", "value": )"\d+"': r'\1"N"',
    # How often it was started.
    r'(/incarnation": )"\d+"': r'\1"N"',
    # Nodes that the group avoids since it failed there more than once.
    r'"matchFields": \[[^]]*\], |, "matchFields": \[[^]]*\]': "",
}


def essence(cluster: PureCluster) -> list[str]:
    """Status, conditions, groups and objects, without their history: one line each."""
    status = {key: value for key, value in cluster.status.items() if key in STATUS}
    conditions = [(each["type"], each["status"], each["reason"]) for each in cluster.status["conditions"]]
    groups = sorted(json.dumps([group.get(key) for key in ENTRY]) for group in cluster.status["groups"])
    # Of the stored revisions only the current one is due; earlier ones are kept to go back to.
    due = (
        body
        for (kind, name), body in cluster.objects.items()
        if kind != "ControllerRevision" or name.endswith(cluster.status["currentRevision"])
    )
    objects = sorted((_anonymous(body) for body in due), key=str)
    return [json.dumps(line, sort_keys=True) for line in (*status.items(), *conditions, *groups, *objects)]


def _anonymous(body: Mapping[str, Any]) -> Any:
    """An object without UIDs, versions and hashes of these."""
    kept = {key: value for key, value in body.items() if key not in ("metadata", "status", "revision")}
    labels, name = body["metadata"].get("labels", {}), body["metadata"]["name"]
    text = json.dumps([body["kind"], name, labels, kept], sort_keys=True)
    for pattern, constant in NOT_COMPARED.items():
        text = re.sub(pattern, constant, text)
    return json.loads(text)

"""Explanations are looked for where something is stuck, and nowhere else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

from deepseek_operator.control.client import KubeClient
from deepseek_operator.control.troubles import OBJECTS_LIMIT, Troubles
from deepseek_operator.lifecycle.preparation import preparation
from tests.unit.lifecycle.observed import later
from tests.unit.lifecycle.pure_cluster import PureCluster
from tests.unit.lifecycle.test_preparation import complete, job_of, shared

NOTE = 'FailedCreate: Error creating: pods "x-weights-1-" is forbidden: exceeded quota'


class Events:
    """The API server's events of one object, and whose were asked for."""

    def __init__(self, uid: str) -> None:
        self.clock = SimpleNamespace(now=lambda: later(3600))
        self.asked: list[str] = []
        self._uid = uid

    async def pages(self, _kind: object, *, namespace: str, fields: str) -> AsyncIterator[dict[str, Any]]:
        assert namespace == "default"
        self.asked.append(fields.removeprefix("regarding.uid="))
        reason, _, note = NOTE.partition(": ")
        found = [{"type": "Warning", "reason": reason, "note": note}] if self.asked[-1] == self._uid else []
        yield {"items": found}


def waiting(replicas: int = 1) -> tuple[PureCluster, str]:
    """Groups that wait for the Job of a shared claim, and its UID."""
    cluster = shared(replicas=replicas)
    cluster.settle()
    return cluster, job_of(cluster)["metadata"]["uid"]


async def test_why_the_job_of_weights_has_no_pod_is_told() -> None:
    cluster, uid = waiting()
    events = Events(uid)
    troubles = Troubles(cast("KubeClient", events))
    assert await troubles.ask(cluster.snapshot())
    snapshot = replace(cluster.snapshot(), troubles=troubles.known(cluster.snapshot()))
    assert preparation(snapshot, cluster.outcome()).message.endswith(f"has no pod yet: {NOTE}")


async def test_one_job_is_asked_about_once_however_many_groups_wait_for_it() -> None:
    cluster, uid = waiting(replicas=OBJECTS_LIMIT + 1)
    events = Events(uid)
    await Troubles(cast("KubeClient", events)).ask(cluster.snapshot())
    assert events.asked == [uid]


async def test_a_job_that_is_complete_is_not_asked_about() -> None:
    cluster, uid = waiting()
    complete(cluster)
    events = Events(uid)
    assert not await Troubles(cast("KubeClient", events)).ask(cluster.snapshot())
    assert events.asked == []

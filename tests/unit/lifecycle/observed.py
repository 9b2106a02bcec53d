"""Builders of what decisions see: a group's pods and StatefulSet, healthy unless told otherwise."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from deepseek_operator.catalog.operations.load import load_operations
from deepseek_operator.lifecycle.entries import GroupEntry, Member
from deepseek_operator.lifecycle.groups import Limits, Observed, StartWith
from deepseek_operator.lifecycle.policy import Shape, read_policy
from deepseek_operator.lifecycle.records import ContainerRecord, PodRecord, StatefulSetRecord

POLICY = read_policy(None)
NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
TARGET = StartWith(revision="r1", template_hash="t1")
OTHER = StartWith(revision="r2", template_hash="t2")


def limits(*, size: int = 2, spare_nodes: int = 0, startup_seconds: int = 3600, **changes: Any) -> Limits:
    return Limits(
        shape=Shape(size=size, spare_nodes=spare_nodes, startup_seconds=startup_seconds),
        policy=replace(POLICY, **changes),
        operations=load_operations(),
        seed="cr",
    )


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def pod(rank: int, *, group: int = 0, incarnation: int = 1, **changes: Any) -> PodRecord:
    serving = PodRecord(
        name=f"x-g{group}-{rank}",
        namespace="default",
        deployment="x",
        uid=f"uid-{group}-{rank}-{incarnation}",
        group=group,
        rank=rank,
        incarnation=incarnation,
        node=f"node-{rank}",
        phase="Running",
        phase_reason="",
        deleting=False,
        ready=True,
        scheduled=True,
        waiting_message="",
        fetching=False,
        init_reason="",
        engine=ContainerRecord(state="running", started=True),
    )
    return replace(serving, **changes)


def stateful_set(*, group: int = 0, replicas: int = 2, incarnation: int = 1, **changes: Any) -> StatefulSetRecord:
    running = StatefulSetRecord(
        kind="StatefulSet",
        namespace="default",
        name=f"x-g{group}",
        uid=f"sts-{group}",
        owner="cr",
        resource_version=1,
        desired_hash="",
        owned_fields=b"",
        group=group,
        replicas=replicas,
        current_replicas=replicas,
        observed=True,
        incarnation=incarnation,
        revision="r1",
        template_hash="t1",
        immutable_hash="i1",
    )
    return replace(running, **changes)


def entry(index: int = 0, **changes: Any) -> GroupEntry:
    return replace(
        GroupEntry(index=index, revision="r1", template_hash="t1", stage="Pending", since="2026-01-01T11:00:00Z"),
        **changes,
    )


def serving_entry(index: int = 0, **changes: Any) -> GroupEntry:
    members = tuple(Member(rank=rank, uid=f"uid-{index}-{rank}-1", node=f"node-{rank}") for rank in range(2))
    return replace(
        entry(index),
        members=members,
        ready=True,
        formed=True,
        stage="Serving",
        stable_since="2026-01-01T11:00:00Z",
        **changes,
    )


def seen(*pods: PodRecord, owner: StatefulSetRecord | None = None, dead: frozenset[str] = frozenset()) -> Observed:
    return Observed(workload=owner, pods=pods, dead_nodes=dead)

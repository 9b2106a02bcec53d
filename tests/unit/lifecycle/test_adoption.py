"""Status was lost: what visibly works goes on, anything else is restarted once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deepseek_operator.lifecycle.adoption import read_entries
from deepseek_operator.lifecycle.entries import GroupEntry, write_entries
from deepseek_operator.lifecycle.records import ContainerRecord, PodRecord, Snapshot, StatefulSetRecord
from tests.unit.lifecycle.observed import NOW, pod, serving_entry, stateful_set
from tests.unit.lifecycle.pure_cluster import serving


def adopted(*pods: PodRecord, owner: StatefulSetRecord | None = None) -> GroupEntry:
    snapshot = replace(_snapshot(), workloads={0: owner or stateful_set()}, pods={0: pods} if pods else {})
    (entry,) = read_entries(snapshot, now=NOW)
    return entry


def _snapshot() -> Snapshot:
    cluster = serving()
    cluster.status = {}
    return cluster.snapshot()


def test_a_group_that_visibly_serves_is_taken_over_as_it_is() -> None:
    entry = adopted(pod(0, incarnation=4), pod(1, incarnation=4), owner=stateful_set(incarnation=4))
    assert (entry.intent, entry.stage, entry.ready, entry.formed) == ("Run", "Serving", True, True)
    assert (entry.incarnation, entry.revision, entry.template_hash) == (4, "r1", "t1")
    assert [(member.rank, member.uid, member.node) for member in entry.members] == [
        (0, "uid-0-0-4", "node-0"),
        (1, "uid-0-1-4", "node-1"),
    ]
    assert entry.incidents == ()


DOUBTFUL: dict[str, tuple[list[PodRecord], StatefulSetRecord]] = {
    "a pod is missing": ([pod(0)], stateful_set()),
    "no pod at all": ([], stateful_set()),
    "it was stopped": ([], stateful_set(replicas=0, current_replicas=0)),
    "a rank is not ready": ([pod(0), pod(1, ready=False)], stateful_set()),
    "a rank is being deleted": ([pod(0), pod(1, deleting=True)], stateful_set()),
    "an engine was restarted": (
        [pod(0), pod(1, engine=ContainerRecord(state="running", started=True, restarts=1))],
        stateful_set(),
    ),
    "incarnations are mixed": ([pod(0), pod(1, incarnation=2)], stateful_set(incarnation=2)),
}


@pytest.mark.parametrize("case", DOUBTFUL)
def test_a_group_whose_ranks_may_not_belong_together_is_restarted_once(case: str) -> None:
    pods, owner = DOUBTFUL[case]
    entry = adopted(*pods, owner=owner)
    assert (entry.intent, entry.restarts, entry.not_before) == ("Stop", 0, "")
    assert (entry.incidents[0].reason, entry.incarnation) == ("StatusLost", owner.incarnation)


def test_what_status_knows_is_not_adopted_again() -> None:
    snapshot = _snapshot()
    known = serving_entry(restarts=3)
    deployment = replace(snapshot.deployment, status={"groups": write_entries([known])})
    entries = read_entries(
        replace(snapshot, deployment=deployment, workloads={0: stateful_set(), 5: stateful_set(group=5)}), now=NOW
    )
    assert entries[0] == known
    assert [(entry.index, entry.intent) for entry in entries] == [(0, "Run"), (5, "Stop")]


def test_a_serving_deployment_whose_status_was_wiped_goes_on_without_a_restart() -> None:
    cluster = serving(replicas=2)
    pods = list(cluster.pods)
    cluster.status = {}
    cluster.settle()
    assert cluster.pods == pods
    assert cluster.condition("Ready")["status"] == "True"

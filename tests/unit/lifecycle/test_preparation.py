"""Weights before a group: the Job of a shared claim, and what is told while weights are prepared."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from deepseek_operator.lifecycle.actions import DropLostClaims, StartGroup
from deepseek_operator.lifecycle.entries import Progress
from deepseek_operator.lifecycle.preparation import together
from deepseek_operator.lifecycle.records import ContainerRecord
from tests.unit.lifecycle.observed import later, pod
from tests.unit.lifecycle.pure_cluster import PureCluster, serving, told
from tests.unit.render.samples import H100_PLAN, RANK_WEIGHTS, SHARED_WEIGHTS

NOTHING = ContainerRecord()
GIB = 2**30


def shared(**fields: Any) -> PureCluster:
    """A deployment whose weights go to a shared claim."""
    cluster = PureCluster(**fields)
    cluster.plan = replace(H100_PLAN, weights=SHARED_WEIGHTS)
    return cluster


def job_of(cluster: PureCluster) -> dict[str, Any]:
    (job,) = [body for (kind, _), body in cluster.objects.items() if kind == "Job"]
    return job


def complete(cluster: PureCluster) -> None:
    job_of(cluster)["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}


def job_pod(cluster: PureCluster, **changes: Any) -> None:
    record = replace(
        pod(0), name="x-weights-1-abcde", uid="job-pod", deployment="", group=-1, rank=-1, node="cpu-0", engine=NOTHING
    )
    cluster.preparing = [replace(record, job=job_of(cluster)["metadata"]["name"], **changes)]


def test_no_rank_exists_before_the_job_of_a_shared_claim_is_complete() -> None:
    cluster = shared()
    cluster.settle()
    assert "StatefulSet" not in cluster.kinds()
    assert cluster.group()["stage"] == "FetchingWeights"
    condition = cluster.condition("WeightsReady")
    assert (condition["status"], condition["reason"]) == ("False", "FetchingWeights")
    complete(cluster)
    assert cluster.step().actions
    cluster.settle()
    assert cluster.condition("Ready")["status"] == "True"
    assert cluster.condition("WeightsReady")["status"] == "True"


@pytest.mark.parametrize("gang", ["none", "coscheduling"])
def test_while_groups_wait_for_weights_nothing_is_asked_for_twice(gang: str) -> None:
    cluster = shared(scheduling={"gang": gang})
    cluster.settle()
    assert cluster.step().actions == ()
    complete(cluster)
    made = {type(action).__name__ for action in cluster.step().actions}
    assert made == {"CreateOnce", "StartGroup"} | ({"EnsurePodGroup"} if gang != "none" else set())


def test_a_settled_cluster_with_a_complete_job_sees_no_more_writes() -> None:
    cluster = shared()
    cluster.settle()
    complete(cluster)
    cluster.settle()
    assert cluster.step().actions == ()


def test_progress_of_the_job_is_told_with_rate_and_time_left() -> None:
    cluster = shared()
    cluster.settle()
    job_pod(cluster, step="fetch-weights")
    cluster.progress = {
        "job-pod": Progress(
            phase="fetch", bytes_done=320 * GIB, bytes_total=640 * GIB, bytes_per_second=GIB, seconds_left=320
        )
    }
    cluster.decide()
    told_progress = cluster.group()["progress"]
    assert told_progress == {
        "phase": "fetch",
        "bytesDone": 320 * GIB,
        "bytesTotal": 640 * GIB,
        "bytesPerSecond": GIB,
        "secondsLeft": 320,
    }
    assert "cpu-0 fetches weights (320.0 of 640.0 GiB, 1024 MiB/s, 5 min left)" in cluster.group()["message"]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("error: hf://a/b: the hub has no such repository, or it is private (401); use a token", "HubRefused"),
        ("error: --revision nope: hf://a/b has no such revision; name a commit, branch or tag", "RevisionNotFound"),
        ("error: /models: no room left (No space left on device); free space", "DiskFull"),
        (
            "error: /models: 641.0 GiB are still to be written and 1 GiB stay free, but 600.0 GiB are missing",
            "DiskFull",
        ),
        ("error: /models: cannot be written (Read-only file system); mount it writable", "VolumeReadOnly"),
        ("error: s3://b/p: the store refuses these credentials (401 or 403); set them", "CredentialsRefused"),
        ("error: what nobody has seen before", "PreparationFailed"),
    ],
)
def test_a_failure_names_pod_node_words_and_remedy_and_goes_away_by_itself(words: str, reason: str) -> None:
    cluster = shared()
    cluster.settle()
    job_pod(cluster, step="fetch-weights", init_message=f"weights: 5 of 9 files\n{words}")
    cluster.decide()
    condition = cluster.condition("WeightsReady")
    assert (condition["status"], condition["reason"]) == ("False", reason)
    assert "(x-weights-1-abcde on cpu-0)" in condition["message"]
    assert words.removeprefix("error: ") in condition["message"]
    job_pod(cluster, step="fetch-weights")
    cluster.decide()
    assert cluster.condition("WeightsReady")["reason"] == "FetchingWeights"
    complete(cluster)
    cluster.settle()
    assert cluster.condition("Ready")["status"] == "True"


def test_a_rank_whose_weights_cannot_be_fetched_is_named_with_its_node() -> None:
    cluster = serving()
    cluster.break_rank(
        1, fetching=True, ready=False, engine=NOTHING, step="fetch-weights", init_message="error: /models: ENOSPC"
    )
    cluster.decide()
    condition = cluster.condition("WeightsReady")
    assert condition["reason"] == "DiskFull"
    assert condition["message"].startswith("rank 1 (x-g0-1 on node-1): /models: ENOSPC; ")


def test_a_missing_secret_is_told() -> None:
    cluster = serving()
    cluster.break_rank(
        0,
        fetching=True,
        ready=False,
        engine=NOTHING,
        step="fetch-weights",
        init_reason="CreateContainerConfigError",
        init_message='secret "hub" not found',
    )
    cluster.decide()
    assert 'secret "hub" not found' in cluster.condition("WeightsReady")["message"]


def test_a_serving_group_is_not_stopped_before_the_next_revisions_weights_are_there() -> None:
    cluster = serving()
    cluster.edit(revision="other")
    cluster.plan = replace(H100_PLAN, weights=replace(SHARED_WEIGHTS, revision="other", path="/models/v3/other"))
    for _ in range(3):
        assert not any(line.startswith("stop") for line in told(cluster.step().actions))
        cluster.controllers()
    assert cluster.condition("Available")["status"] == "True"
    complete(cluster)
    cluster.settle()
    assert cluster.group()["incarnation"] == 2
    assert cluster.condition("Ready")["status"] == "True"


def test_a_changed_job_replaces_the_one_before() -> None:
    cluster = shared()
    cluster.settle()
    before = job_of(cluster)["metadata"]["name"]
    cluster.edit(weights={"tokenSecret": {"name": "hub"}})
    cluster.settle()
    assert job_of(cluster)["metadata"]["name"] != before


def test_a_suspended_deployment_fetches_nothing() -> None:
    cluster = shared(suspend=True)
    cluster.settle()
    assert "Job" not in cluster.kinds()


def test_a_running_incarnation_is_left_alone_when_its_job_is_deleted_and_the_job_comes_back() -> None:
    cluster = shared()
    cluster.settle()
    complete(cluster)
    cluster.settle()
    del cluster.objects["Job", job_of(cluster)["metadata"]["name"]]
    actions = told(cluster.step().actions)
    assert [line for line in actions if "Job" in line] == actions
    assert cluster.group()["stage"] == "Serving"


def test_a_rank_that_fetches_half_an_hour_longer_than_the_others_holds_all_and_is_no_incident() -> None:
    cluster = serving()
    cluster.edit(restartedAt="2026-01-02T00:00:00Z")
    cluster.step()
    cluster.controllers()
    cluster.step()
    cluster.controllers()
    begun = "2026-01-01T12:00:00Z"
    waits = ContainerRecord(state="running", since=begun)
    cluster.break_rank(0, ready=False, engine=waits, created=begun)
    cluster.break_rank(
        1, ready=False, phase="Pending", fetching=True, step="fetch-weights", engine=NOTHING, created=begun
    )
    for minutes in (1, 10, 30, 45):
        cluster.now = later(60 * minutes)
        cluster.step()
        assert cluster.group()["stage"] == "FetchingWeights", minutes
        assert cluster.group().get("incidents", []) == []
    cluster.break_rank(1, phase="Running", fetching=False, step="", engine=replace(waits, since="2026-01-01T12:45:00Z"))
    cluster.step()
    assert cluster.group()["stage"] == "Rendezvous"
    assert cluster.group().get("incidents", []) == []


def test_claims_on_nodes_that_may_be_gone_are_looked_after_before_a_later_start() -> None:
    cluster = PureCluster()
    cluster.plan = replace(H100_PLAN, weights=RANK_WEIGHTS)
    first = cluster.step().actions
    assert any(isinstance(action, StartGroup) for action in first)
    assert not any(isinstance(action, DropLostClaims) for action in first)
    cluster.settle()
    cluster.dead_nodes = frozenset({"node-1"})
    cluster.step()
    cluster.pods = []
    cluster.controllers()
    cluster.dead_nodes = frozenset()
    actions = cluster.step().actions
    (drop,) = [action for action in actions if isinstance(action, DropLostClaims)]
    assert drop.claims == ("deepseek-weights-x-g0-0", "deepseek-weights-x-g0-1")
    assert drop.lost_nodes == ("node-1",)
    assert actions.index(drop) < [isinstance(action, StartGroup) for action in actions].index(True)


def test_progress_of_several_ranks_adds_up_and_the_slowest_tells_the_time() -> None:
    quick = Progress(phase="read", bytes_done=9, bytes_total=10, bytes_per_second=5, seconds_left=1)
    slow = Progress(phase="fetch", bytes_done=1, bytes_total=10, bytes_per_second=1, seconds_left=9)
    assert together([quick, slow]) == Progress(
        phase="fetch", bytes_done=10, bytes_total=20, bytes_per_second=6, seconds_left=9
    )
    assert together([quick, replace(slow, seconds_left=None)]).seconds_left is None  # type: ignore[union-attr]
    assert together([]) is None

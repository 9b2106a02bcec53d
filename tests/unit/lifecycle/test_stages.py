"""How far a group is, and which rank it waits for."""

from __future__ import annotations

import pytest

from deepseek_operator.lifecycle.records import ContainerRecord, PodRecord
from deepseek_operator.lifecycle.stages import stage_of
from tests.unit.lifecycle.observed import pod

NOTHING = ContainerRecord()
CREATING = ContainerRecord(state="waiting", reason="ContainerCreating")


def waiting(reason: str, message: str = "") -> ContainerRecord:
    return ContainerRecord(state="waiting", reason=reason, message=message)


def starting(rank: int, *, started: bool = False) -> PodRecord:
    return pod(rank, ready=False, engine=ContainerRecord(state="running", started=started))


UNPLACED = pod(1, scheduled=False, node="", ready=False, waiting_message="0/2 nodes: 2 Insufficient nvidia.com/gpu")

CASES: dict[str, tuple[list[PodRecord], tuple[str, str]]] = {
    "no pod at all": ([], ("Pending", "waiting for the pods of ranks 0, 1")),
    "one pod of two": ([pod(0)], ("Pending", "waiting for the pods of ranks 1")),
    "a rank without a node tells the scheduler's words": (
        [pod(0), UNPLACED],
        ("WaitingForNodes", "ranks 1: 0/2 nodes: 2 Insufficient nvidia.com/gpu"),
    ),
    "a rank the scheduler has not looked at": (
        [pod(0), pod(1, scheduled=False, waiting_message="")],
        ("WaitingForNodes", "ranks 1: not scheduled yet"),
    ),
    "an image that cannot be pulled is named, not waited for in silence": (
        [pod(0), pod(1, ready=False, engine=waiting("ImagePullBackOff"))],
        ("PullingImage", "rank 1: ImagePullBackOff"),
    ),
    "so is that of the init container": (
        [pod(0), pod(1, ready=False, fetching=True, init_reason="ErrImagePull", engine=NOTHING)],
        ("PullingImage", "rank 1: ErrImagePull"),
    ),
    "a missing Secret keeps a container from being made": (
        [pod(0), pod(1, ready=False, engine=waiting("CreateContainerConfigError", 'secret "k" not found'))],
        ("Failed", 'rank 1: CreateContainerConfigError secret "k" not found'),
    ),
    "weights are fetched": (
        [pod(0, fetching=True, engine=NOTHING), pod(1, fetching=True, engine=NOTHING)],
        ("FetchingWeights", "ranks 0, 1: fetching or checking weights"),
    ),
    "one rank has its weights, the other not": (
        [starting(0), pod(1, fetching=True, engine=NOTHING)],
        ("FetchingWeights", "ranks 1: fetching or checking weights"),
    ),
    "a container is being made": (
        [starting(0), pod(1, ready=False, engine=CREATING)],
        ("PullingImage", "ranks 1: container not started yet"),
    ),
    "a worker has not joined": ([starting(0), starting(1)], ("Rendezvous", "ranks 1: not joined yet")),
    "all have joined, the leader loads": ([starting(0), starting(1, started=True)], ("Loading", "loading weights")),
    "loaded, not yet ready": (
        [starting(0, started=True), pod(1)],
        ("Warming", "ranks 0: not ready"),
    ),
    "all ready": ([pod(0), pod(1)], ("Serving", "")),
}


@pytest.mark.parametrize("case", CASES)
def test_stage(case: str) -> None:
    pods, expected = CASES[case]
    assert stage_of(pods, size=2) == expected


def test_a_group_of_one_node_has_no_rendezvous() -> None:
    assert stage_of([starting(0)], size=1) == ("Loading", "loading weights")

"""Status as a user and their scripts read it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from deepseek_operator.api.problems import Problem
from deepseek_operator.api.status import CONDITION_TYPES, Status
from deepseek_operator.lifecycle.records import ContainerRecord
from deepseek_operator.lifecycle.status import build_status
from deepseek_operator.plan.types import Candidate
from tests.unit.lifecycle.observed import TARGET
from tests.unit.lifecycle.pure_cluster import PureCluster, serving
from tests.unit.lifecycle.test_entries import size, worst

INVALID = (Problem(field="spec.x", reason="InvalidField", message="wrong; set it to 1"),)


def fresh(**fields: Any) -> PureCluster:
    cluster = PureCluster(**fields)
    cluster.decide()
    return cluster


def refused(*, waits: bool) -> PureCluster:
    cluster = PureCluster()
    cluster.refuse(waits_for_cluster=waits)
    cluster.decide()
    return cluster


def serving_then_refused() -> PureCluster:
    cluster = serving()
    cluster.refuse()
    cluster.decide()
    return cluster


def invalid() -> PureCluster:
    cluster = PureCluster()
    cluster.invalid = INVALID
    cluster.decide()
    return cluster


def taken() -> PureCluster:
    cluster = PureCluster()
    cluster.name_taken = ("Service", "x")
    cluster.decide()
    return cluster


def suspended() -> PureCluster:
    cluster = serving()
    cluster.edit(suspend=True)
    cluster.settle()
    return cluster


def half() -> PureCluster:
    cluster = serving(replicas=2)
    cluster.break_rank(1, group=1, ready=False)
    cluster.decide()
    return cluster


def rolling() -> PureCluster:
    cluster = serving(replicas=2)
    cluster.edit(replicas=2, servedName="other")
    cluster.step()
    return cluster


def scaled_to_zero() -> PureCluster:
    cluster = serving()
    cluster.edit(replicas=0)
    cluster.settle()
    return cluster


STATES: dict[str, tuple[Callable[[], PureCluster], str]] = {
    "new": (
        fresh,
        (
            "Ready=False/Pending Available=False/NoGroupServes Reconciling=True/Progressing Stalled=False/NotStalled "
            "Accepted=True/Accepted Planned=True/Planned WeightsReady=Unknown/NotStarted "
            "GroupsReady=False/NotAllServing NetworkIsolated=False/PolicyMissing"
        ),
    ),
    "serving": (
        serving,
        (
            "Ready=True/Serving Available=True/Serving Reconciling=False/Settled Stalled=False/NotStalled "
            "Accepted=True/Accepted Planned=True/Planned WeightsReady=True/OnNodes GroupsReady=True/AllServing "
            "NetworkIsolated=True/PolicyApplied"
        ),
    ),
    "one of two serves": (
        half,
        (
            "Ready=False/Warming Available=True/Serving Reconciling=True/Progressing Stalled=False/NotStalled "
            "Accepted=True/Accepted Planned=True/Planned WeightsReady=True/OnNodes "
            "GroupsReady=False/NotAllServing NetworkIsolated=True/PolicyApplied"
        ),
    ),
    "rolling out": (
        rolling,
        (
            "Ready=False/Draining Available=True/Serving Reconciling=True/Progressing Stalled=False/NotStalled "
            "Accepted=True/Accepted Planned=True/Planned WeightsReady=True/OnNodes "
            "GroupsReady=False/NotAllServing NetworkIsolated=True/PolicyApplied"
        ),
    ),
    "suspended": (
        suspended,
        (
            "Ready=False/Suspended Available=False/NoGroupServes Reconciling=False/Settled Stalled=False/NotStalled "
            "Accepted=True/Accepted Planned=True/Planned WeightsReady=Unknown/NotStarted "
            "GroupsReady=False/NotAllServing NetworkIsolated=True/PolicyApplied"
        ),
    ),
    "scaled to zero": (
        scaled_to_zero,
        (
            "Ready=True/ScaledToZero Available=False/NoGroupServes Reconciling=False/Settled Stalled=False/NotStalled "
            "Accepted=True/Accepted Planned=True/Planned WeightsReady=Unknown/NotStarted GroupsReady=True/AllServing "
            "NetworkIsolated=True/PolicyApplied"
        ),
    ),
    "waiting for nodes that may come": (
        lambda: refused(waits=True),
        (
            "Ready=False/HeadsNotDivisible Available=False/NoGroupServes Reconciling=True/Progressing "
            "Stalled=False/NotStalled Accepted=True/Accepted Planned=False/HeadsNotDivisible "
            "WeightsReady=Unknown/NotPlanned GroupsReady=False/NotAllServing NetworkIsolated=Unknown/NotPlanned"
        ),
    ),
    "refused for good": (
        lambda: refused(waits=False),
        (
            "Ready=False/HeadsNotDivisible Available=False/NoGroupServes Reconciling=False/Settled "
            "Stalled=True/HeadsNotDivisible Accepted=False/HeadsNotDivisible Planned=False/HeadsNotDivisible "
            "WeightsReady=Unknown/NotPlanned GroupsReady=False/HeadsNotDivisible NetworkIsolated=Unknown/NotPlanned"
        ),
    ),
    "unreadable": (
        invalid,
        (
            "Ready=False/InvalidField Available=False/NoGroupServes Reconciling=False/Settled "
            "Stalled=True/InvalidField Accepted=False/InvalidField Planned=False/InvalidField "
            "WeightsReady=Unknown/NotPlanned GroupsReady=False/InvalidField NetworkIsolated=Unknown/NotPlanned"
        ),
    ),
    "refused while serving": (
        serving_then_refused,
        (
            "Ready=False/HeadsNotDivisible Available=True/Serving Reconciling=False/Settled "
            "Stalled=True/HeadsNotDivisible Accepted=False/HeadsNotDivisible Planned=False/HeadsNotDivisible "
            "WeightsReady=Unknown/NotPlanned GroupsReady=False/HeadsNotDivisible NetworkIsolated=Unknown/NotPlanned"
        ),
    ),
    "a name is taken": (
        taken,
        (
            "Ready=False/NameTaken Available=False/NoGroupServes Reconciling=False/Settled Stalled=True/NameTaken "
            "Accepted=True/Accepted Planned=True/Planned WeightsReady=Unknown/NotStarted GroupsReady=False/NameTaken "
            "NetworkIsolated=False/PolicyMissing"
        ),
    ),
}


@pytest.mark.parametrize("state", STATES)
def test_conditions_of(state: str) -> None:
    make, expected = STATES[state]
    cluster = make()
    # What is reported, and which flaws are known, have tests of their own (test_reported, test_runtime, test_devices).
    elsewhere = {"FabricReady", "MemoryAsPlanned", "RuntimeSupported", "DevicesHealthy"}
    told = [c for c in cluster.status["conditions"] if c["type"] not in elsewhere]
    conditions = [f"{c['type']}={c['status']}/{c['reason']}" for c in told]
    assert conditions == expected.split()
    assert sorted(c["type"] for c in cluster.status["conditions"]) == sorted(CONDITION_TYPES)
    Status.model_validate(json.loads(json.dumps(cluster.status)))


def test_counts_are_of_groups_that_are_wanted() -> None:
    cluster = serving(replicas=3)
    cluster.edit(replicas=2)
    cluster.step()
    assert [cluster.status[key] for key in ("replicas", "readyReplicas", "updatedReplicas")] == [2, 2, 2]
    assert len(cluster.status["groups"]) == 3


def test_updated_groups_are_those_of_the_current_revision() -> None:
    cluster = rolling()
    assert (cluster.status["updatedReplicas"], cluster.status["readyReplicas"]) == (0, 1)


def test_the_selector_counts_leaders() -> None:
    assert fresh().status["selector"] == "serving.deepseek-operator.io/uid=cr,apps.kubernetes.io/pod-index=0"


def test_what_the_last_accepted_spec_chose_stays_visible_after_a_refused_edit() -> None:
    cluster = serving()
    before = cluster.status
    cluster.refuse()
    cluster.decide()
    for field in ("plan", "engine", "hardware", "precision", "image", "currentRevision"):
        assert cluster.status[field] == before[field]


def test_status_speaks_of_the_generation_it_has_seen() -> None:
    cluster = serving()
    cluster.edit(servedName="other")
    cluster.decide()
    assert cluster.status["observedGeneration"] == cluster.generation == 2


def test_a_stall_says_whether_requests_are_still_answered() -> None:
    assert serving_then_refused().condition("Stalled")["message"].endswith("The deployment is still available.")
    assert refused(waits=False).condition("Stalled")["message"].endswith("The deployment is not available.")


def test_a_refusal_names_field_and_remedy_wherever_it_is_told() -> None:
    cluster = refused(waits=False)
    for kind in ("Accepted", "Planned", "Ready", "Stalled"):
        assert "spec.parallelism.tensor: use tensor 8 or 16" in cluster.condition(kind)["message"]


def test_ready_names_the_group_and_the_rank_it_waits_for() -> None:
    assert half().condition("Ready")["message"] == "group 1: Warming ranks 1: not ready"


def test_fetching_is_told_with_the_number_of_ranks() -> None:
    cluster = serving()
    for rank in range(2):
        cluster.break_rank(rank, fetching=True, ready=False, engine=ContainerRecord())
    cluster.decide()
    condition = cluster.condition("WeightsReady")
    assert (condition["status"], condition["reason"]) == ("False", "FetchingWeights")
    assert condition["message"].startswith("2 ranks")


def test_nodes_that_are_yet_to_come_are_told() -> None:
    cluster = PureCluster()
    cluster.plan = replace(cluster.plan, hardware=replace(cluster.plan.hardware, nodes=()))
    cluster.decide()
    assert cluster.condition("Planned")["reason"] == "NodesExpected"


def test_policies_do_not_protect_the_hosts_network() -> None:
    cluster = PureCluster()
    cluster.plan = replace(cluster.plan, fabric=replace(cluster.plan.fabric, mode="host"))
    cluster.decide()
    assert (cluster.condition("NetworkIsolated")["status"], cluster.condition("NetworkIsolated")["reason"]) == (
        "False",
        "HostNetwork",
    )


def test_printer_columns_have_their_values() -> None:
    status = fresh().status
    assert (status["engine"], status["hardware"], status["precision"]) == (
        "sglang 0.5.23",
        "2x8 NVIDIA-H100-80GB-HBM3",
        "fp8",
    )
    assert status["plan"]["memFraction"] == "0.88"


@pytest.mark.parametrize("letter", ["x", "\u6f22"], ids=["ascii", "three bytes a letter"])
def test_all_of_status_stays_below_64_kib_at_64_failed_groups_of_four_ranks(letter: str) -> None:
    cluster = PureCluster(replicas=64)
    considered = tuple(
        Candidate(product=f"NVIDIA-{n}", nodes_per_group=4, verdict="refused", reason="r" * 300) for n in range(16)
    )
    cluster.plan = replace(cluster.plan, considered=considered, warnings=("w" * 200,) * 8)
    entries = [replace(worst(index, letter=letter), ready=False) for index in range(64)]
    status = build_status(cluster.snapshot(), cluster.outcome(), entries, target=TARGET, time="2026-01-01T12:00:00Z")
    assert size(status) < 64 * 1024
    Status.model_validate(status)


def test_the_plans_reasons_are_bounded() -> None:
    cluster = PureCluster()
    candidate = Candidate(product="p", nodes_per_group=1, verdict="refused", reason="r" * 9000)
    cluster.plan = replace(cluster.plan, considered=(candidate,) * 40, warnings=("w" * 9000,) * 40)
    cluster.decide()
    assert len(cluster.status["plan"]["considered"]) == 16
    assert size(cluster.status["plan"]) < 20 * 1024


def test_isolation_is_claimed_when_every_groups_policy_exists_and_not_before() -> None:
    cluster = serving()
    assert cluster.condition("NetworkIsolated")["status"] == "True"
    del cluster.objects["NetworkPolicy", "x-g0"]
    cluster.decide()
    missing = cluster.condition("NetworkIsolated")
    assert (missing["status"], missing["reason"]) == ("False", "PolicyMissing")
    assert "x-g0" in missing["message"]


def test_a_write_that_failed_is_told_until_it_succeeds() -> None:
    cluster = serving()
    snapshot = replace(cluster.snapshot(), troubles={"cr": "Service x: 422 Invalid: no"})
    status = build_status(snapshot, cluster.outcome(), (), target=TARGET, time="2026-01-01T12:00:00Z")
    told = next(c for c in status["conditions"] if c["type"] == "Reconciling")
    assert (told["status"], told["reason"], told["message"]) == ("True", "ApplyFailed", "Service x: 422 Invalid: no")


def test_a_taken_name_is_kept_in_status_as_long_as_it_is_taken() -> None:
    cluster = taken()
    assert cluster.status["nameTaken"] == {"kind": "Service", "name": "x"}
    cluster.name_taken = None
    cluster.decide()
    assert "nameTaken" not in cluster.status


def test_a_revision_that_has_served_is_remembered_across_restarts_of_the_group() -> None:
    cluster = PureCluster()
    cluster.decide()
    assert cluster.status["servedRevisions"] == []
    cluster = serving()
    revision = cluster.status["currentRevision"]
    assert cluster.status["servedRevisions"] == [revision]
    cluster.break_rank(1, engine=ContainerRecord(state="terminated", exit_code=1))
    for _ in range(3):
        cluster.step()
        assert cluster.status["servedRevisions"] == [revision]
        cluster.controllers()


def test_the_latest_ten_served_revisions_are_remembered() -> None:
    cluster = serving()
    for number in range(11):
        cluster.edit(servedName=f"name-{number}")
        cluster.settle()
    assert len(cluster.status["servedRevisions"]) == 10
    assert cluster.status["servedRevisions"][-1] == cluster.status["currentRevision"]
    Status.model_validate(json.loads(json.dumps(cluster.status)))

"""What may last only so long, and what follows when it lasts longer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deepseek_operator.lifecycle.groups import advance
from deepseek_operator.lifecycle.records import ContainerRecord, PodRecord
from tests.unit.lifecycle.observed import NOW, TARGET, entry, later, limits, pod, seen, serving_entry, stateful_set

BEGUN = "2026-01-01T12:00:00Z"


def running(rank: int, *, started: bool = False) -> PodRecord:
    return pod(rank, ready=False, engine=ContainerRecord(state="running", started=started, since=BEGUN))


def waiting(rank: int) -> PodRecord:
    return pod(rank, ready=False, scheduled=False, node="", created=BEGUN, engine=ContainerRecord())


PLACED = pod(0, ready=False, created=BEGUN, engine=ContainerRecord(state="waiting"))
FORMED = serving_entry()
CASES = {
    # what lasts: entry, pods, seconds until it is too long, reason
    "half the pods found no node": (entry(), (PLACED, waiting(1)), 600 * 1.5, "HoldTimeout"),
    "a rank does not join": (entry(), (running(0), running(1)), 900, "RendezvousTimeout"),
    "the model does not load": (
        entry(),
        (running(0), running(1, started=True)),
        3600,
        "StartupDeadlineExceeded",
    ),
    "a leader that served hangs": (FORMED, (pod(0, ready=False, ready_changed=BEGUN), pod(1)), 300, "RankUnready"),
    "a worker that served hangs": (FORMED, (pod(0), pod(1, ready=False, ready_changed=BEGUN)), 300, "RankUnready"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_lasts_too_long_ends_the_incarnation(case: str) -> None:
    before, pods, seconds, reason = CASES[case]
    observed = seen(*pods, owner=stateful_set())
    in_time = advance(
        before, observed, limits=limits(), start_with=TARGET, suspended=False, now=later(min(seconds, 600) - 1)
    )
    assert in_time.intent == "Run"
    late = advance(before, observed, limits=limits(), start_with=TARGET, suspended=False, now=later(seconds + 1))
    assert (late.intent, late.incidents[0].reason) == ("Stop", reason)
    assert late.incidents[0].rank is not None


def test_a_group_without_any_node_holds_nothing_and_waits() -> None:
    observed = seen(waiting(0), waiting(1), owner=stateful_set())
    after = advance(entry(), observed, limits=limits(), start_with=TARGET, suspended=False, now=later(86_400))
    assert (after.intent, after.stage) == ("Run", "WaitingForNodes")


def test_letting_nodes_go_costs_no_restart_and_waits_with_jitter() -> None:
    after = advance(
        entry(),
        seen(PLACED, waiting(1), owner=stateful_set()),
        limits=limits(),
        start_with=TARGET,
        suspended=False,
        now=later(1000),
    )
    assert after.restarts == 0
    assert later(1600).isoformat()[:19] <= after.not_before[:19] <= later(2200).isoformat()[:19]


def test_a_rank_that_fetches_weights_for_hours_is_no_incident() -> None:
    fetching = pod(1, ready=False, fetching=True, phase="Pending", created=BEGUN, engine=ContainerRecord())
    observed = seen(running(0), fetching, owner=stateful_set())
    after = advance(entry(), observed, limits=limits(), start_with=TARGET, suspended=False, now=later(20_000))
    assert (after.intent, after.stage) == ("Run", "FetchingWeights")


def test_the_deadlines_of_the_spec_are_kept() -> None:
    observed = seen(running(0), running(1, started=True), owner=stateful_set())
    short = limits(startup_deadline=100)
    after = advance(entry(), observed, limits=short, start_with=TARGET, suspended=False, now=later(230))
    assert "100 s" in after.incidents[0].message
    patient = limits(unready_after=5000)
    hung = seen(pod(0, ready=False, ready_changed=BEGUN), pod(1), owner=stateful_set())
    assert advance(FORMED, hung, limits=patient, start_with=TARGET, suspended=False, now=later(4000)).intent == "Run"


def test_the_moment_does_not_move_with_the_operator() -> None:
    """The deadline follows from the API server's times: whoever looks first, and when, changes nothing."""
    observed = seen(running(0), running(1), owner=stateful_set())
    early = advance(entry(), observed, limits=limits(), start_with=TARGET, suspended=False, now=NOW)
    restarted = replace(early, since="2026-01-01T12:14:00Z")
    after = advance(restarted, observed, limits=limits(), start_with=TARGET, suspended=False, now=later(901))
    assert after.incidents[0].time == "2026-01-01T12:15:00Z"

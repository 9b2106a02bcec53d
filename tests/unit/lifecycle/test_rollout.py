"""Scale, suspend and replacement over whole groups."""

from __future__ import annotations

from dataclasses import replace

from deepseek_operator.lifecycle.entries import GroupEntry
from deepseek_operator.lifecycle.groups import StartWith
from deepseek_operator.lifecycle.rollout import plan_groups
from tests.unit.lifecycle.observed import NOW, OTHER, POLICY, TARGET, entry, serving_entry


def planned(
    *entries: GroupEntry,
    desired: int,
    target: StartWith | None = TARGET,
    suspended: bool = False,
    unavailable: int = 1,
    surge: int = 0,
) -> dict[int, str]:
    policy = replace(POLICY, max_unavailable=unavailable, max_surge=surge)
    after = plan_groups(entries, desired=desired, suspended=suspended, target=target, policy=policy, now=NOW)
    return {e.index: e.intent for e in after}


def test_missing_groups_are_added_at_the_lowest_free_indexes() -> None:
    assert planned(serving_entry(1), desired=3) == {0: "Run", 1: "Run", 2: "Run"}


def test_a_refused_spec_adds_no_group_and_stops_none() -> None:
    assert planned(serving_entry(0), desired=2, target=None) == {0: "Run"}


def test_scale_down_removes_a_group_that_does_not_serve_before_a_serving_one() -> None:
    assert planned(entry(0), serving_entry(1), desired=1) == {0: "Remove", 1: "Run"}


def test_scale_down_removes_the_highest_index_among_serving_groups() -> None:
    assert planned(serving_entry(0), serving_entry(1), desired=1) == {0: "Run", 1: "Remove"}


def test_an_index_is_not_reused_while_its_group_is_being_removed() -> None:
    removing = replace(entry(0), intent="Remove")
    assert planned(removing, desired=1) == {0: "Remove", 1: "Run"}


def test_suspend_stops_every_group_and_keeps_them() -> None:
    assert planned(serving_entry(0), serving_entry(1), desired=2, suspended=True) == {0: "Stop", 1: "Stop"}


def test_a_new_revision_stops_one_serving_group_at_a_time() -> None:
    assert planned(serving_entry(0), serving_entry(1), desired=2, target=OTHER) == {0: "Stop", 1: "Run"}


def test_a_serving_group_stays_while_another_does_not_serve() -> None:
    fresh = replace(entry(0), revision="r2", template_hash="t2")
    assert planned(fresh, serving_entry(1), desired=2, target=OTHER) == {0: "Run", 1: "Run"}


def test_groups_that_do_not_serve_are_replaced_at_once_and_first() -> None:
    assert planned(entry(0), serving_entry(1), desired=2, target=OTHER) == {0: "Stop", 1: "Run"}


def test_going_back_from_a_revision_that_never_served_needs_no_budget() -> None:
    bad = [replace(entry(i), revision="bad", template_hash="bad") for i in range(2)]
    assert planned(*bad, serving_entry(2), desired=3) == {0: "Stop", 1: "Stop", 2: "Run"}


def test_the_same_revision_planned_anew_replaces_its_groups() -> None:
    again = StartWith(revision="r1", template_hash="t9")
    assert planned(entry(0), desired=1, target=again) == {0: "Stop"}


def on_other(index: int, *, ready: bool) -> GroupEntry:
    return replace(serving_entry(index) if ready else entry(index), revision="r2", template_hash="t2")


def test_as_many_serving_groups_are_replaced_at_once_as_may_be_unavailable() -> None:
    old = [serving_entry(i) for i in range(4)]
    assert planned(*old, desired=4, target=OTHER, unavailable=2) == {0: "Stop", 1: "Stop", 2: "Run", 3: "Run"}


def test_groups_that_are_down_already_count_as_unavailable() -> None:
    old = [serving_entry(i) for i in range(3)]
    assert planned(*old, on_other(3, ready=False), desired=4, target=OTHER, unavailable=2) == {
        0: "Stop",
        1: "Run",
        2: "Run",
        3: "Run",
    }


def test_with_a_surge_and_nothing_unavailable_the_new_group_comes_first() -> None:
    old = [serving_entry(0), serving_entry(1)]
    assert planned(*old, desired=2, target=OTHER, unavailable=0, surge=1) == {0: "Run", 1: "Run", 2: "Run"}
    loading = [*old, on_other(2, ready=False)]
    assert planned(*loading, desired=2, target=OTHER, unavailable=0, surge=1) == {0: "Run", 1: "Run", 2: "Run"}


def test_a_surge_group_that_serves_lets_an_old_one_go_for_good() -> None:
    groups = [serving_entry(0), serving_entry(1), on_other(2, ready=True)]
    assert planned(*groups, desired=2, target=OTHER, unavailable=0, surge=1) == {0: "Remove", 1: "Run", 2: "Run"}


def test_a_surge_ends_with_the_desired_number_of_groups() -> None:
    groups = [on_other(2, ready=True), on_other(3, ready=True)]
    assert planned(*groups, desired=2, target=OTHER, unavailable=0, surge=1) == {2: "Run", 3: "Run"}


def test_a_surge_group_of_a_bad_revision_is_removed_when_the_spec_goes_back() -> None:
    groups = [serving_entry(0), serving_entry(1), on_other(2, ready=False)]
    assert planned(*groups, desired=2, target=TARGET, unavailable=0, surge=1) == {0: "Run", 1: "Run", 2: "Remove"}


def test_a_bad_revision_never_takes_a_serving_group_beyond_what_may_be_unavailable() -> None:
    groups = [on_other(0, ready=False), serving_entry(1), serving_entry(2)]
    assert planned(*groups, desired=3, target=OTHER) == {0: "Run", 1: "Run", 2: "Run"}


def test_a_batch_that_runs_is_stopped_only_when_the_weights_of_what_replaces_it_are_there() -> None:
    running = replace(on_other(0, ready=False), stage="Running")
    for prepared, intent in ((False, "Run"), (True, "Stop")):
        (left,) = plan_groups(
            [running], desired=1, suspended=False, target=TARGET, policy=POLICY, now=NOW, prepared=prepared
        )
        assert left.intent == intent

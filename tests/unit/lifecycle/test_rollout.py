"""Scale, suspend and replacement over whole groups."""

from __future__ import annotations

from dataclasses import replace

from deepseek_operator.lifecycle.entries import GroupEntry
from deepseek_operator.lifecycle.groups import StartWith
from deepseek_operator.lifecycle.rollout import plan_groups
from tests.unit.lifecycle.observed import NOW, OTHER, TARGET, entry, serving_entry


def planned(
    *entries: GroupEntry, desired: int, target: StartWith | None = TARGET, suspended: bool = False
) -> dict[int, str]:
    after = plan_groups(entries, desired=desired, suspended=suspended, target=target, now=NOW)
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

"""Conditions as kstatus and kubectl wait read them."""

from __future__ import annotations

import pytest

from deepseek_operator.api.status import BATCH_CONDITION_TYPES, CONDITION_TYPES
from deepseek_operator.lifecycle.conditions import MESSAGE_LIMIT, TYPES, Condition, write_conditions

EARLIER = "2026-01-01T11:00:00Z"
NOW = "2026-01-01T12:00:00Z"
BEFORE = [{"type": "Ready", "status": "False", "reason": "Loading", "lastTransitionTime": EARLIER}]


def written(condition: Condition, before: list[dict[str, str]] = BEFORE) -> dict[str, object]:
    (only,) = write_conditions([condition], before=before, generation=7, time=NOW)
    return only


def test_the_schema_and_the_operator_know_the_same_types() -> None:
    assert sorted(TYPES) == sorted((*CONDITION_TYPES, *BATCH_CONDITION_TYPES))


@pytest.mark.parametrize(
    ("status", "since"), [("False", EARLIER), ("True", NOW), ("Unknown", NOW)], ids=["same", "flipped", "unknown"]
)
def test_the_time_of_transition_moves_only_when_the_status_flips(status: str, since: str) -> None:
    condition = Condition(type="Ready", status=status, reason="Warming")  # type: ignore[arg-type]
    assert written(condition)["lastTransitionTime"] == since


def test_a_new_condition_begins_now_and_one_without_a_time_gets_one() -> None:
    assert written(Condition(type="Ready", status="False", reason="X"), before=[])["lastTransitionTime"] == NOW
    untimed = [{"type": "Ready", "status": "False", "reason": "X"}]
    assert written(Condition(type="Ready", status="False", reason="X"), before=untimed)["lastTransitionTime"] == NOW


def test_every_condition_speaks_of_the_generation_it_was_decided_for() -> None:
    assert written(Condition(type="Ready", status="True", reason="Serving"))["observedGeneration"] == 7


def test_messages_stay_within_the_bound_of_the_schema() -> None:
    long = Condition(type="Ready", status="True", reason="Serving", message="x" * 10_000)
    assert written(long)["message"] == "x" * MESSAGE_LIMIT


def test_the_order_is_always_the_same() -> None:
    conditions = [Condition(type=kind, status="True", reason="R") for kind in reversed(TYPES)]
    ordered = write_conditions(conditions, before=(), generation=1, time=NOW)
    assert [condition["type"] for condition in ordered] == list(TYPES)

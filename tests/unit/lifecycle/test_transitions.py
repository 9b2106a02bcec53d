"""Events: one for each transition that a person wants to read, none for repetition."""

from __future__ import annotations

from typing import Any

import pytest

from deepseek_operator.lifecycle.transitions import transitions

INCIDENT = {"time": "2026-01-01T12:00:00Z", "reason": "OOMKilled", "message": "The engine of rank 1 ended"}


def status(*conditions: tuple[str, str, str], groups: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {
        "conditions": [
            {"type": kind, "status": truth, "reason": reason, "message": f"{reason} it is"}
            for kind, truth, reason in conditions
        ],
        "groups": groups or [],
    }


def told(before: dict[str, Any], after: dict[str, Any]) -> list[tuple[str, str]]:
    return [(event.type, event.reason) for event in transitions(before, after)]


CASES = {
    "refused": (("Accepted", "Unknown", "Pending"), ("Accepted", "False", "TensorWrong"), ["Warning TensorWrong"]),
    "refused otherwise": (("Accepted", "False", "A"), ("Accepted", "False", "B"), ["Warning B"]),
    "accepted is no news": (("Accepted", "False", "A"), ("Accepted", "True", "Accepted"), []),
    "no such nodes": (("Planned", "Unknown", "Pending"), ("Planned", "False", "NoNodes"), ["Warning NoNodes"]),
    "planned": (("Planned", "False", "NoNodes"), ("Planned", "True", "Planned"), ["Normal Planned"]),
    "still planned, nodes came": (("Planned", "True", "NodesExpected"), ("Planned", "True", "Planned"), []),
    "serving": (("Ready", "False", "Loading"), ("Ready", "True", "Serving"), ["Normal Serving"]),
    "not serving any more": (("Ready", "True", "Serving"), ("Ready", "False", "Draining"), []),
    "a name is taken": (("Stalled", "False", "NotStalled"), ("Stalled", "True", "NameTaken"), ["Warning NameTaken"]),
    "a refusal is told once, by Accepted": (("Stalled", "False", "N"), ("Stalled", "True", "TensorWrong"), []),
    "nothing changed": (("Ready", "True", "Serving"), ("Ready", "True", "Serving"), []),
}


@pytest.mark.parametrize("case", CASES)
def test_condition(case: str) -> None:
    before, after, expected = CASES[case]
    assert [" ".join(pair) for pair in told(status(before), status(after))] == expected


def test_a_message_that_changes_under_the_same_reason_is_no_event() -> None:
    before, after = status(("Accepted", "False", "A")), status(("Accepted", "False", "A"))
    after["conditions"][0]["message"] = "in other words"
    assert told(before, after) == []


def test_the_first_visit_tells_what_it_found() -> None:
    assert told({}, status(("Planned", "True", "Planned"), ("Ready", "False", "Pending"))) == [("Normal", "Planned")]


def test_an_incident_is_told_once_with_its_group_and_what_follows() -> None:
    quiet = status(groups=[{"index": 3}])
    failed = status(groups=[{"index": 3, "incidents": [INCIDENT]}])
    (event,) = transitions(quiet, failed)
    assert (event.type, event.reason) == ("Warning", "OOMKilled")
    assert event.message == "group 3: The engine of rank 1 ended; the whole group restarts"
    assert transitions(failed, failed) == ()


def test_the_next_incident_is_told_too() -> None:
    failed = status(groups=[{"index": 0, "incidents": [INCIDENT]}])
    again = {**INCIDENT, "time": "2026-01-01T13:00:00Z"}
    assert told(failed, status(groups=[{"index": 0, "incidents": [again, INCIDENT]}])) == [("Warning", "OOMKilled")]


def test_an_event_stays_within_the_servers_limit() -> None:
    long = status(("Accepted", "False", "A"))
    long["conditions"][0]["message"] = "x" * 5000
    assert transitions({}, long)[0].message == "x" * 1024
    long["conditions"][0]["message"] = "\u6f22" * 5000
    assert transitions({}, long)[0].message == "\u6f22" * 341  # the server counts bytes

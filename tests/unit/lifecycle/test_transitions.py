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


def incident(**changes: Any) -> dict[str, Any]:
    return status(groups=[{"index": 0, "incidents": [{**INCIDENT, "rank": 1, **changes}]}])


def test_an_incident_that_is_told_shorter_is_no_news() -> None:
    assert told(incident(), incident(message="The engine", remedy="")) == []


def test_a_log_that_comes_later_is_told_with_what_it_means() -> None:
    (event,) = transitions(incident(), incident(remedy="use tensor 16", log=["one", "two"]))
    assert (event.type, event.reason) == ("Warning", "OOMKilled")
    assert event.message == "group 0: use tensor 16; rank 1 said last:\none\ntwo"
    assert told(incident(log=["one"]), incident(log=["one"])) == []


def test_of_a_long_log_the_event_has_the_last_lines() -> None:
    (event,) = transitions(incident(), incident(log=[f"{number:02} {'x' * 200}" for number in range(9)]))
    assert len(event.message.encode()) <= 1024
    assert event.message.endswith("08 " + "x" * 200)


def test_a_rank_that_turns_out_to_have_failed_first_is_told() -> None:
    (event,) = transitions(incident(), incident(rank=3, message="The engine of rank 3 ended"))
    assert event.message == "group 0: rank 3 failed first; The engine of rank 3 ended"


def test_an_event_stays_within_the_servers_limit() -> None:
    long = status(("Accepted", "False", "A"))
    long["conditions"][0]["message"] = "x" * 5000
    assert transitions({}, long)[0].message == "x" * 1024
    long["conditions"][0]["message"] = "\u6f22" * 5000
    assert transitions({}, long)[0].message == "\u6f22" * 341  # the server counts bytes

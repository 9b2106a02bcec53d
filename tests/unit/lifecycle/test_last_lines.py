"""Evidence that comes late: the end of a log, and a rank that turns out to have failed first."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from deepseek_operator.catalog.operations.load import load_operations
from deepseek_operator.lifecycle.bounds import GAP, last_lines
from deepseek_operator.lifecycle.clock import NEVER
from deepseek_operator.lifecycle.entries import GroupEntry, Incident, LastLines, read_entry, write_entries
from deepseek_operator.lifecycle.evidence import LINE_BYTES, LINES_KEPT, completed, excerpt, log_wanted
from deepseek_operator.lifecycle.groups import Observed, advance
from deepseek_operator.lifecycle.records import ContainerRecord, PodRecord
from tests.unit.lifecycle.observed import NOW, entry, limits, pod, serving_entry, stateful_set

OPERATIONS = load_operations()
TIME = "2026-01-01T12:00:00Z"


def read(text: str) -> LastLines:
    return excerpt(text, OPERATIONS, time=TIME, rank=1)


def test_the_last_lines_are_kept_and_each_is_short() -> None:
    found = read("\n".join(f"line {number}" for number in range(100)) + f"\n{'x' * 5000}\n\n")
    assert len(found.lines) == LINES_KEPT
    assert found.lines[-2] == "line 99"
    assert found.lines[-1] == "x" * LINE_BYTES


def test_colours_progress_bars_and_control_characters_are_taken_out() -> None:
    text = "\x1b[31mred\x1b[0m\r\nLoading:  10%\rLoading: 100%\nbell\x07 and \x00nul\n"
    assert read(text).lines == ("red", "Loading: 100%", "bell and nul")


def test_a_known_line_further_up_comes_first_with_its_remedy() -> None:
    echo = "\n".join(f"Traceback line {number}" for number in range(60))
    found = read(f"start\nRuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB\n{echo}")
    assert found.diagnosis == "DeviceOutOfMemory"
    assert "spec.context.maxLength" in found.remedy
    assert found.lines[:2] == ("RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB", GAP)
    assert found.lines[-1] == "Traceback line 59"


def test_secrets_are_masked_before_lines_are_cut() -> None:
    key = "x" * (LINE_BYTES - 12) + " --api-key=s3cr3t-s3cr3t-s3cr3t"
    (line,) = read(key).lines
    assert "s3c" not in line


def test_an_empty_log_tells_nothing() -> None:
    assert read("\n \r\n").lines == ()


@pytest.mark.parametrize("limit", [0, 3, 10, 40, 10_000])
def test_lines_within_a_limit_are_the_last_ones(limit: int) -> None:
    lines = ("known", GAP, "a" * 9, "b" * 9, "c" * 9)
    kept = last_lines(lines, limit)
    assert sum(len(line.encode()) + 1 for line in kept) <= limit
    assert not kept or (kept[:2] == lines[:2] and kept[-1] == lines[-1])
    assert last_lines(lines[2:], limit)[-1:] == (lines[-1:] if limit >= 10 else ())


def test_only_the_latest_incident_keeps_its_log_and_two_kibibytes_of_it() -> None:
    long = tuple(f"{number:03} {'x' * 290}" for number in range(20))
    incident = Incident(time=TIME, reason="EngineExited", message="m", rank=1, pod="x-g0-1", log=long)
    (data,) = write_entries([replace(entry(), incidents=(incident, incident))])
    first, second = data["incidents"]
    assert first["log"] == list(long[-6:])
    assert "log" not in second


def test_many_failed_groups_keep_their_incidents_and_give_up_their_logs() -> None:
    incident = Incident(time=TIME, reason="EngineExited", message="m" * 300, rank=1, pod="p", log=("x" * 300,) * 20)
    written = write_entries([replace(entry(index), incidents=(incident,)) for index in range(64)])
    assert {group["incidents"][0]["reason"] for group in written} == {"EngineExited"}
    assert not any("log" in group["incidents"][0] for group in written)
    assert read_entry(written[0]).incidents[0].rank == 1


def ended(rank: int, since: str, *, code: int = 1, **changes: Any) -> PodRecord:
    return pod(rank, engine=ContainerRecord(state="terminated", exit_code=code, since=since), **changes)


def stopping(**changes: Any) -> GroupEntry:
    fields: dict[str, Any] = {
        "time": TIME,
        "reason": "EngineExited",
        "message": "The engine of rank 0 ended with exit code 1",
        "rank": 0,
        "pod": "x-g0-0",
        "node": "node-0",
        "exit_code": 1,
        "ended": "2026-01-01T11:59:50Z",
    }
    incident = Incident(**(fields | changes))
    return replace(serving_entry(), intent="Stop", ready=False, restarts=1, incidents=(incident,))


def latest(before: GroupEntry, *pods: PodRecord, lines: LastLines | None = None) -> Incident:
    return completed(before, pods, lines, OPERATIONS, troubles={}).incidents[0]


def test_a_rank_that_ended_earlier_and_is_told_later_failed_first() -> None:
    late = ended(1, "2026-01-01T11:59:40Z", code=137)
    found = latest(stopping(), ended(0, "2026-01-01T11:59:50Z"), late)
    assert (found.rank, found.pod, found.node, found.exit_code) == (1, "x-g0-1", "node-1", 137)
    assert found.signal == "SIGKILL"
    assert found.time == TIME, "when it was seen does not change, nor is it another incident"


UNCHANGED = {
    "a later end": (ended(1, "2026-01-01T11:59:59Z"), {}),
    "an end in the same second": (ended(1, "2026-01-01T11:59:50Z"), {}),
    "an end by the stop itself, on a node whose clock is behind": (
        ended(1, "2026-01-01T11:59:40Z", code=143, deleting=True, deletion_asked="2026-01-01T12:00:01Z"),
        {},
    ),
    "an end after the pod was to go": (
        ended(1, "2026-01-01T11:59:45Z", deleting=True, deletion_asked="2026-01-01T11:59:44Z"),
        {},
    ),
    "a pod of another start": (ended(1, "2026-01-01T11:59:40Z", incarnation=0), {}),
    "a drain": (ended(1, "2026-01-01T11:59:40Z"), {"reason": "EvictionByEvictionAPI", "ended": ""}),
    "a lost node": (ended(1, "2026-01-01T11:59:40Z"), {"reason": "NodeLost", "ended": ""}),
}


@pytest.mark.parametrize("case", UNCHANGED)
def test_the_blame_stays_for(case: str) -> None:
    other, changes = UNCHANGED[case]
    before = stopping(**changes)
    assert latest(before, other) == before.incidents[0]


def test_in_the_same_second_a_crash_explains_a_clean_end() -> None:
    before = stopping(exit_code=0)
    assert latest(before, ended(1, "2026-01-01T11:59:50Z", code=9)).rank == 1


@pytest.mark.parametrize("reason", ["RankUnready", "RendezvousTimeout", "StartupDeadlineExceeded"])
def test_an_end_that_was_told_late_explains_a_hang(reason: str) -> None:
    found = latest(stopping(reason=reason, ended="", exit_code=None), ended(1, "2026-01-01T11:58:00Z", code=9))
    assert (found.rank, found.reason, found.exit_code) == (1, "EngineExited", 9)


def test_a_group_that_runs_again_is_not_blamed_anew() -> None:
    before = replace(stopping(), intent="Run")
    assert completed(before, (ended(1, "2026-01-01T11:59:40Z"),), None, OPERATIONS, troubles={}) is before


LINES = LastLines(time=TIME, rank=0, lines=("a", "b"), diagnosis="BlockShape", remedy="use tensor 16")


def test_the_log_completes_its_incident_with_what_it_means() -> None:
    found = latest(stopping(), lines=LINES)
    assert (found.log, found.diagnosis, found.remedy) == (("a", "b"), "BlockShape", "use tensor 16")


def test_what_the_last_words_meant_is_not_overruled_by_the_log() -> None:
    assert latest(stopping(diagnosis="DiskFull", remedy="free space"), lines=LINES).diagnosis == "DiskFull"


@pytest.mark.parametrize("changes", [{"rank": 1}, {"time": "2026-01-01T11:00:00Z"}, {"log": ("earlier",)}])
def test_a_log_of_another_rank_or_time_or_a_second_one_is_not_taken(changes: dict[str, Any]) -> None:
    before = stopping(**changes)
    assert latest(before, lines=LINES) == before.incidents[0]


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, True),
        ({"reason": "OOMKilled"}, True),
        ({"reason": "RankUnready"}, True),
        ({"log": ("x",)}, False),
        ({"pod": ""}, False),
        ({"reason": "NodeLost"}, False),
        ({"reason": "PodDeleted"}, False),
        ({"reason": "EvictionByEvictionAPI"}, False),
        ({"reason": "HoldTimeout"}, False),
    ],
)
def test_a_log_is_asked_for_where_it_can_tell_something(changes: dict[str, Any], wanted: bool) -> None:  # noqa: FBT001
    assert log_wanted(stopping(**changes).incidents[0]) is wanted


def test_a_fatal_fault_that_only_the_log_tells_ends_the_attempts_the_second_time() -> None:
    earlier = Incident(time="2026-01-01T11:00:00Z", reason="EngineExited", message="m", diagnosis="BlockShape")
    before = replace(stopping(), formed=False, restarts=2, not_before="2026-01-01T12:00:10Z")
    before = replace(before, incidents=(*before.incidents, earlier))
    observed = Observed(workload=stateful_set(replicas=0), pods=(pod(0, deleting=True),), last_lines=LINES)
    after = advance(before, observed, limits=limits(), start_with=None, suspended=False, now=NOW)
    assert after.not_before == NEVER
    served = advance(replace(before, formed=True), observed, limits=limits(), start_with=None, suspended=False, now=NOW)
    assert served.not_before == before.not_before
    once = replace(before, restarts=1)
    assert advance(once, observed, limits=limits(), start_with=None, suspended=False, now=NOW).not_before != NEVER

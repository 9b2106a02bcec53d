"""Entries survive status as they are, and status stays small however many groups there are."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import pytest

from deepseek_operator.api.status import Group
from deepseek_operator.lifecycle.entries import (
    GROUPS_LIMIT,
    FabricReport,
    GroupEntry,
    Incident,
    Member,
    Progress,
    Report,
    WarmUp,
    read_entry,
    write_entries,
)
from deepseek_operator.lifecycle.warmup import AT_ONCE
from tests.unit.lifecycle.observed import entry, serving_entry

FULL = GroupEntry(
    index=7,
    revision="0123456789",
    template_hash="0123456789abcdef",
    incarnation=12,
    intent="Stop",
    stage="BackingOff",
    since="2026-01-01T12:00:00Z",
    message="next start at 2026-01-01T12:00:00Z",
    members=(Member(rank=0, uid="u0", node="n0"), Member(rank=1, uid="u1", node="")),
    ready=True,
    formed=True,
    completed="2026-01-01T11:30:00Z",
    restarts=3,
    stable_since="2026-01-01T11:00:00Z",
    not_before="2026-01-01T12:10:00Z",
    avoided_nodes=("node-9",),
    warm_up=WarmUp(template_hash="0123", since="2026-01-01T12:00:00Z", state="Failing", message="m"),
    reported=Report(incarnation=12, kv_tokens=283_739, weights_gib=40.25),
    fabric=FabricReport(incarnation=12, transport="NET/IB/GDRDMA", bus_bandwidth="45.1", ranks=2),
    progress=Progress(phase="fetch", bytes_done=5, bytes_total=9, bytes_per_second=2, seconds_left=2),
    incidents=(
        Incident(
            time="2026-01-01T12:00:00Z",
            reason="OOMKilled",
            message="m",
            rank=0,
            pod="p",
            node="n",
            exit_code=0,
            signal="SIGKILL",
            ended="2026-01-01T11:59:59Z",
            diagnosis="CollectiveTimeout",
            trouble="nvidia.com/gpu GPU-1 is unhealthy",
            remedy="r",
            log=("one", "two"),
        ),
        Incident(time="2026-01-01T11:00:00Z", reason="PodLost", message="m"),
    ),
)


def test_every_field_of_an_entry_is_in_the_sample() -> None:
    bare = GroupEntry(index=0, revision="")
    same = [field.name for field in fields(GroupEntry) if getattr(FULL, field.name) == getattr(bare, field.name)]
    assert same == []


@pytest.mark.parametrize("sample", [FULL, entry(), serving_entry()], ids=["full", "new", "serving"])
def test_an_entry_is_read_back_as_it_was_written(sample: GroupEntry) -> None:
    (data,) = json.loads(json.dumps(write_entries([sample])))
    assert read_entry(data) == sample
    Group.model_validate(data)


def test_falsehood_and_zero_are_written_and_emptiness_is_not() -> None:
    (data,) = write_entries([entry()])
    assert (data["ready"], data["restarts"]) == (False, 0)
    assert not {"members", "incidents", "message", "notBefore"} & data.keys()


def test_a_few_groups_keep_three_incidents_and_long_messages() -> None:
    long = replace(FULL, message="x" * 900, incidents=(replace(FULL.incidents[0], message="y" * 900),) * 5)
    (data,) = write_entries([long])
    assert (len(data["incidents"]), len(data["message"]), len(data["incidents"][0]["message"])) == (3, 512, 512)
    Group.model_validate(data)


def worst(index: int, *, letter: str) -> GroupEntry:
    """Names as long as clouds make them (63 characters), messages beyond every limit."""
    node = "n" * 63
    incident = replace(
        FULL.incidents[0],
        reason="CreateContainerConfigError",
        message=letter * 900,
        pod=f"{'x' * 40}-g{index}-3",
        node=node,
        exit_code=137,
    )
    members = tuple(Member(rank=rank, uid="0" * 36, node=node) for rank in range(4))
    return replace(
        FULL,
        index=index,
        stable_since="",
        # A batch that is complete has one group, and no failure any more.
        completed="",
        message=letter * 900,
        members=members,
        incidents=(incident,) * 3,
        warm_up=FULL.warm_up if index < AT_ONCE else None,
    )


def size(data: object) -> int:
    """Bytes as etcd stores it."""
    return len(json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode())


@pytest.mark.parametrize("count", [1, 8, 9, 16, 32, 64])
@pytest.mark.parametrize("letter", ["x", "\u6f22"], ids=["ascii", "three bytes a letter"])
def test_groups_leave_room_for_the_rest_of_a_status_of_64_kib(count: int, letter: str) -> None:
    written = write_entries([worst(index, letter=letter) for index in range(count)])
    assert size(written) <= GROUPS_LIMIT
    for data in written:
        back = read_entry(data)
        assert [member.uid for member in back.members] == ["0" * 36] * 4
        assert back.incidents[0].reason == "CreateContainerConfigError"


def test_many_groups_of_which_few_failed_keep_all_evidence() -> None:
    healthy = [replace(serving_entry(index), message="") for index in range(60)]
    written = write_entries([*healthy, *(worst(index, letter="x") for index in range(60, 64))])
    assert len(written[63]["incidents"]) == 3
    assert written[63]["incidents"][0]["node"] == "n" * 63
    assert written[0]["members"][1]["node"] == "node-1"


def test_a_message_is_never_cut_inside_a_letter() -> None:
    (data,) = write_entries([replace(FULL, message="\u6f22" * 300)])
    assert data["message"] == "\u6f22" * 170

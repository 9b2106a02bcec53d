"""Ranks of one group find each other, and only each other."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deepseek_operator.engines.assemble import BARRIER_PORT
from deepseek_operator.engines.launch import barrier
from tests.unit.engines.plans import launched, plan
from tests.unit.launch.ranks import Group


@pytest.fixture
def group(tmp_path: Path) -> Group:
    return Group(launched(plan(interface="lo")), tmp_path)


@pytest.fixture
def group_of_three(tmp_path: Path) -> Group:
    return Group(launched(plan(interface="lo", nodes=3)), tmp_path, size=3)


def test_all_ranks_start_once_all_have_joined(group_of_three: Group) -> None:
    with group_of_three.rank(1) as one, group_of_three.rank(2) as two, group_of_three.rank(0) as leader:
        assert [rank.engine()["argv"].count("--node-rank") for rank in (leader, one, two)] == [1, 1, 1]
        leader.says("all 3 ranks joined")


def test_the_missing_rank_is_named_to_everybody_and_no_engine_starts_without_it(group_of_three: Group) -> None:
    with group_of_three.rank(0) as leader, group_of_three.rank(1) as one:
        leader.says("waiting for rank 2 of 3 (incarnation 7)")
        one.says("joined; waiting for rank 2 of 3 (incarnation 7)")
        assert not leader.started_engine()
        assert not one.started_engine()
        with group_of_three.rank(2) as two:
            assert all(rank.engine() for rank in (leader, one, two))


def test_a_worker_says_that_the_leader_is_not_there(group: Group) -> None:
    with group.rank(1) as worker:
        line = worker.says("cannot be reached yet")
        assert f"{group.address}:{BARRIER_PORT}" in line


def test_a_leader_whose_name_does_not_resolve_yet_is_waited_for(group: Group) -> None:
    with group.rank(1, LEADER_ADDRESS="deepseek-g0-0.deepseek-g0.demo.svc.invalid") as worker:
        worker.says("cannot be reached yet")
        assert worker.process.poll() is None


@pytest.mark.parametrize(
    ("variable", "other", "message"),
    [
        ("IMAGE", "registry.example/sglang:2", "image registry.example/sglang:2 there, registry.example/sglang:1 on"),
        ("ACCELERATORS", "4", "devices 4 there, 8 on rank 0"),
    ],
)
def test_ranks_that_can_never_work_together_all_end_and_say_why(
    group_of_three: Group, variable: str, other: str, message: str
) -> None:
    with group_of_three.rank(0) as leader, group_of_three.rank(1) as like:
        like.says("joined")
        with group_of_three.rank(2, **{variable: other}) as unlike:
            for rank in (leader, like, unlike):
                assert rank.exit_code() == 3
                assert f"rank 2 (deepseek-g0-2 on node-2): {message}" in rank.says("rank 2 (")
                assert not rank.started_engine()


def test_a_rank_of_an_older_incarnation_is_refused_and_the_right_one_joins(group: Group) -> None:
    with group.rank(0) as leader, group.rank(1, INCARNATION="6") as stale:
        stale.says("refused: rank 1 (deepseek-g0-1): incarnation 6 there, 7 here; trying again")
        leader.says("refused rank 1 (deepseek-g0-1): incarnation 6 there, 7 here")
        with group.rank(1) as right:
            assert leader.engine()
            assert right.engine()
        assert not stale.started_engine()


def test_a_rank_of_a_newer_incarnation_waits_for_its_own_leader(group: Group) -> None:
    with group.rank(0, INCARNATION="6") as old, group.rank(1) as worker:
        worker.says("incarnation 7 there, 6 here")
        old.stop()
        with group.rank(0) as leader:
            assert leader.engine()
            assert worker.engine()
        assert not old.started_engine()


def test_a_rank_that_does_not_belong_is_refused(group: Group) -> None:
    with group.rank(0) as leader, group.rank(5) as stranger:
        stranger.says("not a worker's rank in a group of 2")
        assert not leader.started_engine()


def test_strangers_and_garbage_do_not_disturb(group: Group) -> None:
    with group.rank(0) as leader, contextlib.ExitStack() as strangers:
        leader.says("waiting for rank 1")
        for garbage in (b"", b"GET / HTTP/1.1\r\n\r\n", b"\xff\x00\n", b"[]\n", b'{"rank": 1}\n', b"x" * 100_000):
            stranger = strangers.enter_context(socket.create_connection((group.address, BARRIER_PORT), timeout=10))
            with contextlib.suppress(OSError):
                stranger.sendall(garbage)
        with group.rank(1) as worker:
            assert worker.engine()
            # The stranger that says nothing is still connected.
            assert leader.engine()


def test_a_worker_survives_a_leader_that_is_replaced(group: Group) -> None:
    with group.rank(1) as worker:
        with group.rank(0, GROUP_SIZE="3") as leader, group.rank(2, GROUP_SIZE="3"):
            leader.says("waiting for rank 1 of 3")
            leader.stop(signal.SIGKILL)
        worker.says("cannot be reached yet")
        with group.rank(0) as leader:
            assert leader.engine()
            assert worker.engine()


def test_a_leader_that_dies_while_a_worker_waits_is_joined_anew(group_of_three: Group) -> None:
    with group_of_three.rank(1) as one:
        with group_of_three.rank(0) as leader:
            one.says("joined")
        assert leader.process.returncode is not None
        one.says("cannot be reached yet")
        with group_of_three.rank(0) as leader, group_of_three.rank(2) as two:
            assert all(rank.engine() for rank in (leader, one, two))


def test_a_rank_that_left_is_missed_again_and_may_come_back(group_of_three: Group) -> None:
    with group_of_three.rank(0) as leader:
        with group_of_three.rank(1) as one:
            one.says("joined")
        leader.says("rank 1 left")
        leader.lines.clear()
        leader.says("waiting for rank 1, 2 of 3")
        with group_of_three.rank(1) as one, group_of_three.rank(2) as two:
            assert all(rank.engine() for rank in (leader, one, two))


def test_the_newest_connection_of_a_rank_counts(group_of_three: Group) -> None:
    with group_of_three.rank(0) as leader, group_of_three.rank(1) as first:
        first.says("joined")
        os.killpg(first.process.pid, signal.SIGSTOP)
        with group_of_three.rank(1) as second:
            second.says("joined")
            with group_of_three.rank(2) as two:
                assert all(rank.engine() for rank in (leader, second, two))


def test_a_leader_that_fell_silent_is_dialled_anew(group: Group) -> None:
    with socket.create_server((group.address, BARRIER_PORT)) as silent, group.rank(1) as worker:
        accepted, _ = silent.accept()
        with accepted:
            worker.says("cannot be reached yet: timed out")


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_ranks_find_each_other_over_both_address_families(group: Group, address: str) -> None:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        probe.bind((address, 0))
        port = probe.getsockname()[1]
    env = {**group.environment(0), "POD_IP": address, "LEADER_ADDRESS": address}
    markers = [group.directory / f"marker-{rank}" for rank in (0, 1)]
    ranks = [
        subprocess.Popen([sys.executable, barrier.__file__, str(port), marker], env={**env, "NODE_RANK": str(rank)})
        for rank, marker in enumerate(markers)
    ]
    assert [rank.wait(30) for rank in ranks] == [0, 0]
    assert all(marker.exists() for marker in markers)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_waits_ends_at_once_when_it_is_told_to(group: Group, rank: int) -> None:
    with group.rank(rank) as waiting:
        waiting.says("waiting for rank 1" if rank == 0 else "cannot be reached yet")
        began = time.monotonic()
        assert waiting.stop() == 143
        assert time.monotonic() - began < 5
        assert not waiting.started_engine()

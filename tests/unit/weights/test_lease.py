from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from deepseek_operator.weights import lease
from deepseek_operator.weights.errors import LeaseLostError

HOLD = """
import sys, time
from pathlib import Path
from deepseek_operator.weights import lease
with lease.hold(Path(sys.argv[1]), say=print):
    print("held", flush=True)
    time.sleep(600)
"""
LATER = 240


def silent(_: str) -> None:
    pass


def current(directory: Path) -> tuple[Path, dict[str, Any]]:
    path = max(directory.glob("lease.*"), key=lambda each: int(each.suffix[1:]))
    return path, json.loads(path.read_text())


def test_a_released_lease_is_free_at_once(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        with lease.hold(tmp_path, say=silent) as held:
            assert held.number == number
            held.check()
    assert len(list(tmp_path.glob("lease.*"))) == 1


def test_the_lease_of_a_killed_process_is_free_at_once(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        process.kill()
        process.wait(LATER)
        with lease.hold(tmp_path, say=silent, stale_seconds=10**6) as held:
            assert held.number == 2


def test_a_holder_on_another_machine_is_waited_for_and_named(tmp_path: Path) -> None:
    with lease.hold(tmp_path, say=silent):
        path, content = current(tmp_path)
        said: list[str] = []
        path.write_text(json.dumps({**content, "boot": "another", "host": "node-7"}))
    # Its last beat was the release above: a beat that never changes again, and not ours to judge by process.
    path.write_text(json.dumps({**content, "boot": "another", "host": "node-7", "released": False}))
    with lease.hold(tmp_path, say=said.append, stale_seconds=1.5) as held:
        assert held.number == 2
    assert len(said) == 1
    assert "on node-7 writes to" in said[0]


def test_a_holder_that_was_suspended_publishes_nothing_any_more(tmp_path: Path) -> None:
    with lease.hold(tmp_path, say=silent) as held:
        path, content = current(tmp_path)
        (tmp_path / "lease.2").write_text(json.dumps({**content, "released": True}))
        path.unlink()
        with pytest.raises(LeaseLostError, match="another process took over"):
            held.check()


def test_an_unreadable_lease_may_be_one_that_is_being_written(tmp_path: Path) -> None:
    (tmp_path / "lease.4").write_text("")
    started = threading.Event()

    def take() -> None:
        started.set()
        with lease.hold(tmp_path, say=silent, stale_seconds=1):
            pass

    thread = threading.Thread(target=take)
    thread.start()
    started.wait(LATER)
    thread.join(LATER)
    assert current(tmp_path)[0].name == "lease.5"


def test_a_number_below_the_newest_is_no_lease(tmp_path: Path) -> None:
    with lease.hold(tmp_path, say=silent):
        pass
    (tmp_path / "lease.9").write_text("{}")

    assert lease._create(tmp_path, 2) is None  # noqa: SLF001 - the step where two waiters meet
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lease.1", "lease.9"]


def count(directory: str, times: int) -> None:
    for _ in range(times):
        with lease.hold(Path(directory) / "lease", say=silent):
            counter = Path(directory) / "counter"
            value = int(counter.read_text())
            os.sched_yield()
            counter.write_text(str(value + 1))


def test_of_many_processes_one_writes_at_a_time(tmp_path: Path) -> None:
    (tmp_path / "counter").write_text("0")
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=count, args=(str(tmp_path), 5)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(LATER)

    assert [process.exitcode for process in processes] == [0] * 4
    assert (tmp_path / "counter").read_text() == "20"

"""What is kept, its removal, and reading ahead."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from deepseek_operator.weights.cast import cast
from deepseek_operator.weights.dequantize import CpuDequantizer
from deepseek_operator.weights.errors import InputError
from deepseek_operator.weights.progress import Progress
from deepseek_operator.weights.readahead import CHUNK, read_ahead
from deepseek_operator.weights.stock import kept_below, remove
from deepseek_operator.weights.verify import verify
from deepseek_operator.weights.workspace import WORK
from tests.unit.weights.checkpoints import write_checkpoint
from tests.unit.weights.conftest import Fetcher, Program


@pytest.fixture
def converted(fetched: Fetcher) -> Path:
    """A fetched checkpoint with its cast beside it."""
    fetched()
    target = fetched.target / "converted" / "bf16"
    cast(fetched.target, target, dequantize=CpuDequantizer(), workers=1, progress=Progress())
    return fetched.target


def test_source_and_cast_are_listed_apart_with_where_they_came_from(converted: Path) -> None:
    fetched, cast_ = kept_below(converted.parent)
    root = converted.parent
    assert (fetched.document(root)["path"], cast_.document(root)["path"]) == ("target", "target/converted/bf16")
    assert str(fetched.about["source"]).startswith("hf://")
    assert (cast_.about["producer"], cast_.about["layout"]) == ("cast", "bf16")
    assert fetched.complete
    assert cast_.complete
    total = sum(path.stat().st_blocks * 512 for path in converted.rglob("*") if path.is_file())
    assert fetched.size + cast_.size == total


def test_a_download_that_was_cut_is_listed_as_begun(tmp_path: Path) -> None:
    (tmp_path / "w" / ".deepseek-weights" / "partial").mkdir(parents=True)
    (found,) = kept_below(tmp_path)
    assert (found.complete, found.document(tmp_path)["source"]) == (False, None)


def test_a_cast_does_not_disturb_the_checkpoint_that_it_lies_in(converted: Path, fetched: Fetcher) -> None:
    assert verify(converted, full=True, workers=1, progress=Progress()).findings == ()
    assert fetched().received == 0


def test_removing_takes_the_cast_with_it_and_leaves_the_directory_for_the_next_fetch(
    converted: Path, fetched: Fetcher
) -> None:
    assert remove(converted) > 0
    assert kept_below(converted) == []
    assert [each.name for each in converted.iterdir()] == [WORK]
    assert fetched().received > 0


def test_a_cast_alone_can_be_removed(converted: Path) -> None:
    remove(converted / "converted" / "bf16")
    assert verify(converted, full=False, workers=1, progress=Progress()).findings == ()


def test_a_directory_without_weights_is_not_emptied(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    with pytest.raises(InputError, match="it holds no weights"):
        remove(tmp_path)
    assert (tmp_path / "precious").exists()


def test_the_commands_list_and_remove(program: Program, converted: Path) -> None:
    listed = program("list", converted.parent, "-o", "json").document
    assert [each["path"] for each in listed["items"]] == ["target", "target/converted/bf16"]
    assert program("remove", converted).code == 0
    assert program("list", converted.parent, "-o", "json").document["items"] == []
    # Another node of the same network directory comes later, and finds nothing to do.
    assert program("remove", converted).code == 0


def test_two_that_remove_the_same_do_not_disturb_each_other(converted: Path) -> None:
    with ThreadPoolExecutor() as pool:
        freed = list(pool.map(remove, [converted, converted, converted]))
    assert sum(size > 0 for size in freed) >= 1
    assert kept_below(converted) == []


def test_reading_ahead_reads_once_and_finds_the_second_time_what_is_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(os.urandom(3 * CHUNK + 5))
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    first = read_ahead([path], workers=2, progress=Progress())
    again = read_ahead([path], workers=2, progress=Progress())
    assert (first.total, first.skipped) == (3 * CHUNK + 5, 0)
    assert first.read + first.cached == again.read + again.cached == first.total
    assert again.cached == again.total


def test_what_memory_cannot_hold_is_left_alone(tmp_path: Path) -> None:
    for name, size in (("a", 100), ("b", 50), ("c", 1000)):
        (tmp_path / name).write_bytes(b"x" * size)
    done = read_ahead(sorted(tmp_path.iterdir()), workers=1, progress=Progress(), limit=160)
    assert (done.total, done.skipped) == (1150, 1000)


def test_verifying_tells_the_rate_for_the_operator(program: Program, fetched: Fetcher, tmp_path: Path) -> None:
    fetched()
    summary = tmp_path / "termination-log"
    done = program("verify", fetched.target, "--read-ahead", "--summary", summary)
    assert done.code == 0, done.stderr
    document = json.loads(summary.read_text())
    assert document["readBytes"] + document["cachedBytes"] > 0
    assert "bytesPerSecond" in document


def test_weights_of_the_users_own_are_checked_without_a_marker(program: Program, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "own")
    arguments = ("verify", tmp_path / "own", "--unmarked", "--named", "pvc://w/own")
    assert program(*arguments).code == 0
    shard = min((tmp_path / "own").glob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:-10])
    cut = program(*arguments)
    assert cut.code != 0
    assert shard.name in cut.stderr
    (tmp_path / "own" / "config.json").unlink()
    missing = program(*arguments)
    assert missing.code == 2
    assert "pvc://w/own has no config.json" in missing.stderr


def test_a_warm_restart_takes_seconds_and_asks_nobody(program: Program, fetched: Fetcher, origin: Path) -> None:
    source = f"hf://{fetched.hub.repository}"
    first = program("fetch", "--source", source, "--output", fetched.target, "-o", "json")
    assert first.document["receivedBytes"] > 0
    fetched.hub.requests.clear()
    again = program("fetch", "--source", source, "--output", fetched.target, "-o", "json")
    assert again.document["receivedBytes"] == 0
    assert fetched.hub.requests == []
    assert program("verify", fetched.target, "--read-ahead").code == 0

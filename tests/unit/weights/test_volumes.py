"""Volumes that are full or read-only, for real: file systems of their own, mounted for a test (as root on Linux)."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from deepseek_operator.catalog.operations.load import load_operations
from deepseek_operator.weights import room
from deepseek_operator.weights.errors import InputError, NoRoomError, WeightsError
from tests.unit.weights.conftest import Fetcher, content_of, expected_of

ROOM = 64 * 1024


def mounted(arguments: list[str], place: Path) -> Iterator[Path]:
    place.mkdir(exist_ok=True)
    done = subprocess.run(["mount", *arguments, str(place)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB, less than the checkpoint."""
    yield from mounted(["-t", "tmpfs", "-o", f"size={ROOM}", "none"], tmp_path / "small")


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "sealed"
    place.mkdir()
    subprocess.run(["mount", "--bind", str(place), str(place)], check=False)
    yield from mounted(["-o", "remount,ro,bind"], place)


def diagnosis(error: WeightsError) -> str:
    found = load_operations().diagnose(f"error: {error}")
    assert found is not None, str(error)
    return found.name


def enlarge(place: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=64M", str(place)], check=True)


def test_a_volume_that_is_too_small_is_told_before_anything_is_fetched(fetched: Fetcher, small: Path) -> None:
    fetched.target = small / "w"
    with pytest.raises(NoRoomError, match="are missing") as failed:
        fetched()
    assert diagnosis(failed.value) == "DiskFull"
    assert not list(small.rglob("*.safetensors"))


def test_a_volume_that_fills_up_meanwhile_keeps_what_it_got_and_goes_on_when_there_is_room(
    fetched: Fetcher, small: Path, origin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The check before it starts is blinded: somebody else fills the volume after it.
    for name in ("deepseek_operator.weights.fetch.require_room",):
        monkeypatch.setattr(name, lambda *_, **__: None)
    fetched.target = small / "w"
    with pytest.raises(NoRoomError, match="No space left on device") as failed:
        fetched()
    assert diagnosis(failed.value) == "DiskFull"
    kept = sum(path.stat().st_size for path in (small / "w").rglob("*") if path.is_file())
    assert kept > ROOM // 4
    enlarge(small)
    done = fetched()
    assert content_of(small / "w") == expected_of(origin)
    assert done.received < sum(len(content) for content in expected_of(origin).values())


def test_a_read_only_volume_is_told_and_works_once_it_is_writable(
    fetched: Fetcher, read_only: Path, origin: Path
) -> None:
    fetched.target = read_only
    with pytest.raises(InputError, match="Read-only file system") as failed:
        fetched()
    assert diagnosis(failed.value) == "VolumeReadOnly"
    subprocess.run(["mount", "-o", "remount,rw,bind", str(read_only)], check=True)
    fetched()
    assert content_of(read_only) == expected_of(origin)
    subprocess.run(["mount", "-o", "remount,ro,bind", str(read_only)], check=True)
    assert fetched().received == 0


def test_a_full_disk_is_full_for_the_same_reason_that_was_told(small: Path) -> None:
    with pytest.raises(OSError, match="No space left"):
        (small / "x").write_bytes(os.urandom(2 * ROOM))
    assert shutil.disk_usage(small).free == 0
    with pytest.raises(NoRoomError):
        room.require_room(small, needed=1, files=1)

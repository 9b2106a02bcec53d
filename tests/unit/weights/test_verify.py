from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from deepseek_operator.weights.errors import InputError
from deepseek_operator.weights.progress import Progress
from deepseek_operator.weights.verify import Report, verify
from tests.unit.weights.conftest import Fetcher

SHARD = "model-00002-of-000003.safetensors"


def look(directory: Path, *, full: bool = False) -> Report:
    return verify(directory, full=full, workers=2, progress=Progress())


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_a_complete_directory_has_no_findings(fetched: Fetcher) -> None:
    fetched()

    assert look(fetched.target).findings == ()
    assert look(fetched.target, full=True).findings == ()


@pytest.mark.parametrize(
    ("damage", "words"),
    [(lambda path: path.unlink(), "not there"), (lambda path: path.write_bytes(b""), "0 bytes instead of")],
)
def test_missing_and_cut_files_are_named_without_hashing(
    fetched: Fetcher, damage: Callable[[Path], object], words: str
) -> None:
    fetched()
    damage(fetched.target / SHARD)

    (finding,) = look(fetched.target).findings
    assert finding.path == SHARD
    assert words in finding.problem


def test_a_flipped_bit_is_found_by_the_full_hash_only(fetched: Fetcher) -> None:
    fetched()
    flip(fetched.target / SHARD)

    assert look(fetched.target).findings == ()
    assert [finding.path for finding in look(fetched.target, full=True).findings] == [SHARD]


def test_a_header_that_does_not_fit_its_file_is_found_in_seconds(fetched: Fetcher) -> None:
    fetched()
    path = fetched.target / SHARD
    path.write_bytes(b"\0" * path.stat().st_size)

    (finding,) = look(fetched.target).findings
    assert SHARD in finding.path


def test_a_directory_without_a_marker_is_not_complete(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"it has no .*run weights fetch again"):
        look(tmp_path)
    with pytest.raises(InputError, match="no such directory"):
        look(tmp_path / "none")

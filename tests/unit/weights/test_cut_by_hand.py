"""Weights that the demo's own convert.py cut have no marker and no config.json."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepseek_operator.weights.errors import InputError
from deepseek_operator.weights.progress import Progress
from deepseek_operator.weights.verify import verify_unmarked


def cut(directory: Path, *ranks: int, of: int) -> None:
    for rank in ranks:
        (directory / f"model{rank}-mp{of}.safetensors").touch()
    (directory / "tokenizer.json").touch()


def test_a_file_for_every_rank_is_in_order(tmp_path: Path) -> None:
    cut(tmp_path, *range(12), of=12)
    assert len(verify_unmarked(tmp_path, named="pvc://c/mp12", progress=Progress())) == 12


def test_a_missing_rank_is_told_by_its_file(tmp_path: Path) -> None:
    cut(tmp_path, 0, 2, of=4)
    with pytest.raises(InputError, match=r"2 files of ranks are missing, model1-mp4\.safetensors"):
        verify_unmarked(tmp_path, named="pvc://c/mp4", progress=Progress())


def test_whole_weights_need_their_configuration_still(tmp_path: Path) -> None:
    (tmp_path / "model-00001-of-00002.safetensors").touch()
    with pytest.raises(InputError, match=r"no config\.json"):
        verify_unmarked(tmp_path, named="", progress=Progress())

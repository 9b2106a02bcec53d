"""The fake nodes of the development cluster carry labels that planning understands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from deepseek_operator.catalog.load import load
from deepseek_operator.plan.inventory import read_node, take_inventory
from tests.unit.plan.cases import BF16_SOURCE, plan_of

FOLDER = Path(__file__).parents[3] / "e2e" / "cluster" / "nodes"
FILES = sorted(FOLDER.glob("*.yaml"))


def manifests(path: Path) -> list[dict[str, Any]]:
    documents = [each for each in yaml.safe_load_all(path.read_text("utf-8")) if each]
    return [item for each in documents for item in each.get("items", [each])]


def test_there_are_such_files() -> None:
    assert FILES


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_fake_node_counts(path: Path) -> None:
    inventory = take_inventory(map(read_node, manifests(path)), load())
    assert inventory.skipped == ()
    assert len(inventory.classes) == 1


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_fake_cluster_can_serve_deepseek(path: Path) -> None:
    plan = plan_of(manifests(path), weights=BF16_SOURCE if path.stem.startswith(("ascend", "nvidia-a100")) else {})
    assert plan.memory.fits

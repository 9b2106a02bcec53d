"""What a machine must have for real nodes, and what is done about it."""

from __future__ import annotations

from pathlib import Path

import pytest

from e2e.cluster import requirements


@pytest.fixture
def instances(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The kernel's limit of inotify instances, on a machine that has everything else."""
    file = tmp_path / "max_user_instances"
    monkeypatch.setattr(requirements, "INOTIFY", file)
    monkeypatch.setattr(requirements, "problems", tuple)
    monkeypatch.setattr(requirements, "missing_packages", tuple)
    return file


def test_a_limit_that_kubelets_would_meet_is_raised_and_told(instances: Path) -> None:
    instances.write_text("128\n")
    told: list[str] = []
    requirements.prepare(report=told.append)
    assert int(instances.read_text()) == 1024
    assert any("fs.inotify.max_user_instances" in line for line in told)


def test_a_limit_that_is_high_enough_is_left_alone(instances: Path) -> None:
    instances.write_text("8192\n")
    told: list[str] = []
    requirements.prepare(report=told.append)
    assert instances.read_text() == "8192\n"
    assert not any("inotify" in line for line in told)

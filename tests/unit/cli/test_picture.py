from __future__ import annotations

import io

import pytest
from rich.console import Console

from deepseek_operator.api.config import OperatorConfig
from deepseek_operator.catalog.load import load
from deepseek_operator.cli.cluster import read_file
from deepseek_operator.cli.documents import parse_deployment
from deepseek_operator.cli.picture import Segment, bar, draw, segments
from deepseek_operator.cli.planning import plan_all, surroundings
from deepseek_operator.plan.types import Plan
from tests.unit.cli.conftest import NODES


@pytest.fixture(scope="module")
def plan() -> Plan:
    manifest = {
        "apiVersion": "serving.deepseek-operator.io/v1alpha1",
        "kind": "DeepSeekDeployment",
        "metadata": {"name": "x"},
        "spec": {"model": "deepseek-r1", "precision": "fp8"},
    }
    deployment = parse_deployment(manifest, namespace="default")
    view = read_file(str(NODES / "nvidia-h100.yaml"), load())
    (planned,) = plan_all([deployment], surroundings(view, load(), OperatorConfig(), default_storage_class=True))
    assert isinstance(planned.outcome, Plan)
    return planned.outcome


def drawn(plan: Plan, width: int) -> str:
    screen = Console(file=io.StringIO(), width=width, color_system=None)
    screen.print(draw(plan, title="x", groups=1, width=width))
    assert isinstance(screen.file, io.StringIO)
    return screen.file.getvalue()


def test_every_rank_of_every_node_is_there(plan: Plan) -> None:
    picture = drawn(plan, 100)

    assert all(f"rank {rank} " in picture for rank in range(plan.world_size))
    assert "node 0, leader" in picture
    assert "node 1" in picture


@pytest.mark.parametrize("width", [30, 40, 60, 80, 100, 200])
def test_no_line_is_wider_than_the_terminal(plan: Plan, width: int) -> None:
    assert max(len(line) for line in drawn(plan, width).splitlines()) <= width


def test_nodes_stand_side_by_side_only_where_there_is_room(plan: Plan) -> None:
    def beside(width: int) -> bool:
        return any("rank 0 " in line and "rank 8 " in line for line in drawn(plan, width).splitlines())

    assert (beside(100), beside(60)) == (True, False)


def test_the_reasons_are_there(plan: Plan) -> None:
    assert "considered" in drawn(plan, 100)
    assert "refused" in drawn(plan, 100)


def test_the_parts_of_a_device_sum_to_the_device(plan: Plan) -> None:
    parts = segments(plan.memory, device_gib=plan.hardware.memory_gib)

    assert sum(part.gib for part in parts) == pytest.approx(plan.hardware.memory_gib)


@pytest.mark.parametrize(
    ("gib", "expected"),
    [
        ((50.0, 50.0), "aaaaabbbbb"),
        ((99.9, 0.1), "aaaaaaaaab"),
        ((10.0, 0.0), "aaaaaaaaaa"),
        ((0.0, 0.0), ""),
    ],
)
def test_a_bar_shows_shares_and_hides_nothing_that_exists(gib: tuple[float, float], expected: str) -> None:
    parts = [Segment(label=glyph, gib=size, glyph=glyph, style="") for glyph, size in zip("ab", gib, strict=True)]

    assert bar(parts, width=10).plain == expected

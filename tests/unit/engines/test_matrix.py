"""The support matrix as one table: every cell planned, launched and judged by the engine's own parser, or refused."""

from __future__ import annotations

from collections import Counter
from typing import get_args

import pytest

from deepseek_operator.api.resource import EngineName
from deepseek_operator.catalog.load import load
from deepseek_operator.cli.matrix import FAMILIES, PRECISIONS, Cell, cells
from e2e.parsers import lmdeploy, ray, tensorrt_llm
from e2e.sglang_parser import Command, check

CATALOG = load()
CELLS = list(cells(CATALOG))
ARCHITECTURES = {
    *("sm80", "sm89", "sm90", "sm100", "sm103", "sm120"),
    *("gfx90a", "gfx942", "gfx950", "ascend910b", "ascend910c", "ascend950"),
}


def of(engine: str) -> list[Cell]:
    return [cell for cell in CELLS if cell.engine == engine]


@pytest.mark.parametrize("engine", get_args(EngineName))
def test_every_architecture_precision_and_family_has_its_cell(engine: str) -> None:
    found = Counter((cell.architecture, cell.precision, cell.family) for cell in of(engine))
    assert len(found) == len(ARCHITECTURES) * len(PRECISIONS) * len(FAMILIES)
    assert {architecture for architecture, _, _ in found} == ARCHITECTURES
    assert max(found.values()) == 1


@pytest.mark.parametrize("engine", get_args(EngineName))
def test_what_is_supported_has_a_source_and_what_is_not_a_remedy(engine: str) -> None:
    for cell in of(engine):
        where = f"{cell.family} {cell.architecture} {cell.precision}"
        if cell.plan is None:
            assert any(word in cell.words for word in ("; use ", "; set ", ": set ", "; turn ", " use ")), (
                where,
                cell.words,
            )
        else:
            assert cell.source, where
            assert cell.launch is not None, where
            assert (cell.verdict == "experimental") is bool(cell.words), where
            assert bool(cell.launch.worker_command) is (cell.plan.nodes_per_group > 1), where


@pytest.mark.parametrize("version", sorted({each.version for each in CATALOG.releases if each.engine == "sglang"}))
def test_sglang_takes_every_command_of_its_cells(version: str) -> None:
    commands: dict[str, Command] = {}
    for cell in of("sglang"):
        if cell.plan is not None and cell.launch is not None and cell.plan.engine.version == version:
            where = f"{cell.family} {cell.architecture} {cell.precision}"
            for rank, words in (("leader", cell.launch.leader_command), ("worker", cell.launch.worker_command)):
                if words:
                    argv = words[3:]
                    commands[f"{where} {rank}"] = Command(argv=argv, vendor=cell.plan.hardware.vendor)
    outcomes = check(version, list(commands.values()))
    refused = {where: each.error for where, each in zip(commands, outcomes, strict=True) if each.error is not None}
    assert len(commands) > 5
    assert refused == {}


def test_the_guides_rows_are_as_many_nodes_as_the_guide_says() -> None:
    """DeepSeek-V3's README and SGLang's cookbook, table of hardware."""
    told = {
        (cell.architecture, cell.precision): (cell.plan.nodes_per_group, cell.plan.accelerators_per_node)
        for cell in of("sglang")
        if cell.plan and cell.family == next(iter(FAMILIES))
    }
    expected = {
        ("sm90", "fp8"): (1, 8),  # 8 x H200
        ("sm90", "bf16"): (2, 8),  # 2 x 8 H200
        ("sm80", "bf16"): (4, 8),  # 4 x 8 A100
        ("sm80", "int8"): (2, 8),  # 16 x A100
        ("sm80", "awq"): (1, 8),  # 8 x A100
        ("sm100", "fp8"): (1, 8),  # 8 x B200
        ("gfx942", "fp8"): (1, 8),  # 8 x MI300X
        ("ascend910b", "bf16"): (4, 8),  # 4 x Atlas 800I A2
        ("ascend910b", "int8"): (2, 8),
        ("ascend910c", "int8"): (1, 16),
    }
    assert {key: told[key] for key in expected} == expected


def test_lmdeploy_ray_and_tensorrt_llm_take_every_command_of_their_cells() -> None:
    words = {
        f"{cell.engine} {cell.family} {cell.architecture} {cell.precision}": command
        for engine in ("lmdeploy", "tensorrt-llm")
        for cell in of(engine)
        if cell.launch
        for command in (cell.launch.leader_command, cell.launch.worker_command)
        if command and command[0] != "sshd"
    }
    versions = {each.engine: each.version for each in CATALOG.releases}
    errors = {
        where: tensorrt_llm.parse(command[command.index("trtllm-serve") :], versions["tensorrt-llm"]).error
        for where, command in words.items()
        if "trtllm-serve" in command
    }
    for parser, program in ((lmdeploy.check, "lmdeploy"), (ray.check, "ray")):
        mine = {where: command for where, command in words.items() if command[0] == program}
        outcomes = parser(list(mine.values()), *([versions["lmdeploy"]] if program == "lmdeploy" else []))
        errors |= {where: each.error for where, each in zip(mine, outcomes, strict=True)}
    assert len(errors) == len(words) > 10
    assert set(errors.values()) == {None}

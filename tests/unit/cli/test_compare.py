"""Placements side by side, clusters that one only thinks of, and products that only an administrator knows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.catalog.test_extend import H100_HOUSE, MIRROR
from tests.unit.cli.conftest import FP8, NODES, Run
from tests.unit.plan.test_own_model import V3 as DEEPSEEK_V3

FIT = ("--model", "deepseek-v3-0324", "--precision", "fp8")


def document(run: Run, *arguments: str | Path, code: int = 0) -> Any:
    result = run("plan", "-f", FP8, *arguments, "-o", "json")
    assert result.exit_code == code, result.stderr
    return json.loads(result.stdout)


def test_every_placement_stands_beside_the_others_and_the_first_is_the_plan(run: Run, h100: tuple[str, ...]) -> None:
    found = document(run, *h100, "--compare")
    first, *others = found["placements"]
    assert first["verdict"] == "chosen"
    assert {each["verdict"] for each in others} == {"feasible"}
    assert first["nodesPerGroup"] == found["nodesPerGroup"]
    assert first["parallelism"] == found["parallelism"]
    assert first["kvTokens"] == found["memory"]["kvTokens"]
    splits = [
        (each["nodesPerGroup"], each["parallelism"]["tensor"], each["parallelism"]["pipeline"]) for each in others
    ]
    assert splits == [(2, 8, 2), (4, 16, 2), (4, 8, 4)]


def test_limits_follow_from_the_tokens(run: Run, h100: tuple[str, ...]) -> None:
    for row in document(run, *h100, "--compare")["placements"]:
        assert row["requestsAt4k"] == row["kvTokens"] // 4096
        assert row["requestsAt32k"] == row["kvTokens"] // 32_768
        assert row["contextLength"] <= row["kvTokens"]
        assert row["headroomGiB"] > 0
        assert (row["busy"], row["tight"], row["nodesExpected"]) == (False, False, False)


def test_without_asking_there_is_no_comparison(run: Run, h100: tuple[str, ...]) -> None:
    assert not {"placements", "whatIf"} & document(run, *h100).keys()


def test_nothing_is_compared_where_nothing_works(run: Run) -> None:
    nodes = ("--nodes", NODES / "nvidia-a100-80.yaml", "--default-storage-class")
    assert document(run, *nodes, "--compare", code=3)["placements"] == []


def test_the_text_shows_both_tables(run: Run, h100: tuple[str, ...]) -> None:
    text = run("plan", "-f", FP8, *h100, "--compare", "--what-if", "nodes=1", "--what-if", "product=H200").stdout
    assert "placements that work, the best first" in text
    assert "what if the cluster had" in text
    assert "no plan" in text
    assert "headroom GiB" in text
    assert any(line.startswith("1 x 8 NVIDIA-H100-80GB-HBM3 ") for line in text.splitlines()), "a row is a line"


@pytest.mark.parametrize(
    ("assumption", "nodes", "product", "devices", "fits", "placed"),
    [
        ("nodes=1", 1, "NVIDIA-H100-80GB-HBM3", 8, False, None),
        ("nodes=16", 16, "NVIDIA-H100-80GB-HBM3", 8, True, 2),
        ("product=H200", 1, "NVIDIA-H200", 8, True, 1),
        ("nodes=4,devices=4", 4, "NVIDIA-H100-80GB-HBM3", 4, True, 4),
        ("product=A100 , nodes=4", 4, "NVIDIA-A100-SXM4-80GB", 8, False, None),
        ("product=MI300X,nodes=1", 1, "MI300X", 8, True, 1),
    ],
)
def test_a_cluster_that_one_only_thinks_of_is_planned_on(
    run: Run,
    h100: tuple[str, ...],
    assumption: str,
    nodes: int,
    product: str,
    devices: int,
    fits: bool,  # noqa: FBT001 - a column of the table
    placed: int | None,
) -> None:
    found = document(run, *h100, "--what-if", assumption)
    (answer,) = found["whatIf"]
    assert answer["assumed"] == {"nodes": nodes, "product": product, "devices": devices}
    assert (answer["fits"], answer["nodesPerGroup"]) == (fits, placed)
    assert bool(answer["problems"]) is not fits
    # What is there decides the exit code and the plan itself.
    assert found["nodesPerGroup"] == 2


def test_assumed_nodes_stand_in_one_domain_of_the_topology(run: Run, h100: tuple[str, ...], tmp_path: Path) -> None:
    wish = tmp_path / "wish.yaml"
    wish.write_text(FP8.read_text() + "  scheduling: {topologyKey: rack}\n")
    result = run("plan", "-f", wish, *h100, "--what-if", "nodes=4", "-o", "json")
    assert result.exit_code == 3, "no node carries the label"
    assert json.loads(result.stdout)["whatIf"][0]["nodesPerGroup"] == 2


def test_a_small_models_placements_begin_with_its_plan(run: Run, h100: tuple[str, ...], tmp_path: Path) -> None:
    wish = tmp_path / "wish.yaml"
    text = FP8.read_text().replace("deepseek-ai/DeepSeek-V3-0324", "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B")
    wish.write_text(text.replace("precision: fp8", "precision: bf16"))
    result = run("plan", "-f", wish, *h100, "--compare", "-o", "json")
    found = json.loads(result.stdout)
    first, second = found["placements"][:2]
    assert first["acceleratorsPerNode"] == found["hardware"]["acceleratorsPerNode"] == 1
    assert second["acceleratorsPerNode"] == 2


def test_a_model_of_ones_own_is_compared_too(run: Run, h100: tuple[str, ...], tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps(DEEPSEEK_V3))
    wish = tmp_path / "wish.yaml"
    wish.write_text(
        FP8.read_text().replace("deepseek-ai/DeepSeek-V3-0324", "example/own")
        + "  weights: {source: pvc://w/own-fp8}\n"
    )
    options = (*h100, "--compare", "--what-if", "product=H200", "-o", "json")
    assert run("plan", "-f", wish, *options).exit_code == 2
    found = json.loads(run("plan", "-f", wish, *options, "--model-config", config).stdout)
    assert found["placements"][0]["nodesPerGroup"] == found["nodesPerGroup"] == 2
    assert found["whatIf"][0]["nodesPerGroup"] == 1


def test_several_assumptions_are_answered_in_their_order(run: Run, h100: tuple[str, ...]) -> None:
    found = document(run, *h100, "--what-if", "nodes=3", "--what-if", "nodes=2")
    assert [each["assumed"]["nodes"] for each in found["whatIf"]] == [3, 2]


def test_an_assumption_replaces_the_wish_for_hardware(run: Run, h100: tuple[str, ...], tmp_path: Path) -> None:
    wish = tmp_path / "wish.yaml"
    wish.write_text(FP8.read_text() + "  hardware: {product: H100}\n")
    result = run("plan", "-f", wish, *h100, "--what-if", "product=H200", "-o", "json")
    assert json.loads(result.stdout)["whatIf"][0]["hardware"]["product"] == "NVIDIA-H200"


def test_yaml_is_the_same_document_as_json(run: Run, h100: tuple[str, ...]) -> None:
    options = (*h100, "--compare", "--what-if", "nodes=3")
    as_yaml = run("plan", "-f", FP8, *options, "-o", "yaml").stdout
    assert yaml.safe_load(as_yaml) == document(run, *options)


@pytest.mark.parametrize(
    ("assumption", "says"),
    [
        ("", "write nodes=N"),
        ("nodes", "write nodes=N"),
        ("nodes=4,nodes=5", "each at most once"),
        ("gpus=4", "product=NAME"),
        ("nodes=0", "a whole number from 1"),
        ("nodes=many", "a whole number from 1"),
        ("devices=65", "from 1 to 64"),
        ("product=H1000", "NVIDIA-H100-80GB-HBM3"),
    ],
)
def test_a_wrong_assumption_is_exit_code_2(run: Run, h100: tuple[str, ...], assumption: str, says: str) -> None:
    result = run("plan", "-f", FP8, *h100, "--what-if", assumption)
    assert result.exit_code == 2
    assert "--what-if" in result.stderr
    assert says in result.stderr


def test_a_refusal_tells_programs_what_would_work(run: Run, h100: tuple[str, ...], tmp_path: Path) -> None:
    wish = tmp_path / "wish.yaml"
    wish.write_text(FP8.read_text() + "  parallelism: {tensor: 24}\n")
    result = run("plan", "-f", wish, *h100, "-o", "json")
    assert json.loads(result.stdout)["suggestions"] == [
        {"field": "spec.parallelism.tensor", "set": {"spec.parallelism.tensor": 16}}
    ]


@pytest.fixture
def house(tmp_path: Path) -> tuple[Path, Path]:
    """Nodes of a product that the catalogue lacks, and the ConfigMap that adds it with an image and a wrong entry."""
    nodes = tmp_path / "nodes.yaml"
    nodes.write_text(
        (NODES / "nvidia-h100.yaml")
        .read_text()
        .replace("NVIDIA-H100-80GB-HBM3", "NVIDIA-H100-HOUSE")
        .replace("81559", "95830")
    )
    lists = {"accelerators": [H100_HOUSE, {"product": "?"}], "engines": [MIRROR]}
    catalog = tmp_path / "catalog.yaml"
    catalog.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "house"},
                "data": {"all.yaml": yaml.safe_dump(lists)},
            }
        )
    )
    return nodes, catalog


def test_a_product_of_ones_own_is_planned_on_and_a_wrong_entry_is_a_line(run: Run, house: tuple[Path, Path]) -> None:
    nodes, catalog = house
    common = ("--nodes", nodes, "--default-storage-class")
    assert run("plan", "-f", FP8, *common).exit_code == 3
    result = run("plan", "-f", FP8, *common, "--catalog", catalog, "-o", "json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["hardware"]["product"] == "NVIDIA-H100-HOUSE"
    assert found["engine"]["image"] == MIRROR["image"]
    line = "ConfigMap house, all.yaml: accelerators[1]: vendor"
    assert any(line.rpartition(":")[0] in each for each in found["warnings"])
    assert "the entry is ignored" in result.stderr
    rendered = run("render", "-f", FP8, *common, "--catalog", catalog)
    assert MIRROR["image"] in rendered.stdout


def test_fit_knows_the_product_too(run: Run, house: tuple[Path, Path], tmp_path: Path) -> None:
    plain = tmp_path / "plain.yaml"
    plain.write_text(yaml.safe_dump({"accelerators": [H100_HOUSE]}))
    assert run("fit", *FIT, "--product", "H100-HOUSE", "-o", "json").exit_code == 2
    for catalog in (plain, house[1]):
        result = run("fit", *FIT, "--product", "H100-HOUSE", "--tensor", "16", "--catalog", catalog, "-o", "json")
        assert json.loads(result.stdout)["fits"] is True


def test_a_catalogue_that_is_no_file_is_exit_code_2(run: Run, h100: tuple[str, ...], tmp_path: Path) -> None:
    assert run("plan", "-f", FP8, *h100, "--catalog", tmp_path / "none.yaml").exit_code == 2

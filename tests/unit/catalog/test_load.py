"""The catalogue's files: what is in them, and how a wrong one is refused."""

from __future__ import annotations

import shutil
from importlib import resources
from pathlib import Path

import pytest

from deepseek_operator.catalog.load import CatalogError, load, read

SHIPPED = Path(str(resources.files("deepseek_operator.catalog")))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("models", "accelerators", "engines", "fabrics"):
        shutil.copytree(SHIPPED / name, tmp_path / name)
    return tmp_path


def edit(folder: Path, file: str, old: str, new: str) -> None:
    path = folder / file
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), "utf-8")


def test_the_five_models_are_known_with_their_fp8_weights_only() -> None:
    catalog = load()
    assert sorted(catalog.models) == [
        "deepseek-r1",
        "deepseek-r1-0528",
        "deepseek-v3",
        "deepseek-v3-0324",
        "deepseek-v3.1",
    ]
    for model in catalog.models.values():
        assert set(model.checkpoints) == {"fp8"}
        assert model.checkpoints["fp8"].size_gib == pytest.approx(688.6e9 / 2**30, rel=0.001)
        assert model.bf16_size_gib == pytest.approx(1369e9 / 2**30, rel=0.001)
        assert len(model.checkpoints["fp8"].revision) == 40


@pytest.mark.parametrize(
    ("model", "reasoning", "tool_call"),
    [
        ("deepseek-v3", None, "deepseekv3"),
        ("deepseek-v3-0324", None, "deepseekv3"),
        ("deepseek-v3.1", "deepseek-v3", "deepseekv31"),
        ("deepseek-r1", "deepseek-r1", None),
        ("deepseek-r1-0528", "deepseek-r1", "deepseekv3"),
    ],
)
def test_a_model_gets_the_parsers_of_its_own_format(model: str, reasoning: str | None, tool_call: str | None) -> None:
    parsers = load().models[model].parsers
    assert (parsers.reasoning, parsers.tool_call) == (reasoning, tool_call)
    assert (parsers.chat_template is None) == (tool_call is None)


@pytest.mark.parametrize("architecture", ["sm80", "gfx90a", "ascend910b", "ascend910c"])
def test_an_architecture_without_fp8_units_runs_bf16_only(architecture: str) -> None:
    products = [each for each in load().accelerators if each.architecture == architecture]
    assert products
    assert all(each.precisions == ("bf16",) for each in products)


@pytest.mark.parametrize("architecture", ["sm89", "sm90", "sm100", "sm103", "gfx942", "gfx950"])
def test_an_architecture_with_fp8_units_runs_fp8_first(architecture: str) -> None:
    products = [each for each in load().accelerators if each.architecture == architecture]
    assert products
    assert all(each.precisions == ("fp8", "bf16") for each in products)


WITHOUT_IMAGE = {"sm120", "ascend950"}
"""Seen and named by the inventory; no engine of the catalogue runs DeepSeek there yet."""


def test_every_accelerator_has_an_image_of_its_own_architecture() -> None:
    catalog = load()
    for accelerator in catalog.accelerators:
        if accelerator.architecture in WITHOUT_IMAGE:
            continue
        images = [
            each.image
            for each in catalog.releases
            if each.vendor == accelerator.vendor and accelerator.architecture in each.architectures
        ]
        assert images, accelerator.product
        if accelerator.architecture == "gfx950":
            assert all(image.endswith("-mi35x") for image in images)
        if accelerator.architecture == "gfx942":
            assert all(image.endswith("-mi30x") for image in images)


def test_no_spelling_names_two_products() -> None:
    seen: dict[str, str] = {}
    for accelerator in load().accelerators:
        for name in {each.casefold() for each in (accelerator.product, *accelerator.aliases)}:
            assert seen.setdefault(name, accelerator.product) == accelerator.product


@pytest.mark.parametrize(
    ("file", "old", "new", "key"),
    [
        ("models/deepseek-r1.yaml", "  hidden: 7168", "  hiden: 7168", "dimensions.hidden"),
        ("models/deepseek-r1.yaml", "  hidden: 7168", "  hidden: 7168\n  hiden: 7168", "dimensions.hiden"),
        ("models/deepseek-r1.yaml", "  heads: 128", "  heads: 0", "dimensions.heads"),
        ("models/deepseek-r1.yaml", "  heads: 128", "  heads: many", "dimensions.heads"),
        ("accelerators/amd.yaml", "memory_gib: 64.0", "memory_gb: 64.0", "memory_gib"),
        ("accelerators/amd.yaml", "  collective: rccl", "  collective: nickel", "collective"),
        ("engines/sglang.yaml", "    verified: false", "    verifed: false", "verified"),
        ("engines/sglang.yaml", "[gfx950]", "[gfx951]", "releases.architectures"),
        ("engines/sglang.yaml", "memory_tiers:", "memory_teers:", "memory_teers"),
        ("fabrics/rdma.yaml", "exclusive:", "exclusiv:", "exclusiv"),
    ],
)
def test_a_wrong_file_is_refused_with_its_name_and_the_key(
    folder: Path, file: str, old: str, new: str, key: str
) -> None:
    edit(folder, file, old, new)
    with pytest.raises(CatalogError) as caught:
        read(folder)
    assert caught.value.file.startswith(file)
    assert key in str(caught.value)


def test_a_figure_without_a_source_is_refused(folder: Path) -> None:
    path = folder / "models" / "deepseek-r1.yaml"
    lines = path.read_text("utf-8").splitlines()
    path.write_text("\n".join("source: ''" if each.startswith("source:") else each for each in lines), "utf-8")
    with pytest.raises(CatalogError, match=r"models/deepseek-r1\.yaml: source: must name"):
        read(folder)


def test_a_file_that_is_no_yaml_is_refused_with_its_name(folder: Path) -> None:
    (folder / "fabrics" / "rdma.yaml").write_text("shared: [", "utf-8")
    with pytest.raises(CatalogError, match=r"fabrics/rdma\.yaml: cannot be read"):
        read(folder)


def test_the_copy_reads_as_the_package_itself(folder: Path) -> None:
    assert read(folder) == load()

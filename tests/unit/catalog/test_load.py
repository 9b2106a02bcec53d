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


LARGE = ("deepseek-r1", "deepseek-r1-0528", "deepseek-v3", "deepseek-v3-0324", "deepseek-v3.1")
SPARSE = ("deepseek-v3.2", "deepseek-v3.2-exp")
OLDER = ("deepseek-v2", "deepseek-v2-lite", "deepseek-v2.5")
DISTILLED = (
    "deepseek-r1-0528-qwen3-8b",
    *(
        f"deepseek-r1-distill-{each}"
        for each in ("llama-70b", "llama-8b", "qwen-1.5b", "qwen-14b", "qwen-32b", "qwen-7b")
    ),
)


def test_the_models_are_known_with_the_weights_of_their_publisher() -> None:
    models = load().models
    assert sorted(models) == sorted((*LARGE, *SPARSE, *OLDER, *DISTILLED))
    assert {name: set(models[name].checkpoints) for name in models} == {
        **{name: {"fp8"} for name in (*LARGE, *SPARSE)},
        **{name: {"bf16"} for name in (*OLDER, *DISTILLED)},
    }
    for model in (models[name] for name in LARGE):
        assert model.checkpoints["fp8"].size_gib == pytest.approx(688.6e9 / 2**30, rel=0.001)
        assert model.bf16_size_gib == pytest.approx(1369e9 / 2**30, rel=0.001)
        assert len(model.checkpoints["fp8"].revision) == 40


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        # Parameters in billions as the model cards and safetensors metadata on Hugging Face say.
        ("deepseek-v2", 235.7),
        ("deepseek-v2-lite", 15.7),
        ("deepseek-r1-0528-qwen3-8b", 8.19),
        ("deepseek-r1-distill-qwen-1.5b", 1.78),
        ("deepseek-r1-distill-qwen-7b", 7.62),
        ("deepseek-r1-distill-qwen-14b", 14.8),
        ("deepseek-r1-distill-qwen-32b", 32.8),
        ("deepseek-r1-distill-llama-8b", 8.03),
        ("deepseek-r1-distill-llama-70b", 70.6),
    ],
)
def test_the_dimensions_of_a_model_give_its_published_size(name: str, parameters: float) -> None:
    assert load().models[name].checkpoints["bf16"].size_gib == pytest.approx(parameters * 2e9 / 2**30, rel=0.01)


def test_every_quantised_variant_has_its_layout_and_another_publisher() -> None:
    catalog = load()
    found = {(model.name, each.layout) for model in catalog.models.values() for each in model.variants}
    assert {("deepseek-r1", "int8-block128"), ("deepseek-r1", "int8-channel"), ("deepseek-r1", "w4afp8")} <= found
    assert {("deepseek-r1", "nvfp4"), ("deepseek-r1-0528", "mxfp4"), ("deepseek-v3", "awq-group64")} <= found
    assert {each.precision for each in catalog.layouts.values()} == {
        "fp8", "bf16", "int8", "w4a8", "w4afp8", "awq", "gptq", "nvfp4", "mxfp4",
    }  # fmt: skip


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
            if (each.engine, each.vendor) == ("sglang", accelerator.vendor)
            and accelerator.architecture in each.architectures
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
        ("models/deepseek-r1.yaml", "  kv_lora_rank: 512\n", "", "dimensions"),
        ("models/deepseek-r1.yaml", "  routed_experts: 256\n", "", "dimensions"),
        ("models/deepseek-r1.yaml", "layout: int8-channel", "layout: int9-channel", "layout"),
        ("models/deepseek-r1.yaml", "meituan/DeepSeek-R1-Block", "deepseek-ai/DeepSeek-R1-Block", "variants"),
        ("models/deepseek-r1.yaml", "layout: w4afp8", "layout: int8-channel", "precision"),
        ("models/deepseek-v3.2.yaml", "  index_head_dim: 128\n", "", "dimensions"),
        ("engines/sglang.yaml", "    routed: mxfp4", "    routed: mxfp5", "routed"),
        ("engines/sglang.yaml", "    block: 32", "    blok: 32", "blok"),
        ("engines/vllm.yaml", "  block_size: 64", "  block_size: 0", "block_size"),
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

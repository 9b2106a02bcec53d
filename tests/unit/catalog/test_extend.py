"""What an administrator adds: taken entry by entry, checked as the package's own, never half."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from deepseek_operator.api.names import CATALOG_LABEL
from deepseek_operator.catalog.extend import Document, Extended, extend
from deepseek_operator.catalog.load import load
from deepseek_operator.plan.inventory import read_node, take_inventory
from deepseek_operator.plan.placement import make_plan
from deepseek_operator.plan.types import Plan
from tests.unit.plan import nodes
from tests.unit.plan.cases import FACTS, spec_of

H100_HOUSE: dict[str, Any] = {
    "vendor": "nvidia",
    "product": "NVIDIA-H100-HOUSE",
    "aliases": ["H100-HOUSE"],
    "architecture": "sm90",
    "compute_major": 9,
    "memory_gib": 93.6,
    "devices_per_node": 8,
    "precisions": ["fp8", "bf16"],
    "kv_precisions": ["bf16", "fp8"],
    "labels": [{"nvidia.com/gpu.product": "NVIDIA-H100-HOUSE"}],
    "source": "gpu.memory of our nodes, 95830 MiB",
}
MIRROR: dict[str, Any] = {
    "engine": "sglang",
    "vendor": "nvidia",
    "architectures": ["sm90"],
    "version": "0.5.23",
    "image": "registry.example/sglang:v0.5.23",
    "source_tree": "/sgl-workspace/sglang",
    "aiter_fraction": 1.0,
    "verified": True,
    "source": "mirrored by us",
}


CHECKPOINT: dict[str, Any] = {
    **asdict(load().models["deepseek-r1"].checkpoints["fp8"]),
    "repository": "example/House-R1",
}


def extended(*texts: str, **lists: Any) -> Extended:
    documents = [Document(name=f"file {index}", text=text) for index, text in enumerate(texts)]
    if lists:
        documents.append(Document(name="file", text=yaml.safe_dump(lists)))
    return extend(load(), documents)


def own_model(**changes: Any) -> dict[str, Any]:
    model = load().models["deepseek-r1"]
    data = asdict(model)
    return {
        **data,
        "name": "house-r1",
        "repository": "example/House-R1",
        "aliases": [],
        "dimensions": {name: size for name, size in data["dimensions"].items() if size},
        "checkpoints": [{**each, "repository": "example/House-R1"} for each in data["checkpoints"].values()],
        **changes,
    }


def test_a_product_that_was_unknown_is_planned_on() -> None:
    found = extended(accelerators=[H100_HOUSE])
    assert (found.problems, found.added) == ((), 1)
    cluster = [nodes.nvidia(name, "NVIDIA-H100-HOUSE", memory=95830, major=9, rdma=True) for name in "ab"]
    for catalog, planned in ((load(), False), (found.catalog, True)):
        inventory = take_inventory(map(read_node, cluster), catalog)
        plan = make_plan(spec_of({}), inventory, catalog, FACTS, namespace="default", name="x")
        assert isinstance(plan, Plan) is planned
        if isinstance(plan, Plan):
            assert plan.hardware.product == "NVIDIA-H100-HOUSE"


def test_a_product_runs_what_its_architecture_runs_unless_it_says_otherwise() -> None:
    entry = {key: value for key, value in H100_HOUSE.items() if not key.endswith("precisions")}
    (made, *_), (narrow, *_) = (
        extended(accelerators=[each]).catalog.accelerators for each in (entry, {**entry, "precisions": ["bf16"]})
    )
    assert (made.precisions, made.kv_precisions) == (("fp8", "bf16"), ("bf16", "fp8"))
    assert narrow.precisions == ("bf16",)


def test_an_added_product_comes_before_a_pattern_that_matches_it_too() -> None:
    house = "AMD_Instinct_MI300X_HOUSE"
    entry = {
        **H100_HOUSE,
        "vendor": "amd",
        "product": house,
        "aliases": [],
        "architecture": "gfx942",
        "compute_major": None,
        "memory_gib": 192.0,
        "labels": [{"amd.com/gpu.product-name": house}],
    }
    node = nodes.amd("a", device_id="ffff", product=house, vram="192G")
    for catalog, product in ((load(), "MI300X"), (extended(accelerators=[entry]).catalog, house)):
        (found,) = take_inventory([read_node(node)], catalog).classes
        assert found.product == product


def test_an_image_from_a_mirror_takes_the_place_of_the_same_release_for_its_architectures() -> None:
    catalog = extended(engines=[MIRROR]).catalog
    nvidia = [each for each in catalog.releases if (each.vendor, each.version) == ("nvidia", "0.5.23")]
    by_architecture = {name: each.image for each in nvidia for name in each.architectures}
    assert by_architecture.pop("sm90") == "registry.example/sglang:v0.5.23"
    assert set(by_architecture.values()) == {"lmsysorg/sglang:v0.5.23"}
    assert {"sm80", "sm100"} <= by_architecture.keys()
    first = next(each for each in catalog.releases if each.engine == "sglang" and "sm90" in each.architectures)
    assert first.image == "registry.example/sglang:v0.5.23"


def test_a_new_version_can_be_asked_for_and_does_not_become_the_default() -> None:
    catalog = extended(engines=[{**MIRROR, "version": "0.5.24"}]).catalog
    cluster = [nodes.h200("a")]
    inventory = take_inventory(map(read_node, cluster), catalog)
    plans = [
        make_plan(spec_of({"engine": engine}), inventory, catalog, FACTS, namespace="default", name="x")
        for engine in ({}, {"version": "0.5.24"})
    ]
    assert [plan.engine.version for plan in plans if isinstance(plan, Plan)] == ["0.5.23", "0.5.24"]


def test_a_model_of_ones_own_is_found_by_its_repository() -> None:
    found = extended(models=[own_model()])
    assert found.problems == ()
    inventory = take_inventory(map(read_node, [nodes.h200("a")]), found.catalog)
    spec = spec_of({"model": "example/house-r1"})
    plan = make_plan(spec, inventory, found.catalog, FACTS, namespace="default", name="x")
    assert isinstance(plan, Plan)
    assert plan.weights.repository == "example/House-R1"


@pytest.mark.parametrize(
    ("lists", "place", "says"),
    [
        ({"accelerators": [{**H100_HOUSE, "memory_gb": 94}]}, "accelerators[0]", "memory_gb: is not a key"),
        ({"accelerators": [{**H100_HOUSE, "precisions": []}]}, "accelerators[0]", "precisions: must not be empty"),
        ({"accelerators": [{**H100_HOUSE, "labels": [{}]}]}, "accelerators[0]", "labels: each must hold a label"),
        ({"accelerators": [{**H100_HOUSE, "memory_gib": float("nan")}]}, "accelerators[0]", "a number that is none"),
        ({"engines": [{**MIRROR, "architectures": []}]}, "engines[0]", "architectures: must not be empty"),
        ({"accelerators": [{**H100_HOUSE, "memory_gib": -1}]}, "accelerators[0]", "must be greater than zero"),
        ({"accelerators": [{**H100_HOUSE, "source": " "}]}, "accelerators[0]", "must name where the figures come from"),
        ({"accelerators": [{**H100_HOUSE, "vendor": "intel"}]}, "accelerators[0]", "use amd, ascend or nvidia"),
        ({"accelerators": [{**H100_HOUSE, "architecture": "sm91"}]}, "accelerators[0]", "use sm100"),
        (
            {"accelerators": [{**H100_HOUSE, "aliases": ["H100"]}]},
            "accelerators[0]",
            "H100 means NVIDIA-H100-80GB-HBM3",
        ),
        ({"accelerators": [{"product": "X"}]}, "accelerators[0]", "Field required"),
        ({"accelerators": ["X"]}, "accelerators[0]", "must be a mapping"),
        ({"accelerators": {}}, "accelerators", "must be a list"),
        ({"models": [own_model(repository="deepseek-ai/DeepSeek-R1")]}, "models[0]", "means deepseek-r1 already"),
        ({"models": [{"name": "x"}]}, "models[0]", "repository"),
        ({"models": [own_model(name=" ")]}, "models[0]", "name: must not be empty"),
        ({"models": [own_model(checkpoints=[{**CHECKPOINT, "layout": "fp9"}])]}, "models[0]", "fp9 is not one of"),
        ({"models": [own_model(checkpoints=[{**CHECKPOINT, "layout": "bf16"}])]}, "models[0]", "bf16 is bf16"),
        ({"models": [own_model(repository="other/R1")]}, "models[0]", "is a variant: not of other"),
        (
            {"engines": [{**MIRROR, "engine": "tgi"}]},
            "engines[0]",
            "tgi is not known; use deepseek-infer, lmdeploy, ",
        ),
        ({"engines": [{**MIRROR, "architectures": ["sm70"]}]}, "engines[0]", "no accelerator of nvidia has"),
        ({"engine": []}, "engine", "use accelerators, models or engines"),
    ],
)
def test_a_bad_entry_is_named_and_left_out(lists: dict[str, Any], place: str, says: str) -> None:
    found = extended(**lists)
    (problem,) = found.problems
    assert problem.field == f"file: {place}"
    assert says in problem.message
    assert found.catalog == load()


def test_a_bad_entry_does_not_take_the_good_ones_with_it() -> None:
    found = extended("accelerators: [", "just text", accelerators=[{"product": "X"}, H100_HOUSE], engines=[MIRROR])
    assert [each.field for each in found.problems] == ["file 0", "file 1", "file: accelerators[0]"]
    assert found.added == 2
    assert "NVIDIA-H100-HOUSE" in {each.product for each in found.catalog.accelerators}


def test_a_release_may_be_for_a_product_of_a_later_document() -> None:
    late = yaml.safe_dump({"accelerators": [{**H100_HOUSE, "architecture": "sm90"}]})
    assert extended(yaml.safe_dump({"engines": [MIRROR]}), late).problems == ()


def test_the_example_of_the_guide_is_taken_whole() -> None:
    guide = (Path(__file__).parents[3] / "docs" / "catalogue.md").read_text("utf-8")
    example = yaml.safe_load(guide.partition("```yaml\n")[2].partition("```")[0])
    assert example["metadata"]["labels"] == {CATALOG_LABEL: "true"}
    found = extended(*example["data"].values())
    assert found.problems == ()
    assert found.added == 2


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3),
    max_leaves=8,
)
GOOD = {"accelerators": H100_HOUSE, "models": own_model(), "engines": MIRROR}


@settings(max_examples=150, deadline=None)
@given(kind=st.sampled_from(sorted(GOOD)), data=st.data())
def test_no_entry_whatsoever_ends_the_operator(kind: str, data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(sorted(GOOD[kind])))
    entry = data.draw(st.just({**GOOD[kind], key: data.draw(anything)}) | anything)
    found = extended(yaml.safe_dump({kind: [entry]}), yaml.safe_dump({data.draw(st.text(max_size=8)): entry}))
    assert found.added <= 1
    plan_all(found)


def plan_all(found: Extended) -> None:
    """Whatever was taken can be planned with."""
    cluster = [
        nodes.h200("a"),
        *(nodes.nvidia(name, "NVIDIA-H100-HOUSE", memory=95830, major=9, rdma=True) for name in "bc"),
    ]
    inventory = take_inventory(map(read_node, cluster), found.catalog)
    for model in found.catalog.models:
        make_plan(spec_of({"model": model}), inventory, found.catalog, FACTS, namespace="default", name="x")


@settings(max_examples=60, deadline=None)
@given(key=st.sampled_from(sorted(GOOD["models"]["dimensions"])), size=st.integers(1, 10**7))
def test_a_model_of_any_size_is_planned_or_refused(key: str, size: int) -> None:
    dimensions = {**GOOD["models"]["dimensions"], key: size}
    plan_all(extended(models=[own_model(dimensions=dimensions)]))

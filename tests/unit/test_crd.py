from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from deepseek_operator.api.crd import crd, crd_yaml, unvisited_status
from deepseek_operator.api.resource import Spec
from deepseek_operator.api.schema import at
from deepseek_operator.api.status import Status
from deepseek_operator.api.validation import RULES, problems
from e2e.release.generate import ROOT, generated
from tests.structural import Schema, errors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OBJECT = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
SPEC = at(OBJECT, "spec")
SAMPLES = sorted(path for path in (ROOT / "manifests").glob("*.yaml") if path.name != "install.yaml")

# What has to stand beside a field for its object to be complete.
REQUIRED = {
    "model": "m",
    "env[]": {"name": "A"},
    "tokenSecret": {"name": "a"},
    "volumes[]": {"name": "a"},
    "volumeMounts[]": {"name": "a", "mountPath": "/a"},
}


@pytest.mark.parametrize("path", generated(), ids=lambda path: path.name)
def test_checked_in_files_are_what_the_models_say(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == generated()[path], "stale: run `make generate`"


def test_the_crd_fits_into_the_annotation_of_client_side_apply() -> None:
    assert len(json.dumps(crd())) < 128 * 1024  # half of the limit of 256 KiB


def test_the_crd_is_the_same_at_each_call() -> None:
    assert crd_yaml() == crd_yaml()
    assert yaml.safe_load(crd_yaml()) == crd()


def test_only_replicas_and_status_are_defaulted_into_stored_objects() -> None:
    assert [path for path, node in nodes(OBJECT) if "default" in node] == ["spec.replicas", "status"]


def test_every_list_says_how_it_is_merged() -> None:
    lists = [(path, node) for path, node in nodes(OBJECT) if node["type"] == "array"]
    assert len(lists) > 10
    for path, node in lists:
        assert node.get("x-kubernetes-list-type") in {"atomic", "map", "set"}, path
        for key in node.get("x-kubernetes-list-map-keys", ()):
            assert key in node["items"]["required"], path


def test_the_groups_of_status_are_one_value_since_following_each_field_doubles_the_cost_of_a_status_write() -> None:
    assert at(OBJECT, "status.groups")["x-kubernetes-list-type"] == "atomic"


def test_every_field_is_described() -> None:
    bare = [path for path, node in nodes(OBJECT) if "description" not in node]
    assert [path for path in bare if path.startswith(("spec", "status")) and path[-1] not in "]*"] == []


def test_every_rule_blames_a_field_that_exists() -> None:
    for rule in RULES:
        assert at(at(OBJECT, rule.path), rule.field)


def test_status_before_the_first_visit_is_unknown_in_every_condition() -> None:
    status = unvisited_status()
    assert errors(at(OBJECT, "status"), status) == []
    assert Status.model_validate(status).observed_generation == -1
    assert {condition["status"] for condition in status["conditions"]} == {"Unknown"}
    kinds = [condition["type"] for condition in status["conditions"]]
    assert {"Ready", "Reconciling", "Stalled"} < set(kinds)


def test_selectable_and_scaled_fields_are_in_the_schema() -> None:
    version = crd()["spec"]["versions"][0]
    paths = [item["jsonPath"] for item in version["selectableFields"]]
    paths += version["subresources"]["scale"].values()
    assert [at(OBJECT, path[1:])["type"] for path in paths] == [
        "string",
        "string",
        "integer",
        "integer",
        "string",
    ]


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_samples_are_short_and_valid(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len([line for line in text.splitlines() if not line.startswith("#")]) <= 10
    sample = yaml.safe_load(text)
    assert errors(OBJECT, {**sample, "metadata": {"name": sample["metadata"]["name"]}}) == []
    assert problems(name=sample["metadata"]["name"], spec=Spec.model_validate(sample["spec"])) == ()


def nodes(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}" if path else name)
    if "items" in schema:
        yield from nodes(schema["items"], f"{path}[]")
    if "additionalProperties" in schema:
        yield from nodes(schema["additionalProperties"], f"{path}.*")


LEAVES = [path for path, node in nodes(SPEC) if not {"properties", "items", "additionalProperties"} & node.keys()]


def spec_with(path: str, value: object) -> dict[str, Any]:
    """The smallest spec that has a value at a path."""
    spec: dict[str, Any] = {"model": "m"}
    place: Any = spec
    *parents, last = path.split(".")
    for name in parents:
        inner = copy.deepcopy(REQUIRED.get(name, {}))
        place[name.removesuffix("[]")] = [inner] if name.endswith("[]") else inner
        place = inner
    if last.endswith("[]"):
        place[last.removesuffix("[]")] = [value]
    else:
        place["key" if last == "*" else last] = value
    return spec


def values(path: str) -> st.SearchStrategy[tuple[str, object]]:
    """Values for a field: its own, those just beyond its bounds, and ones of other types."""
    node = at_leaf(path)
    edges: list[object] = [
        *node.get("enum", ()),
        "",
        "a",
        "A b",
        "a\n",
        "a\u00a0b",
        "é",
        0,
        1,
        True,
        1.5,
        [],
        {},
    ]
    edges += [node[bound] + step for bound in ("minimum", "maximum") if bound in node for step in (-1, 0, 1)]
    edges += [char * (node["maxLength"] + step) for char in "a1/" for step in (0, 1) if "maxLength" in node]
    texts = st.from_regex(node["pattern"]) if "pattern" in node else st.text()
    return st.tuples(st.just(path), st.sampled_from(edges) | texts | st.integers())


def at_leaf(path: str) -> Schema:
    node = SPEC
    for name in path.split("."):
        if name == "*":
            node = node["additionalProperties"]
            continue
        node = node["properties"][name.removesuffix("[]")]
        node = node["items"] if name.endswith("[]") else node
    return node


@settings(max_examples=1500, deadline=None, derandomize=True)
@given(st.sampled_from(LEAVES).flatmap(values))
@example(("servedName", "a\u00a0b"))
def test_models_and_schema_accept_the_same_values(case: tuple[str, object]) -> None:
    spec = spec_with(*case)
    assert bool(refused_by_models(spec)) == bool(errors(SPEC, spec)), spec


def refused_by_models(spec: dict[str, Any]) -> str | None:
    try:
        Spec.model_validate(spec, strict=True)
    except ValidationError as error:
        return str(error)
    return None

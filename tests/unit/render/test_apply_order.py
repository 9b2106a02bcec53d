from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from deepseek_operator.api.config import OperatorConfig
from deepseek_operator.api.resource import Spec
from deepseek_operator.plan.types import Plan
from deepseek_operator.render.apply_order import all_objects, group_objects, shared_objects
from deepseek_operator.render.digest import desired_hash
from tests.unit.render.samples import (
    CAST_WEIGHTS,
    CLAIM_WEIGHTS,
    FP8_SPEC,
    H100_PLAN,
    LAUNCH,
    MOUNTED_WEIGHTS,
    OWNER,
    RANK_WEIGHTS,
    SCRATCH_WEIGHTS,
    SHARED_WEIGHTS,
    revision,
    spec,
)

GOLDEN = Path(__file__).parent / "golden" / "h100.yaml"
CONFIG = OperatorConfig()


def objects(from_spec: Spec = FP8_SPEC, plan: Plan = H100_PLAN) -> list[dict[str, Any]]:
    return all_objects(OWNER, from_spec, plan, LAUNCH, config=CONFIG)


def kinds(manifests: list[dict[str, Any]]) -> list[str]:
    return [f"{manifest['kind']}/{manifest['metadata']['name']}" for manifest in manifests]


def test_everything_that_pods_need_comes_before_them() -> None:
    content = revision()
    assert kinds(objects()) == [
        "Secret/deepseek-fp8-keys",
        f"ControllerRevision/deepseek-fp8-{content.hash}",
        "PersistentVolume/serving.deepseek-v3-0324-fp8",
        "PersistentVolumeClaim/deepseek-v3-0324-fp8",
        "NetworkPolicy/deepseek-fp8",
        "Service/deepseek-fp8",
        "Service/deepseek-fp8-g0",
        "NetworkPolicy/deepseek-fp8-g0",
        "PodDisruptionBudget/deepseek-fp8-g0",
        "StatefulSet/deepseek-fp8-g0",
    ]


def test_each_replica_is_a_group_of_all_its_nodes() -> None:
    sets = [manifest for manifest in objects(spec(replicas=3)) if manifest["kind"] == "StatefulSet"]
    assert [manifest["metadata"]["name"][-3:] for manifest in sets] == ["-g0", "-g1", "-g2"]
    assert [manifest["spec"]["replicas"] for manifest in sets] == [2, 2, 2]


def test_a_suspended_deployment_keeps_its_objects_and_frees_its_devices() -> None:
    suspended = objects(spec(suspend=True))
    assert kinds(suspended) == kinds(objects())
    assert suspended[-1]["spec"]["replicas"] == 0


@pytest.mark.parametrize("mode", ["none", "secret"])
def test_a_secret_is_made_only_to_hold_generated_keys(mode: str) -> None:
    name = {"secretName": "mine"} if mode == "secret" else {}
    rendered = objects(spec(access={"keys": {"mode": mode, **name}}))
    assert not any(manifest["kind"] == "Secret" for manifest in rendered)


def test_no_key_is_printed() -> None:
    assert not {"data", "stringData"} & objects()[0].keys()


def test_each_object_that_is_watched_carries_the_hash_of_itself() -> None:
    for manifest in objects()[1:]:
        annotations = manifest["metadata"].get("annotations", {})
        once = manifest["kind"].startswith("PersistentVolume")
        expected = None if once else desired_hash(manifest)
        assert annotations.get("serving.deepseek-operator.io/desired-hash") == expected


def test_rendering_is_deterministic() -> None:
    assert json.dumps(objects()) == json.dumps(objects())


def test_children_are_deleted_with_their_owner_and_weights_are_not() -> None:
    for manifest in objects():
        kept = manifest["kind"].startswith("PersistentVolume")
        owners = [owner["uid"] for owner in manifest["metadata"].get("ownerReferences", [])]
        assert owners == ([] if kept else [OWNER.uid])


def test_settings_of_the_operator_reach_the_groups() -> None:
    config = OperatorConfig(cluster_domain="corp.example", metrics_namespace_labels={"role": "monitoring"})
    group = group_objects(OWNER, 0, revision(), incarnation=1, replicas=2, config=config)
    assert len(group[1]["spec"]["ingress"]) == 2
    assert "deepseek-fp8-g0-0.deepseek-fp8-g0.serving.svc.corp.example" in json.dumps(group[-1])


def test_peers_of_the_api_change_its_policy_only() -> None:
    opened = spec(access={"from": [{"podLabels": {"app": "chat"}}]})
    before, after = objects(), objects(opened)
    changed = [new["kind"] for old, new in zip(before, after, strict=True) if old != new]
    assert changed == ["NetworkPolicy"]
    assert shared_objects(OWNER, opened, H100_PLAN, config=CONFIG) != before


def walk(value: Any, path: str) -> list[str]:
    """Paths of values that the API server drops when an object is created, and that would look like drift."""
    if isinstance(value, dict):
        return [found for key, below in value.items() for found in walk(below, f"{path}.{key}")]
    if isinstance(value, list):
        return [path] if not value else [found for item in value for found in walk(item, path)]
    return [path] if value is None or value == "" else []


@pytest.mark.parametrize(
    "weights",
    [H100_PLAN.weights, RANK_WEIGHTS, CLAIM_WEIGHTS, MOUNTED_WEIGHTS, SHARED_WEIGHTS, SCRATCH_WEIGHTS, CAST_WEIGHTS],
)
def test_nothing_is_rendered_that_the_api_server_would_drop(weights: Any) -> None:
    extra = {"labels": {"empty": ""}, "volumes": [{"name": "a", "configMap": "c"}]}
    asked = spec(engine={"env": [{"name": "EMPTY"}]}, podTemplate=extra)
    found = [
        path
        for manifest in objects(asked, replace(H100_PLAN, weights=weights))
        if manifest["kind"] != "ControllerRevision"
        for path in walk(manifest, manifest["kind"])
    ]
    # An empty label is a label, and an empty class of a claim says "none" where absence says "default".
    kept = {"StatefulSet.spec.template.metadata.labels.empty", "PersistentVolumeClaim.spec.storageClassName"}
    assert set(found) <= kept


def test_the_h100_sample_renders_as_reviewed() -> None:
    """Set UPDATE_GOLDEN=1 to write the file anew after a wanted change, and read its diff."""
    # The stored revision repeats the plan and the template; both have tests of their own.
    rendered = [manifest for manifest in objects() if manifest["kind"] != "ControllerRevision"]
    text = yaml.safe_dump_all(rendered, sort_keys=False, width=120)
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(text)
    assert list(yaml.safe_load_all(GOLDEN.read_text())) == rendered

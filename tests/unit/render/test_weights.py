from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deepseek_operator.api.resource import Spec
from deepseek_operator.plan.types import WeightsPlan
from deepseek_operator.render import weights
from tests.unit.render.samples import (
    CLAIM_WEIGHTS,
    H100_PLAN,
    MOUNTED_WEIGHTS,
    NODE_WEIGHTS,
    OWNER,
    RANK_WEIGHTS,
    spec,
)
from tests.unit.render.test_quantity import kubernetes_expansion


def init_container(plan: WeightsPlan = NODE_WEIGHTS, from_spec: Spec | None = None) -> dict[str, Any]:
    user_mounts = [{"name": "mine", "mountPath": "/mnt/weights", "readOnly": True}]
    return weights.init_container(from_spec or spec(), replace(H100_PLAN, weights=plan), user_mounts=user_mounts)


def environment(**fields: Any) -> dict[str, Any]:
    return {env["name"]: env for env in init_container(from_spec=spec(**fields))["env"]}


def test_fetched_weights_reach_the_engine_read_only() -> None:
    (engine,) = weights.mounts(NODE_WEIGHTS, read_only=True)
    (fetch,) = init_container()["volumeMounts"]
    assert engine["readOnly"] is True
    assert "readOnly" not in fetch
    assert engine["mountPath"] == fetch["mountPath"] == "/models"


def test_the_fetch_is_told_what_to_fetch_and_where() -> None:
    container = init_container()
    assert container["name"] == "fetch-weights"
    assert container["image"] == H100_PLAN.engine.image
    assert container["args"] == [
        "--repository",
        "deepseek-ai/DeepSeek-V3-0324",
        "--revision",
        "e9b33add76883f293d6bf61f6bd89b497e80e335",
        "--directory",
        "/models",
    ]


def test_the_script_is_the_programs_text_after_expansion_and_runs() -> None:
    python, flag, script = init_container()["command"]
    assert (python, flag) == ("python3", "-c")
    shown = subprocess.run(
        [sys.executable, "-c", kubernetes_expansion(script), "--help"], capture_output=True, text=True, check=True
    )
    assert "--repository" in shown.stdout


def test_the_hubs_token_comes_from_the_named_secret() -> None:
    token = environment(weights={"tokenSecret": {"name": "hub", "key": "hf"}})["HF_TOKEN"]
    assert token["valueFrom"]["secretKeyRef"] == {"name": "hub", "key": "hf"}
    assert "HF_TOKEN" not in environment()


def test_the_way_to_the_hub_is_the_users_and_other_variables_stay_with_the_engine() -> None:
    variables = [
        {"name": "HF_ENDPOINT", "value": "https://mirror.example/$(x)"},
        {"name": "HTTPS_PROXY", "value": "http://proxy.example:3128"},
        {"name": "NCCL_DEBUG", "value": "INFO"},
    ]
    env = environment(engine={"env": variables})
    assert env["HF_ENDPOINT"]["value"] == "https://mirror.example/$$(x)"
    assert env["HTTPS_PROXY"]["value"] == "http://proxy.example:3128"
    assert "NCCL_DEBUG" not in env


def test_the_volume_of_a_node_is_a_directory_of_each_node_behind_a_claim_bound_in_advance() -> None:
    volume, claim = weights.node_volume(OWNER, NODE_WEIGHTS)
    assert volume["spec"]["hostPath"] == {"path": NODE_WEIGHTS.node_path, "type": "DirectoryOrCreate"}
    assert volume["spec"]["persistentVolumeReclaimPolicy"] == "Retain"
    assert volume["spec"]["claimRef"]["namespace"] == claim["metadata"]["namespace"] == "serving"
    assert volume["spec"]["claimRef"]["name"] == claim["metadata"]["name"] == NODE_WEIGHTS.claim
    assert claim["spec"]["volumeName"] == volume["metadata"]["name"]
    assert claim["spec"]["storageClassName"] == ""
    assert claim["spec"]["accessModes"] == volume["spec"]["accessModes"] == ["ReadWriteMany"]
    assert claim["spec"]["resources"]["requests"]["storage"] == volume["spec"]["capacity"]["storage"]


def test_weights_of_a_node_outlive_their_deployment_and_are_the_same_for_all_that_share_them() -> None:
    objects = weights.node_volume(OWNER, NODE_WEIGHTS)
    assert all("ownerReferences" not in manifest["metadata"] for manifest in objects)
    other = replace(OWNER, name="other", uid="another")
    assert weights.node_volume(other, NODE_WEIGHTS) == objects


def test_claims_of_two_namespaces_never_share_a_volumes_name() -> None:
    def volume_name(namespace: str, claim: str) -> str:
        plan = replace(NODE_WEIGHTS, claim=claim)
        name: str = weights.node_volume(replace(OWNER, namespace=namespace), plan)[0]["metadata"]["name"]
        return name

    assert volume_name("a", "b-c") != volume_name("a-b", "c")


@pytest.mark.parametrize("plan", [RANK_WEIGHTS, CLAIM_WEIGHTS, MOUNTED_WEIGHTS], ids=lambda plan: str(plan.volume))
def test_only_the_nodes_directory_needs_objects_of_its_own(plan: WeightsPlan) -> None:
    assert weights.node_volume(OWNER, plan) == []


def test_a_claim_of_each_rank_is_larger_than_the_weights() -> None:
    (claim,) = weights.claim_templates(RANK_WEIGHTS)
    assert int(claim["spec"]["resources"]["requests"]["storage"].removesuffix("Gi")) > RANK_WEIGHTS.size_gib * 1.05
    assert weights.volumes(RANK_WEIGHTS) == []
    (mount,) = weights.mounts(RANK_WEIGHTS, read_only=True)
    assert mount["name"] == claim["metadata"]["name"]


@pytest.mark.parametrize(
    ("source", "path", "mount", "sub_path"),
    [
        ("pvc://models/v3/fp8", "/models/v3/fp8", "/models", None),
        ("pvc://models", "/models", "/models", None),
        ("pvc://models/", "/models", "/models", None),
        ("pvc://models/v3", "/somewhere", "/somewhere", "v3"),
        ("pvc://models/v3", "/v3", "/v3", "v3"),
    ],
)
def test_the_folder_of_a_claim_appears_at_the_planned_path(
    source: str, path: str, mount: str, sub_path: str | None
) -> None:
    (rendered,) = weights.mounts(replace(CLAIM_WEIGHTS, source=source, path=path), read_only=True)
    assert (rendered["mountPath"], rendered.get("subPath")) == (mount, sub_path)


def test_the_users_claim_is_attached_read_only() -> None:
    (volume,) = weights.volumes(CLAIM_WEIGHTS)
    assert volume["persistentVolumeClaim"] == {"claimName": "models", "readOnly": True}


def test_a_directory_of_the_users_own_volume_is_checked_where_it_is_mounted() -> None:
    container = init_container(MOUNTED_WEIGHTS)
    assert container["name"] == "check-weights"
    assert container["volumeMounts"] == [{"name": "mine", "mountPath": "/mnt/weights", "readOnly": True}]


def run_check(plan: WeightsPlan) -> subprocess.CompletedProcess[str]:
    command = [kubernetes_expansion(word) for word in init_container(plan)["command"]]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_weights_that_are_there_pass_the_check(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({}))
    assert run_check(replace(MOUNTED_WEIGHTS, path=str(tmp_path))).returncode == 0


def test_weights_that_are_not_there_fail_the_check_by_the_field(tmp_path: Path) -> None:
    checked = run_check(replace(MOUNTED_WEIGHTS, path=f"{tmp_path}/$(x)", source="path:///dir"))
    assert checked.returncode == 1
    assert "spec.weights.source: path:///dir has neither config.json nor" in checked.stderr
    assert f"{tmp_path}/$(x)" in checked.stderr

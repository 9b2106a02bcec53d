from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from deepseek_operator.api.names import GROUP_LABEL
from deepseek_operator.api.resource import Spec
from deepseek_operator.cli.main import app
from deepseek_operator.plan.types import ConversionStep, KernelCache, WeightsPlan
from deepseek_operator.render import weights
from deepseek_operator.render.kernels import kernels_volume
from deepseek_operator.render.pod import pod_template
from deepseek_operator.render.weights_job import weights_job
from deepseek_operator.render.weights_tool import containers
from tests.unit.render.samples import (
    CAST_WEIGHTS,
    CLAIM_WEIGHTS,
    H100_PLAN,
    LAUNCH,
    MOUNTED_WEIGHTS,
    NODE_WEIGHTS,
    OWNER,
    RANK_WEIGHTS,
    SCRATCH_WEIGHTS,
    SHARED_WEIGHTS,
    spec,
)
from tests.unit.render.test_quantity import kubernetes_expansion


def steps(plan: WeightsPlan = NODE_WEIGHTS, from_spec: Spec | None = None) -> dict[str, dict[str, Any]]:
    """The containers that prepare, by name, in order."""
    user_mounts = [{"name": "mine", "mountPath": "/mnt/weights", "readOnly": True}]
    own = user_mounts if plan.volume == "mounted" else []
    return {each["name"]: each for each in containers(from_spec or spec(), plan, user_mounts=own)}


def environment(container: str = "fetch-weights", plan: WeightsPlan = NODE_WEIGHTS, **fields: Any) -> dict[str, Any]:
    return {env["name"]: env for env in steps(plan, spec(**fields))[container]["env"]}


def test_fetched_weights_reach_the_engine_read_only() -> None:
    (engine,) = weights.mounts(NODE_WEIGHTS, read_only=True)
    found = steps()
    assert list(found) == ["fetch-weights", "verify-weights"]
    (fetch,) = found["fetch-weights"]["volumeMounts"]
    assert engine["readOnly"] is True
    assert "readOnly" not in fetch
    assert engine["mountPath"] == fetch["mountPath"] == "/models"
    assert found["verify-weights"]["volumeMounts"] == [engine]


def test_weights_are_prepared_by_the_operators_own_image() -> None:
    assert {each["image"] for each in steps(CAST_WEIGHTS).values()} == {"registry.example/deepseek-operator:0.1.0"}


def test_the_fetch_is_told_what_to_fetch_and_where() -> None:
    command = steps()["fetch-weights"]["command"]
    assert command[:9] == [
        "deepseek-operator",
        "weights",
        "fetch",
        "--source",
        "hf://deepseek-ai/DeepSeek-V3-0324",
        "--output",
        "/models",
        "--revision",
        "e9b33add76883f293d6bf61f6bd89b497e80e335",
    ]


def test_a_cast_reads_what_was_fetched_and_the_engine_what_it_made() -> None:
    found = steps(CAST_WEIGHTS)
    assert list(found) == ["fetch-weights", "convert-weights", "verify-weights"]
    cast = found["convert-weights"]["command"]
    assert cast[2:7] == ["cast", "--input", "/models", "--output", "/models/converted/bf16"]
    assert found["verify-weights"]["command"][3] == "/models/converted/bf16"


def test_the_demo_gets_its_files_cut_after_the_cast() -> None:
    shard = ConversionStep(
        tool="shard",
        layout="mp16",
        size_gib=1275.0,
        path="/models/converted/bf16-mp16",
        model_parallel=16,
        experts=256,
    )
    assert CAST_WEIGHTS.conversion is not None
    conversion = replace(CAST_WEIGHTS.conversion, steps=(*CAST_WEIGHTS.conversion.steps, shard))
    found = steps(replace(CAST_WEIGHTS, conversion=conversion, path=shard.path))
    assert list(found) == ["fetch-weights", "convert-weights", "convert-weights-2", "verify-weights"]
    command = " ".join(found["convert-weights-2"]["command"])
    assert "shard --input /models/converted/bf16 --output /models/converted/bf16-mp16" in command
    assert "--model-parallel 16 --experts 256" in command


@pytest.mark.parametrize("plan", [NODE_WEIGHTS, CAST_WEIGHTS, MOUNTED_WEIGHTS], ids=["fetch", "cast", "own"])
def test_every_command_is_one_of_the_tool(plan: WeightsPlan) -> None:
    for container in steps(plan).values():
        program, *words = [
            kubernetes_expansion(word).replace("$(POD_IP)", "127.0.0.1") for word in container["command"]
        ]
        assert program == "deepseek-operator"
        shown = CliRunner().invoke(app, [*words[:2], "--help"], terminal_width=200)
        assert shown.exit_code == 0
        for option in words[2:]:
            assert not option.startswith("--") or option in shown.output, option


def test_the_hubs_token_comes_from_the_named_secret_and_reaches_the_fetch_alone() -> None:
    wish = {"tokenSecret": {"name": "hub", "key": "hf"}}
    token = environment(weights=wish)["HF_TOKEN"]
    assert token["valueFrom"]["secretKeyRef"] == {"name": "hub", "key": "hf"}
    assert "HF_TOKEN" not in environment()
    for container in ("convert-weights", "verify-weights"):
        assert list(environment(container, CAST_WEIGHTS, weights=wish)) == ["POD_IP"]


def test_modelscopes_token_has_a_variable_of_its_own() -> None:
    source = "modelscope://deepseek-ai/DeepSeek-V3-0324"
    plan = replace(NODE_WEIGHTS, source=source)
    env = environment(plan=plan, weights={"source": source, "tokenSecret": {"name": "hub"}})
    assert env["MODELSCOPE_API_TOKEN"]["valueFrom"]["secretKeyRef"] == {"name": "hub", "key": "token"}


def test_credentials_of_s3_reach_the_fetch_alone() -> None:
    plan = replace(CAST_WEIGHTS, source="s3://models/v3", repository=None, revision=None)
    asked = spec(weights={"source": "s3://models/v3", "credentialsSecret": "minio"})
    found = steps(plan, asked)
    assert found["fetch-weights"]["envFrom"] == [{"secretRef": {"name": "minio"}}]
    assert not any("envFrom" in found[name] for name in ("convert-weights", "verify-weights"))
    assert "--revision" not in found["fetch-weights"]["command"]


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


def test_weights_of_a_claim_of_the_users_are_cast_from_there_into_the_operators_volume() -> None:
    assert CAST_WEIGHTS.conversion is not None
    plan = replace(
        CAST_WEIGHTS,
        source="pvc://mine/v3-fp8",
        repository=None,
        source_claim="mine",
        conversion=replace(CAST_WEIGHTS.conversion, source_path="/source/v3-fp8"),
    )
    found = steps(plan)
    assert list(found) == ["convert-weights", "verify-weights"]
    mounts = {each["mountPath"]: each for each in found["convert-weights"]["volumeMounts"]}
    assert mounts["/source"]["readOnly"] is True
    assert "readOnly" not in mounts["/models"]
    assert "/source" not in str(found["verify-weights"])
    (volume,) = weights.volumes(plan)
    assert volume["persistentVolumeClaim"] == {"claimName": "mine", "readOnly": True}


def test_the_nodes_own_disk_is_limited_and_asked_for() -> None:
    (volume,) = weights.volumes(SCRATCH_WEIGHTS)
    limit = int(volume["emptyDir"]["sizeLimit"].removesuffix("Gi"))
    assert limit > SCRATCH_WEIGHTS.size_gib * 1.05
    requests = steps(SCRATCH_WEIGHTS)["fetch-weights"]["resources"]["requests"]
    assert requests["ephemeral-storage"] == f"{limit}Gi"


def test_a_shared_claim_is_filled_by_one_job_before_the_groups_and_written_by_nobody_else() -> None:
    plan = replace(H100_PLAN, weights=SHARED_WEIGHTS)
    job = weights_job(OWNER, spec(), plan)
    assert job is not None
    pod = job["spec"]["template"]["spec"]
    assert [each["name"] for each in (*pod["initContainers"], *pod["containers"])] == [
        "fetch-weights",
        "verify-weights",
    ]
    assert pod["restartPolicy"] == "OnFailure"
    assert not any("nvidia.com/gpu" in str(each["resources"]) for each in (*pod["initContainers"], *pod["containers"]))
    assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists"}]
    assert pod["volumes"] == [{"name": "deepseek-weights", "persistentVolumeClaim": {"claimName": "models"}}]
    assert job["metadata"]["ownerReferences"][0]["uid"] == OWNER.uid
    assert GROUP_LABEL not in job["spec"]["template"]["metadata"]["labels"]


@pytest.mark.parametrize("plan", [NODE_WEIGHTS, RANK_WEIGHTS, CLAIM_WEIGHTS, MOUNTED_WEIGHTS, SCRATCH_WEIGHTS])
def test_other_volumes_need_no_job(plan: WeightsPlan) -> None:
    assert weights_job(OWNER, spec(), replace(H100_PLAN, weights=plan)) is None


def test_a_changed_job_has_another_name() -> None:
    def name(**fields: Any) -> str:
        job = weights_job(OWNER, spec(**fields), replace(H100_PLAN, weights=SHARED_WEIGHTS))
        assert job is not None
        return str(job["metadata"]["name"])

    assert name() == name()
    assert name() != name(weights={"tokenSecret": {"name": "hub"}})
    assert len(name()) < 63


def test_a_claim_of_each_rank_has_room_for_the_source_and_for_what_is_made_of_it() -> None:
    (claim,) = weights.claim_templates(CAST_WEIGHTS)
    size = int(claim["spec"]["resources"]["requests"]["storage"].removesuffix("Gi"))
    assert size > (641.3 + 1275.0) * 1.05
    (classed,) = weights.claim_templates(replace(CAST_WEIGHTS, storage_class="fast"))
    assert classed["spec"]["storageClassName"] == "fast"
    assert "storageClassName" not in claim["spec"]


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
    (container,) = steps(MOUNTED_WEIGHTS).values()
    assert container["name"] == "verify-weights"
    assert container["volumeMounts"] == [{"name": "mine", "mountPath": "/mnt/weights", "readOnly": True}]
    assert "--unmarked" in container["command"]


def run_check(plan: WeightsPlan, summary: Path) -> Result:
    words = [kubernetes_expansion(word) for word in steps(plan)["verify-weights"]["command"][1:]]
    words = [
        str(summary) if word == "/dev/termination-log" else word.replace("$(POD_IP)", "127.0.0.1") for word in words
    ]
    words[words.index("--progress-address") + 1] = "127.0.0.1:0"
    return CliRunner().invoke(app, words)


def test_weights_that_are_there_pass_the_check(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({}))
    assert run_check(replace(MOUNTED_WEIGHTS, path=str(tmp_path)), tmp_path / "summary").exit_code == 0


def test_weights_that_are_not_there_fail_the_check_by_the_field(tmp_path: Path) -> None:
    checked = run_check(replace(MOUNTED_WEIGHTS, path=f"{tmp_path}/$(x)", source="path:///dir"), tmp_path / "summary")
    assert checked.exit_code == 2
    assert "path:///dir has no config.json" in checked.output
    assert f"{tmp_path}/$(x)" in checked.output


def test_kernels_are_kept_on_the_node_where_the_administrator_allows_it() -> None:
    own = KernelCache(folder="cache", claim="kernels-1", node_path="/var/lib/w/kernels/1")
    kept = replace(H100_PLAN, kernels=own)
    template = pod_template(owner=OWNER, spec=spec(), plan=kept, launch=LAUNCH, revision="r")
    (engine,) = template["spec"]["containers"]
    mounts = {each["mountPath"]: each for each in engine["volumeMounts"]}
    assert mounts["/root/.cache"] == {
        "name": "deepseek-kernels",
        "mountPath": "/root/.cache",
        "subPath": "cache/root-.cache",
    }
    assert mounts["/opt/torchinductor"]["subPath"] == "cache/opt-torchinductor"
    env = {each["name"]: each.get("value") for each in engine["env"]}
    assert env["TRITON_CACHE_DIR"] == "/root/.cache/triton"
    assert "AITER_JIT_DIR" not in env
    volume, claim = kernels_volume(OWNER, kept)
    assert volume["spec"]["hostPath"]["path"] == "/var/lib/w/kernels/1"
    assert claim["metadata"]["name"] == "kernels-1"
    assert kernels_volume(OWNER, H100_PLAN) == []


def test_kernels_lie_beside_weights_that_are_on_the_node() -> None:
    kept = replace(H100_PLAN, kernels=KernelCache(folder="kernels/1"))
    template = pod_template(owner=OWNER, spec=spec(), plan=kept, launch=LAUNCH, revision="r")
    (engine,) = template["spec"]["containers"]
    mounts = {each["mountPath"]: each for each in engine["volumeMounts"]}
    assert (mounts["/root/.cache"]["name"], mounts["/root/.cache"]["subPath"]) == (
        "deepseek-weights",
        "kernels/1/root-.cache",
    )
    assert mounts["/models"]["readOnly"] is True
    assert kernels_volume(OWNER, kept) == []

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from deepseek_operator.api.resource import Spec
from deepseek_operator.engines.types import Launch
from deepseek_operator.plan.types import Plan
from deepseek_operator.render.pod import collisions, pod_template
from tests.unit.render.samples import (
    ASCEND_LAUNCH,
    CLAIM_WEIGHTS,
    FP8_SPEC,
    H100,
    H100_PLAN,
    LAUNCH,
    MOUNTED_WEIGHTS,
    OWNER,
    TCP_PLAN,
    spec,
)

SHARED_MEMORY = "/dev/shm"  # noqa: S108 - the path under test
GROUP_LABELS = {"serving.deepseek-operator.io/group", "serving.deepseek-operator.io/incarnation"}


def template(from_spec: Spec = FP8_SPEC, plan: Plan = H100_PLAN, launch: Launch = LAUNCH) -> dict[str, Any]:
    return pod_template(owner=OWNER, spec=from_spec, plan=plan, launch=launch, revision="abcdef0123")


def pod(from_spec: Spec = FP8_SPEC, plan: Plan = H100_PLAN, launch: Launch = LAUNCH) -> dict[str, Any]:
    rendered: dict[str, Any] = template(from_spec, plan, launch)["spec"]
    return rendered


def engine(from_spec: Spec = FP8_SPEC, plan: Plan = H100_PLAN, launch: Launch = LAUNCH) -> dict[str, Any]:
    (container,) = pod(from_spec, plan, launch)["containers"]
    rendered: dict[str, Any] = container
    return rendered


def required_labels(from_spec: Spec = FP8_SPEC, plan: Plan = H100_PLAN) -> set[tuple[str, str]]:
    affinity = pod(from_spec, plan)["affinity"]["nodeAffinity"]
    (term,) = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert all(expression["operator"] == "In" for expression in term["matchExpressions"])
    return {(expression["key"], expression["values"][0]) for expression in term["matchExpressions"]}


def test_a_stored_template_knows_no_group() -> None:
    labels = template()["metadata"]["labels"]
    assert not GROUP_LABELS & labels.keys()
    assert labels["serving.deepseek-operator.io/revision"] == "abcdef0123"


def test_pods_get_no_token_no_service_links_and_no_mesh_proxy() -> None:
    rendered = template()
    assert rendered["spec"]["automountServiceAccountToken"] is False
    assert rendered["spec"]["enableServiceLinks"] is False
    assert rendered["metadata"]["labels"]["sidecar.istio.io/inject"] == "false"
    assert rendered["metadata"]["annotations"]["sidecar.istio.io/inject"] == "false"
    assert rendered["metadata"]["annotations"]["linkerd.io/inject"] == "disabled"


def test_all_ranks_have_one_grace_period() -> None:
    assert pod()["terminationGracePeriodSeconds"] == 120


def test_shared_memory_is_memory_of_the_planned_size() -> None:
    (volume,) = [volume for volume in pod()["volumes"] if volume["name"] == "deepseek-shm"]
    (mount,) = [mount for mount in engine()["volumeMounts"] if mount["name"] == "deepseek-shm"]
    assert volume["emptyDir"] == {"medium": "Memory", "sizeLimit": "64Gi"}
    assert mount["mountPath"] == SHARED_MEMORY


def test_caches_and_the_run_directory_are_scratch_volumes() -> None:
    scratch = {volume["name"] for volume in pod()["volumes"] if volume.get("emptyDir") == {}}
    paths = {mount["mountPath"] for mount in engine()["volumeMounts"] if mount["name"] in scratch}
    assert paths == {"/run/deepseek", "/root/.cache", "/opt/torchinductor"}


def test_the_vendors_driver_is_mounted_read_only() -> None:
    mounts = {mount["mountPath"]: mount for mount in engine(launch=ASCEND_LAUNCH)["volumeMounts"]}
    assert mounts["/usr/local/Ascend/driver"]["readOnly"] is True
    sources = [volume["hostPath"] for volume in pod(launch=ASCEND_LAUNCH)["volumes"] if "hostPath" in volume]
    assert sources == [{"path": "/usr/local/Ascend/driver", "type": "Directory"}, {"path": "/etc/hccn.conf"}]
    assert not any("hostPath" in volume for volume in pod()["volumes"])


def test_pods_go_where_the_plan_and_the_user_say() -> None:
    wanted = spec(hardware={"nodeSelector": {"pool": "a"}})
    assert required_labels(wanted) == {
        ("kubernetes.io/arch", "amd64"),
        ("nvidia.com/gpu.product", "NVIDIA-H100-80GB-HBM3"),
        ("pool", "a"),
    }


def test_arm_hosts_are_asked_for_by_name() -> None:
    arm = replace(H100_PLAN, hardware=replace(H100, host_architecture="arm64"))
    assert ("kubernetes.io/arch", "arm64") in required_labels(plan=arm)


def test_the_vendors_taint_is_tolerated_and_the_users_tolerations_follow() -> None:
    asked = spec(scheduling={"tolerations": [{"key": "team", "value": "x", "effect": "NoSchedule"}]})
    assert pod(asked)["tolerations"] == [
        {"key": "nvidia.com/gpu", "operator": "Exists"},
        {"key": "team", "operator": "Equal", "value": "x", "effect": "NoSchedule"},
    ]


def test_scheduling_fields_reach_the_pod_only_when_set() -> None:
    scheduled = pod(spec(scheduling={"priorityClassName": "high", "schedulerName": "volcano"}))
    assert (scheduled["priorityClassName"], scheduled["schedulerName"]) == ("high", "volcano")
    assert not {"priorityClassName", "schedulerName", "imagePullSecrets"} & pod().keys()


def test_pull_secrets_are_named_once_each() -> None:
    pulled = pod(spec(engine={"imagePullSecrets": ["b", "a", "b"]}))
    assert pulled["imagePullSecrets"] == [{"name": "b"}, {"name": "a"}]


def test_host_network_declares_its_ports_on_the_host() -> None:
    host = replace(H100_PLAN, fabric=replace(H100_PLAN.fabric, mode="host"))
    assert pod(plan=host)["hostNetwork"] is True
    assert pod(plan=host)["dnsPolicy"] == "ClusterFirstWithHostNet"
    assert all(port["hostPort"] == port["containerPort"] for port in engine(plan=host)["ports"])


def test_the_pod_network_takes_no_port_of_the_host() -> None:
    assert "hostNetwork" not in pod()
    assert not any("hostPort" in port for port in engine()["ports"])


def test_only_rdma_pods_may_lock_memory() -> None:
    assert engine()["securityContext"]["capabilities"]["add"] == ["IPC_LOCK"]
    assert "add" not in engine(plan=TCP_PLAN)["securityContext"]["capabilities"]


def test_devices_and_rdma_are_limits_while_memory_is_a_request() -> None:
    resources = engine()["resources"]
    assert resources["limits"] == {"nvidia.com/gpu": "8", "rdma/hca": "1"}
    assert resources["requests"] == {**resources["limits"], "cpu": "32", "memory": "256Gi"}
    assert engine(plan=TCP_PLAN)["resources"]["limits"] == {"nvidia.com/gpu": "8"}


def test_user_labels_and_annotations_are_added_but_never_replace_ours() -> None:
    labels = {"team": "x", "serving.deepseek-operator.io/uid": "forged", "sidecar.istio.io/inject": "true"}
    rendered = template(spec(podTemplate={"labels": labels, "annotations": {"note": "y"}}))["metadata"]
    assert rendered["labels"]["team"] == "x"
    assert rendered["labels"]["serving.deepseek-operator.io/uid"] == OWNER.uid
    assert rendered["labels"]["sidecar.istio.io/inject"] == "false"
    assert rendered["annotations"]["note"] == "y"


@pytest.mark.parametrize(
    ("volume", "source"),
    [
        ({"persistentVolumeClaim": "c"}, {"persistentVolumeClaim": {"claimName": "c"}}),
        ({"configMap": "c"}, {"configMap": {"name": "c"}}),
        ({"secret": "c"}, {"secret": {"secretName": "c"}}),
        ({"hostPath": "/c"}, {"hostPath": {"path": "/c", "type": "Directory"}}),
    ],
)
def test_each_kind_of_user_volume_is_mounted(volume: dict[str, str], source: dict[str, Any]) -> None:
    extra = {"volumes": [{"name": "mine", **volume}], "volumeMounts": [{"name": "mine", "mountPath": "/mine"}]}
    asked = spec(podTemplate=extra)
    assert {"name": "mine", **source} in pod(asked)["volumes"]
    assert {"name": "mine", "mountPath": "/mine", "readOnly": True} in engine(asked)["volumeMounts"]


def test_a_writable_user_mount_leaves_read_only_out() -> None:
    extra = {
        "volumes": [{"name": "mine", "configMap": "c"}],
        "volumeMounts": [{"name": "mine", "mountPath": "/mine", "readOnly": False}],
    }
    assert {"name": "mine", "mountPath": "/mine"} in engine(spec(podTemplate=extra))["volumeMounts"]


def mounted(path: str, *, name: str = "mine") -> Spec:
    extra = {"volumes": [{"name": name, "configMap": "c"}], "volumeMounts": [{"name": name, "mountPath": path}]}
    return spec(podTemplate=extra)


DIRECTORIES = ("/root/.cache", "/usr/local/Ascend/driver", "/etc/hccn.conf")


@pytest.mark.parametrize(
    "path",
    [SHARED_MEMORY, "/dev", "/", "/run/deepseek/x", "/models", "/models/v3", "/root", "/root/.cache/", "/etc"],
)
def test_a_mount_that_is_above_or_in_one_of_ours_is_refused_by_field_and_remedy(path: str) -> None:
    (problem,) = collisions(mounted(path), H100_PLAN, directories=DIRECTORIES)
    assert (problem.field, problem.reason) == ("spec.podTemplate.volumeMounts[0].mountPath", "MountPathReserved")
    assert path in problem.message
    assert "choose" in problem.message


@pytest.mark.parametrize("path", ["/data", f"{SHARED_MEMORY}em", "/root/.cached", "/usr/local/Ascend/drivers"])
def test_a_mount_beside_ours_is_rendered(path: str) -> None:
    asked = mounted(path)
    assert collisions(asked, H100_PLAN, directories=DIRECTORIES) == ()
    assert path in [mount["mountPath"] for mount in engine(asked)["volumeMounts"]]


def test_the_directory_of_weights_is_the_users_where_the_weights_are_theirs() -> None:
    own = replace(H100_PLAN, weights=replace(MOUNTED_WEIGHTS, source="path:///models/v3", path="/models/v3"))
    assert collisions(mounted("/models"), own, directories=()) == ()
    assert collisions(mounted("/models"), replace(H100_PLAN, weights=CLAIM_WEIGHTS), directories=()) != ()


def test_a_volume_named_like_ours_is_refused() -> None:
    (problem,) = collisions(mounted("/data", name="deepseek-shm"), H100_PLAN, directories=())
    assert (problem.field, problem.reason) == ("spec.podTemplate.volumes[0].name", "VolumeNameReserved")


@pytest.mark.parametrize("launch", [LAUNCH, ASCEND_LAUNCH], ids=["nvidia", "ascend"])
def test_all_our_volumes_carry_the_prefix_that_users_must_not(launch: Launch) -> None:
    for plan in (H100_PLAN, replace(H100_PLAN, weights=CLAIM_WEIGHTS)):
        assert all(volume["name"].startswith("deepseek-") for volume in pod(plan=plan, launch=launch)["volumes"])

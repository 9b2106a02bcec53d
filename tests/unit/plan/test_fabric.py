"""The fabric: which preset a class of nodes gets, and what it adds to the pods."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from importlib import resources
from typing import TYPE_CHECKING, Any

import pytest

from deepseek_operator.api.config import OperatorConfig
from deepseek_operator.catalog.load import CatalogError, load, read
from deepseek_operator.engines.select import directories, launch
from deepseek_operator.render.apply_order import all_objects
from deepseek_operator.render.owner import Owner
from tests.unit.plan import nodes
from tests.unit.plan.cases import FACTS, plan_of, refusal_of, spec_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from deepseek_operator.plan.types import Plan
    from tests.unit.plan.nodes import Manifest

OWNER = Owner(name="x", namespace="default", uid="00000000-0000-0000-0000-000000000000")
HOST: dict[str, Any] = {"facts": replace(FACTS, allow_host_network=True)}


def cluster(
    resource: str = "", count: int = 1, *, make: Callable[..., Manifest] = nodes.h100, **labels: str
) -> list[Manifest]:
    """Two nodes that offer a resource and carry labels."""
    found = [make(name, rdma=False) if make is nodes.h100 else make(name) for name in "ab"]
    for manifest in found:
        manifest["status"]["allocatable"].pop("rdma/hca", None)
        if resource:
            manifest["status"]["allocatable"][resource] = str(count)
        manifest["metadata"]["labels"] |= labels
    return found


def h200s(**labels: str) -> list[Manifest]:
    found = [nodes.h200(name, rdma=False) for name in "abc"]
    for manifest in found:
        manifest["metadata"]["labels"] |= labels
    return found


A3 = {"node.kubernetes.io/instance-type": "a3-ultragpu-8g"}
TWO: dict[str, Any] = {"parallelism": {"nodes": 2}}


def pod_of(plan: Plan, **fields: Any) -> dict[str, Any]:
    spec = spec_of(fields)
    started = launch(plan, spec, load(), name="x", namespace="default", cluster_domain="cluster.local")
    objects = all_objects(OWNER, spec, plan, started, config=OperatorConfig())
    (group,) = (each for each in objects if each["kind"] == "StatefulSet")
    template: dict[str, Any] = group["spec"]["template"]
    return template


def engine_of(pod: dict[str, Any]) -> dict[str, Any]:
    (container,) = pod["spec"]["containers"]
    assert isinstance(container, dict)
    return container


def values(container: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each.get("value", "") for each in container["env"]}


@pytest.mark.parametrize(
    ("resource", "preset"),
    [
        ("rdma/hca", "rdma"),
        ("rdma/roce_gdr", "rdma"),
        ("nvidia.com/hostdev", "sr-iov"),
        ("nvidia.com/sriov-rdma-vf", "sr-iov"),
        ("vpc.amazonaws.com/efa", "efa"),
        ("aliyun/erdma", "erdma"),
        ("", "pod-network"),
    ],
)
def test_the_resource_of_the_nodes_tells_the_preset(resource: str, preset: str) -> None:
    plan = plan_of(cluster(resource))
    assert plan.fabric.preset == preset
    assert plan.fabric.carrier == ("rdma" if resource else "tcp")


def test_other_vendors_have_their_own() -> None:
    assert plan_of([nodes.ascend910b(name) for name in "abcd"], precision="bf16").fabric.preset == "ascend"
    amd = plan_of(cluster("amd.com/nic", 8, make=nodes.mi300x), **TWO)
    assert (amd.fabric.preset, amd.fabric.rdma_count) == ("amd-nic", 8)


def test_the_hosts_network_is_one_too_and_a_group_of_one_node_needs_none() -> None:
    assert plan_of(cluster(), **HOST, fabric={"mode": "host"}).fabric.preset == "host-network"
    assert plan_of([nodes.h200("a")]).fabric.preset == ""


def test_efa_brings_huge_pages_its_provider_and_a_warning() -> None:
    plan = plan_of(cluster("vpc.amazonaws.com/efa", 32))
    container = engine_of(pod_of(plan))
    for kind in ("requests", "limits"):
        assert container["resources"][kind]["vpc.amazonaws.com/efa"] == "32"
        assert container["resources"][kind]["hugepages-2Mi"] == "5120Mi"
    assert values(container)["FI_PROVIDER"] == "efa"
    assert "NCCL_IB_DISABLE" not in values(container)
    assert any("aws-ofi-nccl" in warning for warning in plan.warnings)


def test_huge_pages_are_requested_nowhere_else() -> None:
    for resource in ("rdma/hca", "nvidia.com/hostdev", "aliyun/erdma", ""):
        assert "hugepages" not in json.dumps(pod_of(plan_of(cluster(resource))))


def test_erdma_names_its_adapters_by_prefix() -> None:
    assert values(engine_of(pod_of(plan_of(cluster("aliyun/erdma")))))["NCCL_IB_HCA"] == "erdma"


def test_no_preset_pins_what_nccl_finds_by_itself() -> None:
    pinned = {"NCCL_IB_GID_INDEX", "NCCL_IB_TC", "NCCL_NET_GDR_LEVEL", "NCCL_SOCKET_IFNAME", "NCCL_ALGO", "NCCL_PROTO"}
    for preset in load().fabrics.values():
        assert not pinned & preset.env.keys()
        assert "NCCL_IB_HCA" not in preset.env or preset.name == "erdma"


def test_labels_of_gke_tell_a_network_without_a_resource() -> None:
    plan = plan_of(h200s(**A3), **TWO)
    assert (plan.fabric.preset, plan.fabric.carrier, plan.fabric.rdma_resource) == ("gke-rdma", "rdma", None)
    assert plan.parallelism.tensor == 16
    pod = pod_of(plan)
    interfaces = json.loads(pod["metadata"]["annotations"]["networking.gke.io/interfaces"])
    assert [each["network"] for each in interfaces][2:] == [f"rdma-{number}" for number in range(8)]
    container = engine_of(pod)
    assert "/usr/local/gib" in {mount["mountPath"] for mount in container["volumeMounts"]}
    script = container["command"][2]
    assert "source /usr/local/gib/scripts/set_nccl_env.sh" in script
    assert "LD_LIBRARY_PATH=/usr/local/gib/lib64:/usr/local/nvidia/lib64" in script
    assert container["securityContext"]["capabilities"]["add"] == ["IPC_LOCK"]
    assert "/usr/local/gib" in directories(plan, load())


def test_pods_with_networks_of_gke_stay_on_nodes_that_have_them() -> None:
    mixed = h200s(**A3)
    del mixed[2]["metadata"]["labels"]["node.kubernetes.io/instance-type"]
    plan = plan_of(mixed, **TWO)
    assert plan.hardware.nodes == ("a", "b")
    assert "a3-ultragpu-8g" in json.dumps(pod_of(plan)["spec"]["affinity"])


def test_annotations_of_the_user_win_and_answer_the_warning() -> None:
    key = "networking.gke.io/interfaces"
    assert any(key in warning for warning in plan_of(h200s(**A3), **TWO).warnings)
    own: dict[str, Any] = {"podTemplate": {"annotations": {key: "[]"}}}
    plan = plan_of(h200s(**A3), **TWO, **own)
    assert not any(key in warning for warning in plan.warnings)
    assert pod_of(plan, **own)["metadata"]["annotations"][key] == "[]"


def test_a_variable_of_the_user_wins_over_the_presets() -> None:
    plan = plan_of(cluster("aliyun/erdma"))
    own: dict[str, Any] = {"engine": {"env": [{"name": "NCCL_IB_HCA", "value": "erdma_1"}]}}
    assert values(engine_of(pod_of(plan, **own)))["NCCL_IB_HCA"] == "erdma_1"


def test_a_named_preset_is_taken_with_its_resource() -> None:
    both = cluster("rdma/hca", 63)
    for manifest in both:
        manifest["status"]["allocatable"]["nvidia.com/hostdev"] = "8"
    assert plan_of(both).fabric.rdma_resource == "rdma/hca"
    named = plan_of(both, fabric={"preset": "sr-iov"})
    assert (named.fabric.preset, named.fabric.rdma_resource, named.fabric.rdma_count) == (
        "sr-iov",
        "nvidia.com/hostdev",
        8,
    )
    sockets = plan_of(both, fabric={"preset": "pod-network"})
    assert (sockets.fabric.rdma_resource, sockets.fabric.carrier) == (None, "tcp")
    own = plan_of(cluster("example.com/nic"), fabric={"preset": "rdma", "rdma": {"resource": "example.com/nic"}})
    assert own.fabric.rdma_resource == "example.com/nic"


@pytest.mark.parametrize(
    ("fabric", "says"),
    [
        ({"preset": "infiniband"}, "is not known; use"),
        ({"preset": "ascend"}, "is not for nvidia"),
        ({"preset": "host-network"}, "spec.fabric.mode pod"),
        ({"preset": "efa"}, "needs vpc.amazonaws.com/efa on all nodes"),
        ({"preset": "pod-network", "rdma": {"resource": "rdma/hca"}}, "does not go with rdma/hca"),
    ],
)
def test_a_preset_that_does_not_go_with_the_nodes_is_refused(fabric: dict[str, Any], says: str) -> None:
    problem = refusal_of(cluster("rdma/hca", 63), fabric=fabric).problems[0]
    assert (problem.field, problem.reason) == ("spec.fabric.preset", "FabricPresetUnsuitable")
    assert says in problem.message


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("vendors: [ascend]", "vendors: [ascent]", "ascent is not one of"),
        ("name: erdma", "name: efa", "same name"),
        ("    modes: [host]", "    modes: [hosts]", "modes"),
        (
            "    carrier: tcp\n    vendors: [nvidia, amd]",
            "    carrier: tcp\n    vendors: [nvidia]",
            "none is left for amd",
        ),
        ('[{"interfaceName":"eth0"', '[{"interfaceName":eth0', "is no JSON"),
        ("    env: {FI_PROVIDER: efa}", "    envs: {FI_PROVIDER: efa}", "envs"),
    ],
)
def test_a_wrong_file_of_presets_is_refused(tmp_path: Path, old: str, new: str, says: str) -> None:
    folder = tmp_path / "catalog"
    shutil.copytree(str(resources.files("deepseek_operator.catalog")), folder)
    file = folder / "fabrics" / "presets.yaml"
    text = file.read_text("utf-8")
    assert old in text
    file.write_text(text.replace(old, new), "utf-8")
    with pytest.raises(CatalogError, match=says) as caught:
        read(folder)
    assert caught.value.file.startswith("fabrics/presets.yaml")

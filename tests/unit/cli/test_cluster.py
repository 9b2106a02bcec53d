"""What ``plan`` sees of a cluster beside its nodes, out of a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from deepseek_operator.api import names
from tests.unit.cli.conftest import NODES, Run
from tests.unit.plan.clusters import CLUSTERS

H100, H200 = "NVIDIA-H100-80GB-HBM3", "NVIDIA-H200"
CR = """
apiVersion: serving.deepseek-operator.io/v1alpha1
kind: DeepSeekDeployment
metadata: {name: %s}
spec: {model: deepseek-r1, precision: fp8}
---
"""


def nodes_of(*files: str) -> list[dict[str, Any]]:
    return [item for file in files for item in yaml.safe_load((NODES / file).read_text())["items"]]


def pod(node: str, *, devices: int = 8, owner: str | None = None, namespace: str = "default") -> dict[str, Any]:
    amounts = {"limits": {"nvidia.com/gpu": str(devices)}}
    labels = {names.DEPLOYMENT_LABEL: owner} if owner else {}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"busy-{node}", "namespace": namespace, "labels": labels},
        "spec": {"nodeName": node, "containers": [{"name": "c", "resources": amounts}]},
        "status": {"phase": "Running"},
    }


def storage_class(*, default: bool) -> dict[str, Any]:
    annotations = {"storageclass.kubernetes.io/is-default-class": str(default).lower()}
    metadata = {"name": "standard", "annotations": annotations}
    return {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": metadata}


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def call(*items: dict[str, Any]) -> Path:
        file = tmp_path / "cluster.yaml"
        file.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": list(items)}))
        return file

    return call


def plan(run: Run, file: Path, *more: str, deployments: str = CR % "x") -> Any:
    result = run("plan", "-f", "-", "--nodes", file, *more, "-o", "json", stdin=deployments)
    assert result.stdout, result.stderr
    return json.loads(result.stdout)


def test_nodes_whose_devices_other_pods_hold_are_taken_last(run: Run, write: Any) -> None:
    items = nodes_of("nvidia-h100.yaml", "nvidia-h200.yaml")
    h200 = [each["metadata"]["name"] for each in nodes_of("nvidia-h200.yaml")]
    assert plan(run, write(*items), "--default-storage-class")["hardware"]["product"] == H200

    busy = plan(run, write(*items, *map(pod, h200)), "--default-storage-class")

    assert busy["hardware"]["product"] == H100


def test_that_all_nodes_are_busy_is_said_and_still_a_plan(run: Run, write: Any) -> None:
    items = nodes_of("nvidia-h100.yaml")

    document = plan(run, write(*items, *(pod(each["metadata"]["name"]) for each in items)), "--default-storage-class")

    assert document["fits"] is True
    assert any(each.startswith("NodesBusy") for each in document["warnings"])


@pytest.mark.parametrize(
    ("owner", "namespace", "busy"), [("x", "default", False), ("y", "default", True), ("x", "b", True)]
)
def test_a_deployments_own_pods_do_not_count_against_it(
    run: Run, write: Any, owner: str, namespace: str, *, busy: bool
) -> None:
    items = nodes_of("nvidia-h100.yaml")
    pods = [pod(each["metadata"]["name"], owner=owner, namespace=namespace) for each in items]

    document = plan(run, write(*items, *pods), "--default-storage-class")

    assert any(each.startswith("NodesBusy") for each in document["warnings"]) is busy


@pytest.mark.parametrize("default", [True, False])
def test_a_storage_class_in_the_file_says_whether_there_is_a_default_one(
    run: Run, write: Any, *, default: bool
) -> None:
    document = plan(run, write(*nodes_of("nvidia-h100.yaml"), storage_class(default=default)))

    assert document["fits"] is default
    assert not any("not checked" in each for each in document["warnings"])
    assert default or document["problems"][0]["reason"] == "NoVolume"


def test_devices_that_a_dra_driver_publishes_count(run: Run, write: Any) -> None:
    cluster = CLUSTERS["DRA, AMD mapped"]
    nodes = [{"apiVersion": "v1", "kind": "Node", **each} for each in cluster.nodes]
    published = [
        {"apiVersion": "resource.k8s.io/v1", "kind": kind, **each}
        for kind, items in (("ResourceSlice", cluster.slices), ("DeviceClass", cluster.device_classes))
        for each in items
    ]

    unseen = plan(run, write(*nodes), "--default-storage-class")
    seen = plan(run, write(*nodes, *published), "--default-storage-class")

    assert unseen["fits"] is False
    assert (seen["hardware"]["product"], seen["hardware"]["resource"]) == ("MI300X", "amd.com/gpu")


def test_a_claim_holds_the_devices_that_were_allocated_to_it(run: Run, write: Any) -> None:
    cluster = CLUSTERS["DRA, AMD mapped"]
    items = [{"apiVersion": "v1", "kind": "Node", **each} for each in cluster.nodes]
    for kind, objects in (("ResourceSlice", cluster.slices), ("DeviceClass", cluster.device_classes)):
        items += [{"apiVersion": "resource.k8s.io/v1", "kind": kind, **each} for each in objects]
    devices = [{"driver": "gpu.amd.com", "pool": "a", "device": f"gpu-{index}"} for index in range(8)]
    claim = {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaim",
        "metadata": {"name": "theirs"},
        "status": {"allocation": {"devices": {"results": devices}}},
    }

    document = plan(run, write(*items, claim), "--default-storage-class")

    assert any(each.startswith("NodesBusy") for each in document["warnings"])


def test_deployments_of_one_file_do_not_count_the_same_nodes_as_free(run: Run, write: Any) -> None:
    items = nodes_of("nvidia-h100.yaml", "nvidia-h200.yaml")
    count = len(nodes_of("nvidia-h200.yaml"))
    deployments = "".join(CR % f"x{index}" for index in range(count + 1))

    documents = plan(run, write(*items), "--default-storage-class", deployments=deployments)

    assert [each["hardware"]["product"] for each in documents] == [H200] * count + [H100]


def test_a_suspended_deployment_takes_nothing_from_the_next(run: Run, write: Any) -> None:
    items = nodes_of("nvidia-h200.yaml")[:1]
    deployments = (CR % "x").replace("precision: fp8", "precision: fp8, suspend: true") + CR % "y"

    documents = plan(run, write(*items), "--default-storage-class", deployments=deployments)

    assert not any(each.startswith("NodesBusy") for each in documents[1]["warnings"])

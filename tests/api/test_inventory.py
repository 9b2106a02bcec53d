"""Use of devices by others, and devices in ResourceSlices, on a real API server."""

from __future__ import annotations

import json
from typing import Any

import pytest

from e2e.cluster import Cluster
from tests.api.conftest import Operator, UseNodes, World, eventually

pytestmark = pytest.mark.usefixtures("operator")

H200 = "NVIDIA-H200"


def occupant(name: str, node: str, devices: int) -> dict[str, Any]:
    """A pod of somebody else's, bound to a node by hand."""
    amounts = {"nvidia.com/gpu": str(devices)}
    container = {"name": "c", "image": "busy", "resources": {"requests": amounts, "limits": amounts}}
    spec = {"nodeName": node, "containers": [container], "tolerations": [{"operator": "Exists"}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def product(world: World, name: str = "x") -> str:
    found = eventually(lambda: world.deployment(name).get("status", {}).get("plan"), what="a plan", seconds=60)
    return str(found["product"])


def test_nodes_that_others_use_are_taken_last(world: World, use_nodes: UseNodes) -> None:
    use_nodes("nvidia-h100.yaml", "nvidia-h200.yaml")
    for item in world.kubectl.json("nodes")["items"]:
        labels = item["metadata"]["labels"]
        if labels.get("nvidia.com/gpu.product") == H200:
            name = item["metadata"]["name"]
            world.kubectl.apply(occupant(f"busy-{name}", name, 8), namespace=world.namespace)
    eventually(
        lambda: all(pod["status"]["phase"] == "Running" for pod in world.items("pods")),
        what="occupants run",
        seconds=60,
    )
    world.apply()
    assert product(world) == "NVIDIA-H100-80GB-HBM3"


def test_a_burst_of_deployments_spreads_over_the_classes(world: World, use_nodes: UseNodes) -> None:
    use_nodes("nvidia-h100.yaml", "nvidia-h200.yaml")
    nodes = [item["metadata"]["labels"] for item in world.kubectl.json("nodes")["items"]]
    free = sum(labels.get("nvidia.com/gpu.product") == H200 for labels in nodes)
    names = [f"x{index}" for index in range(free + 1)]
    for name in names:
        world.apply(name)
    chosen = [product(world, name) for name in names]
    assert chosen.count(H200) == free
    assert chosen.count("NVIDIA-H100-80GB-HBM3") == 1


def lists_of_pods(cluster: Cluster, *, after: int) -> int:
    """Lists of all pods by the operator, as the audit log has them; those of its own carry a label selector."""
    found = 0
    with cluster.audit_log.open("rb") as log:
        log.seek(after)
        for line in log:
            event = json.loads(line)
            ours = event.get("userAgent", "").startswith("deepseek-operator")
            found += ours and event["verb"] == "list" and "fieldSelector=spec.nodeName" in event["requestURI"]
    return found


def test_a_settled_cluster_is_not_asked_for_pods_again(world: World, operator: Operator, use_nodes: UseNodes) -> None:
    use_nodes("nvidia-h100.yaml")
    world.apply()
    world.wait_ready(seconds=60)
    mark = world.mark()
    done = operator.metric("deepseek_operator_reconciles_total")
    world.kubectl("label", "node", "--all", "touched=yes", "--overwrite")
    eventually(lambda: operator.metric("deepseek_operator_reconciles_total") > done, what="a visit", seconds=60)
    assert lists_of_pods(world.cluster, after=mark) == 0


def h200_slice(node: str) -> dict[str, Any]:
    devices = [
        {
            "name": f"gpu-{index}",
            "attributes": {
                "type": {"string": "gpu"},
                "productName": {"string": "NVIDIA H200"},
                "driverVersion": {"version": "580.95.5"},
            },
            "capacity": {"memory": {"value": "143771Mi"}},
        }
        for index in range(8)
    ]
    pool = {"name": node, "generation": 1, "resourceSliceCount": 1}
    spec = {"driver": "gpu.nvidia.com", "nodeName": node, "pool": pool, "devices": devices}
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceSlice",
        "metadata": {"name": f"{node}-gpu"},
        "spec": spec,
    }


def device_class(resource: str | None) -> dict[str, Any]:
    expression = "device.driver == 'gpu.nvidia.com' && device.attributes['gpu.nvidia.com'].type == 'gpu'"
    spec: dict[str, Any] = {"selectors": [{"cel": {"expression": expression}}]}
    if resource:
        spec["extendedResourceName"] = resource
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "DeviceClass",
        "metadata": {"name": "gpu.nvidia.com"},
        "spec": spec,
    }


def test_devices_in_resource_slices_are_planned_once_pods_can_request_them(
    world: World, operator: Operator, use_nodes: UseNodes
) -> None:
    use_nodes("nvidia-h200.yaml")
    names = [item["metadata"]["name"] for item in world.kubectl.json("nodes")["items"]]
    operator.stop()
    operator.config = {**operator.config, "verifySeconds": 5}
    try:
        for name in names:
            gone = json.dumps(
                [{"op": "remove", "path": f"/status/{part}/nvidia.com~1gpu"} for part in ("capacity", "allocatable")]
            )
            world.kubectl("patch", "node", name, "--subresource=status", "--type=json", "-p", gone)
            world.kubectl("apply", "-f", "-", input=json.dumps(h200_slice(name)))
        world.kubectl("apply", "-f", "-", input=json.dumps(device_class(None)))
        operator.start()
        world.apply()
        eventually(
            lambda: world.condition("Planned").get("reason") == "DevicesNotRequestable",
            what="the plan says that claims alone reach them",
            seconds=60,
        )
        assert "extendedResourceName: nvidia.com/gpu" in world.condition("Planned")["message"]
        world.kubectl("apply", "-f", "-", input=json.dumps(device_class("nvidia.com/gpu")))
        assert product(world) == H200
        world.wait_ready(seconds=90)
    finally:
        operator.stop()
        operator.config.pop("verifySeconds")
        world.kubectl("delete", "resourceslices,deviceclasses", "--all")
        world.kubectl("delete", "node", *names)
        operator.start()

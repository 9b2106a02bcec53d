"""``plan`` against a real API server: it sees what the operator sees, and says what it may not see."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.api.conftest import World
from tests.api.test_inventory import H200, device_class, h200_slice, occupant
from tests.world import ROOT, UseNodes

FP8 = ROOT / "manifests" / "deepseek-fp8.yaml"


def plan(kubeconfig: Path, *arguments: str) -> tuple[dict[str, Any], str]:
    done = subprocess.run(
        [Path(sys.executable).with_name("deepseek-operator"), "plan", "-f", FP8, "-o", "json", *arguments],
        env={**os.environ, "KUBECONFIG": str(kubeconfig)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def names_of(world: World, product: str) -> list[str]:
    items = world.kubectl.json("nodes")["items"]
    return [
        each["metadata"]["name"] for each in items if each["metadata"]["labels"]["nvidia.com/gpu.product"] == product
    ]


def test_plan_takes_nodes_last_whose_devices_other_pods_hold(world: World, use_nodes: UseNodes) -> None:
    use_nodes("nvidia-h100.yaml", "nvidia-h200.yaml")
    volume = ("--default-storage-class",)
    assert plan(world.cluster.kubeconfig, *volume)[0]["hardware"]["product"] == H200

    for name in names_of(world, H200):
        world.kubectl.apply(occupant(f"busy-{name}", name, 8), namespace=world.namespace)

    document, told = plan(world.cluster.kubeconfig, *volume)
    assert document["hardware"]["product"] == "NVIDIA-H100-80GB-HBM3"
    assert "cannot be listed" not in told


def test_plan_counts_devices_in_resource_slices(world: World, use_nodes: UseNodes) -> None:
    use_nodes("nvidia-h200.yaml")
    names = names_of(world, H200)
    try:
        for name in names:
            gone = [{"op": "remove", "path": f"/status/{part}/nvidia.com~1gpu"} for part in ("capacity", "allocatable")]
            world.kubectl("patch", "node", name, "--subresource=status", "--type=json", "-p", json.dumps(gone))
            world.kubectl("apply", "-f", "-", input=json.dumps(h200_slice(name)))
        world.kubectl("apply", "-f", "-", input=json.dumps(device_class("nvidia.com/gpu")))

        document, _ = plan(world.cluster.kubeconfig, "--default-storage-class")

        assert document["hardware"]["product"] == H200
        assert document["hardware"]["acceleratorsPerNode"] == 8
    finally:
        world.kubectl("delete", "resourceslices,deviceclasses", "--all")
        world.kubectl("delete", "node", *names)


def test_a_user_who_may_only_list_nodes_gets_a_plan_and_is_told_what_is_missing(
    world: World, use_nodes: UseNodes, tmp_path: Path
) -> None:
    use_nodes("nvidia-h100.yaml")
    account = f"{world.namespace}:reader"
    world.kubectl("-n", world.namespace, "create", "serviceaccount", "reader")
    world.kubectl("create", "clusterrole", world.namespace, "--verb=list", "--resource=nodes")
    role = f"--clusterrole={world.namespace}"
    world.kubectl("create", "clusterrolebinding", world.namespace, role, f"--serviceaccount={account}")
    try:
        token = world.kubectl("-n", world.namespace, "create", "token", "reader").strip()
        config = yaml.safe_load(world.cluster.kubeconfig.read_text())
        for user in config["users"]:
            user["user"] = {"token": token}
        restricted = tmp_path / "kubeconfig"
        restricted.write_text(yaml.safe_dump(config))

        document, told = plan(restricted)
    finally:
        world.kubectl("delete", "clusterrolebinding,clusterrole", world.namespace)

    assert document["fits"] is True
    assert "pods cannot be listed (403 Forbidden): devices in use are not known" in told
    assert "ResourceSlices cannot be listed" in told
    assert "StorageClasses cannot be listed" in told
    assert any("devices in use are not known" in each for each in document["warnings"])

"""Weights on a real API server: the Job before the groups, and claims on nodes that are gone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.conftest import GROUP, Operator, World, eventually

pytestmark = pytest.mark.usefixtures("operator", "h100")
LOCAL = "local-disks"


def claim(world: World, name: str, **spec: Any) -> None:
    body = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}, **spec},
    }
    world.kubectl.apply(body, namespace=world.namespace)


def volume(world: World, name: str, **spec: Any) -> None:
    body = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteMany"], "capacity": {"storage": "1Gi"}, **spec},
    }
    world.kubectl.apply(body, namespace=world.namespace)


def test_a_shared_claim_is_filled_before_the_group_exists(world: World, operator: Operator) -> None:
    volume(world, f"big-{world.namespace}", hostPath={"path": "/big"}, storageClassName="")
    claim(world, "big", storageClassName="", volumeName=f"big-{world.namespace}")
    begun = world.mark()
    world.apply(weights={"claimName": "big"})
    world.wait_ready()
    writes = world.writes(after=begun)
    made = [write for write in writes if write.startswith(("create jobs", "create statefulsets"))]
    assert [write.split()[1] for write in made] == ["jobs", "statefulsets"]
    (job,) = world.items("jobs")
    pods = [pod for pod in world.pods() if pod["metadata"]["name"].startswith("x-g0-")]
    assert job["status"]["completionTime"] <= min(pod["metadata"]["creationTimestamp"] for pod in pods)
    assert world.condition("WeightsReady")["status"] == "True"
    # A Job that is deleted by hand comes back and disturbs nobody.
    mark = world.mark()
    world.kubectl("-n", world.namespace, "delete", "job", job["metadata"]["name"])
    eventually(lambda: world.items("jobs"), what="the Job is back")
    assert not [write for write in world.writes(after=mark) if "statefulsets" in write]
    assert world.condition("Ready")["status"] == "True"


def test_a_changed_source_replaces_the_job_and_never_stops_a_group_for_weights_that_are_not_there(
    world: World,
) -> None:
    volume(world, f"big-{world.namespace}", hostPath={"path": "/big"}, storageClassName="")
    claim(world, "big", storageClassName="", volumeName=f"big-{world.namespace}")
    world.apply(weights={"claimName": "big"})
    world.wait_ready()
    (before,) = world.items("jobs")
    mark = world.mark()
    world.apply(weights={"claimName": "big"}, revision="main")
    eventually(lambda: world.deployment()["status"]["groups"][0]["incarnation"] == 2, what="the new revision")
    world.wait_ready()
    writes = world.writes(after=mark)
    (after,) = world.items("jobs")
    assert after["metadata"]["name"] != before["metadata"]["name"]
    stop = next(index for index, write in enumerate(writes) if write == "patch statefulsets x-g0")
    assert f"create jobs {after['metadata']['name']}" in writes[:stop]


@pytest.fixture
def disks(world: World) -> Iterator[None]:
    """A disk on each node, as a local provisioner makes them."""
    manifest = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": LOCAL},
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer",
    }
    world.kubectl.apply(manifest, namespace=world.namespace)
    nodes = [node["metadata"]["name"] for node in world.kubectl.json("nodes")["items"]]
    for node in nodes:
        terms = [{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}]
        volume(
            world,
            f"disk-{node}",
            capacity={"storage": "2Ti"},
            accessModes=["ReadWriteOnce"],
            storageClassName=LOCAL,
            persistentVolumeReclaimPolicy="Delete",
            local={"path": "/mnt/disk"},
            nodeAffinity={"required": {"nodeSelectorTerms": terms}},
        )
    yield
    world.kubectl("delete", "pv", *(f"disk-{node}" for node in nodes), "--wait=false", "--ignore-not-found")
    world.kubectl("delete", "storageclass", LOCAL)


@pytest.mark.usefixtures("disks")
def test_a_rank_whose_disk_went_with_its_node_gets_another(world: World) -> None:
    world.apply(weights={"cache": "perRank", "storageClassName": LOCAL})
    world.wait_ready()
    lost = next(pod["spec"]["nodeName"] for pod in world.pods() if pod["metadata"]["name"] == "x-g0-1")
    kept = bound(world, "x-g0-0")
    world.kubectl("delete", "node", lost)
    eventually(
        lambda: bound(world, "x-g0-1") not in {"", f"disk-{lost}"}, seconds=60, what="the claim is bound elsewhere"
    )
    world.wait_ready(seconds=60)
    assert bound(world, "x-g0-0") == kept
    assert lost not in {pod["spec"]["nodeName"] for pod in world.pods()}


def bound(world: World, pod: str) -> str:
    """The volume of a rank's claim."""
    found = [each for each in world.items("pvc") if each["metadata"]["name"] == f"deepseek-weights-{pod}"]
    return found[0]["spec"].get("volumeName", "") if found else ""


def test_kept_weights_are_listed_with_who_uses_them(world: World) -> None:
    world.apply()
    world.wait_ready()
    done = subprocess.run(
        [Path(sys.executable).with_name("kubectl-deepseek"), "cache", "list", "-o", "json", "-n", world.namespace],
        env={**os.environ, "KUBECONFIG": str(world.cluster.kubeconfig)},
        capture_output=True,
        text=True,
        check=True,
    )
    listed = json.loads(done.stdout)
    assert [(each["kind"], each["usedBy"]) for each in listed] == [("node", ["x"])]
    labels = world.items("pvc")[0]["metadata"]["labels"]
    assert f"{GROUP}/weights" in labels

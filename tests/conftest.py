"""The real API server that tests share, with fake nodes."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from e2e.cluster import Cluster, up
from tests.world import CRD, GROUP, NODES, Kubectl, UseNodes, World, eventually


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    started = up(tmp_path_factory.mktemp("cluster"))
    yield started
    started.down()


@pytest.fixture(scope="session")
def kubectl(cluster: Cluster) -> Kubectl:
    return Kubectl(cluster)


@pytest.fixture(scope="session")
def crd(cluster: Cluster, kubectl: Kubectl) -> None:
    kubectl("apply", "--server-side", "-f", str(CRD))
    cluster.wait_for_crd(f"deepseekdeployments.{GROUP}")


@pytest.fixture
def world(cluster: Cluster, kubectl: Kubectl, crd: None) -> Iterator[World]:
    namespace = f"t-{uuid.uuid4().hex[:8]}"
    kubectl("create", "namespace", namespace)
    world = World(kubectl=kubectl, cluster=cluster, namespace=namespace)
    yield world
    kubectl("delete", "namespace", namespace, "--wait=false")
    # The next test plans with the devices that this one's pods hold.
    eventually(lambda: not world.items("pods"), seconds=60, what="the test's pods end")


@pytest.fixture
def use_nodes(cluster: Cluster, kubectl: Kubectl) -> UseNodes:
    """Make exactly these node files the cluster's nodes."""

    def use(*files: str) -> None:
        wanted = {name for file in files for name in cluster.apply_nodes(NODES / file)}
        present = {item["metadata"]["name"] for item in kubectl.json("nodes")["items"]}
        wanted = {name.removeprefix("node/") for name in wanted}
        if surplus := sorted(present - wanted):
            kubectl("delete", "node", *surplus)

    return use


@pytest.fixture
def h100(use_nodes: UseNodes) -> None:
    use_nodes("nvidia-h100.yaml")

"""One operator for all tests of a worker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from e2e.cluster import Cluster
from tests.world import GROUP, Kubectl, Operator, UseNodes, World, eventually

__all__ = ["GROUP", "Kubectl", "Operator", "UseNodes", "World", "eventually"]


@pytest.fixture(scope="session")
def shared_operator(cluster: Cluster, crd: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    running = Operator(kubeconfig=cluster.kubeconfig, directory=tmp_path_factory.mktemp("operator"))
    running.start()
    yield running
    if running.process is not None:
        running.stop()


@pytest.fixture
def operator(shared_operator: Operator) -> Operator:
    """The operator, running."""
    if shared_operator.process is None or shared_operator.process.poll() is not None:
        shared_operator.start()
    return shared_operator

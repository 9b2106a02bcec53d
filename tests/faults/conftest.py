"""A proxy between the operator under test and the API server; each test has its own operators."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.cluster import Cluster
from e2e.faults.proxy import ProxyThread
from tests.world import RUNNING, Operator, World

StartOperator = Callable[..., Operator]


@pytest.fixture(autouse=True)
def alone() -> None:
    """An operator that another folder's tests share would mend what is broken here."""
    for other in tuple(RUNNING):
        other.stop(signal.SIGKILL)


@pytest.fixture
def new_proxy(cluster: Cluster) -> Iterator[Callable[[], ProxyThread]]:
    """Makes proxies."""
    started: list[ProxyThread] = []

    def start() -> ProxyThread:
        started.append(ProxyThread(cluster))
        return started[-1]

    yield start
    for proxy in started:
        proxy.stop()


@pytest.fixture
def proxy(new_proxy: Callable[[], ProxyThread]) -> ProxyThread:
    return new_proxy()


@pytest.fixture
def start(world: World, proxy: ProxyThread, tmp_path: Path) -> Iterator[StartOperator]:
    """Starts operators that reach the API server through a proxy and serve the test's namespace."""
    started: list[Operator] = []

    def start(*, through: ProxyThread = proxy, **config: Any) -> Operator:
        directory = tmp_path / f"operator-{len(started)}"
        directory.mkdir()
        operator = Operator(
            kubeconfig=through.proxy.write_kubeconfig(directory / "kubeconfig"),
            directory=directory,
            namespace=world.namespace,
        )
        operator.config |= config
        operator.start()
        started.append(operator)
        return operator

    yield start
    for operator in started:
        if operator.process is not None:
            operator.stop(signal.SIGKILL)


@pytest.fixture
def operator(start: StartOperator, h100: None) -> Operator:
    """One operator behind the proxy."""
    return start()

"""A cluster whose nodes run pods, the stand-in engine as the image the operator picks, and the operator."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deepseek_operator.api.config import OperatorConfig
from e2e.cluster import Cluster, up, users_kubeconfig, wanted
from e2e.cluster.real_node import FIELD_MANAGER
from e2e.cluster.realnodes import labels_of
from e2e.cluster.requirements import problems
from e2e.engine.image import build
from e2e.engine.tool import build as build_tool
from e2e.vllm_cpu import environment
from tests.nodes.machines import NODE_SHELL, Machine, machines
from tests.nodes.measure import Measurements
from tests.nodes.reading import reader
from tests.nodes.site import Site, deployment
from tests.world import CRD, GROUP, NODES, Kubectl, Operator

IMAGE = "E2E_IMAGE"
"""In a cluster that KUBECONFIG names: the stand-in's tag, loaded on its nodes already."""
MEASUREMENTS = pytest.StashKey[Measurements]()
HARDWARE = NODES / "nvidia-h100.yaml"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--measurements", type=Path, help="file for the table of faults and what came of them")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[MEASUREMENTS] = Measurements(path=config.getoption("--measurements"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    found = config.stash[MEASUREMENTS]
    if not found.rows:
        return
    terminalreporter.section("faults on real nodes")
    terminalreporter.write(found.table())


@pytest.fixture(scope="session")
def measurements(pytestconfig: pytest.Config) -> Measurements:
    return pytestconfig.stash[MEASUREMENTS]


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    state = tmp_path_factory.mktemp("nodes")
    external = users_kubeconfig(state)
    if external is None and (found := problems()):
        pytest.skip("real nodes cannot run here: " + "; ".join(found))
    # The smoke test needs two; scenarios two more, for what moves and for two groups.
    scenarios = any(item.get_closest_marker("scenario") for item in request.session.items)
    engine = any(item.get_closest_marker("engine") for item in request.session.items)
    mounts = {environment.SEEN_AT: environment.ensure()} if engine else {}
    started = up(state, external=external, real=wanted(HARDWARE, count=4 if scenarios else 2, mounts=mounts))
    yield started
    started.down()


@pytest.fixture(scope="session")
def nodes(cluster: Cluster) -> tuple[Machine, ...]:
    return machines(cluster)


@pytest.fixture
def below(nodes: tuple[Machine, ...]) -> None:
    """For tests that hurt a machine."""
    if not nodes:
        pytest.skip(f"set {NODE_SHELL} to a command that reaches the nodes, such as 'docker exec -i {{node}}'")


@pytest.fixture(scope="session")
def image(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The stand-in engine on every node, under the tag that the operator picks."""
    if cluster.external and (given := os.environ.get(IMAGE)):
        return given
    engine = planned_engine(tmp_path_factory.mktemp("image"))
    if not cluster.external:
        folder = tmp_path_factory.mktemp("archive")
        cluster.import_image(build(folder / "engine.tar", tag=engine["image"], version=engine["version"]))
    return str(engine["image"])


def planned_engine(folder: Path, **spec: Any) -> dict[str, Any]:
    """Image and version that the operator plans for a deployment."""
    body = {"model": "deepseek-ai/DeepSeek-V3-0324", "precision": "fp8", **deployment(), **spec}
    manifest = {
        "apiVersion": f"{GROUP}/v1alpha1",
        "kind": "DeepSeekDeployment",
        "metadata": {"name": "x"},
        "spec": body,
    }
    (folder / "x.json").write_text(json.dumps(manifest))
    program = Path(sys.executable).with_name("deepseek-operator")
    command: list[str | Path] = [program, "plan", "-o", "json", "--nodes", HARDWARE, "-f", folder / "x.json"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found: dict[str, Any] = json.loads(printed)["engine"]
    return found


@pytest.fixture(scope="session")
def tool(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The operator's own image on every node: it prepares and verifies weights."""
    tag = OperatorConfig().image
    cluster.import_image(build_tool(tmp_path_factory.mktemp("tool") / "tool.tar", tag=tag))
    return tag


@pytest.fixture(scope="session")
def caches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the nodes for weights and kernels; all nodes of this machine share it."""
    return tmp_path_factory.mktemp("caches")


@pytest.fixture(scope="session")
def kubectl(cluster: Cluster) -> Iterator[Kubectl]:
    with reader(cluster) as found:
        yield found


@pytest.fixture(scope="session")
def operator(
    cluster: Cluster, kubectl: Kubectl, caches: Path, tool: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Operator]:
    kubectl("apply", "--server-side", "-f", str(CRD))
    cluster.wait_for_crd(f"deepseekdeployments.{GROUP}")
    running = Operator(
        kubeconfig=cluster.kubeconfig,
        directory=tmp_path_factory.mktemp("operator"),
        config={
            "allow": {"hostPath": True, "hostNetwork": True},
            "image": tool,
            "weights": {"nodePath": str(caches)},
        },
    )
    running.start()
    yield running
    if running.process is not None:
        running.stop()


@pytest.fixture
def site(
    cluster: Cluster, kubectl: Kubectl, operator: Operator, image: str, nodes: tuple[Machine, ...]
) -> Iterator[Site]:
    namespace = f"t-{uuid.uuid4().hex[:8]}"
    kubectl("create", "namespace", namespace)
    site = Site(kubectl=kubectl, cluster=cluster, namespace=namespace, image=image, machines=nodes)
    site.add_checkpoint()
    yield site
    site.clear()


@pytest.fixture
def h200(site: Site, kubectl: Kubectl) -> Iterator[None]:
    """Every node as one of which a group needs only one."""
    machines_as(kubectl, NODES / "nvidia-h200.yaml")
    yield
    machines_as(kubectl, HARDWARE)


def machines_as(kubectl: Kubectl, file: Path) -> None:
    """Label the nodes as the vendor's labeller labels the first machine of a file."""
    labels = labels_of(yaml.safe_load(file.read_text())["items"][0])
    present = kubectl.json("nodes", "-l", "nvidia.com/gpu.present=true")["items"]
    nodes = [
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node["metadata"]["name"], "labels": labels}}
        for node in present
    ]
    document = json.dumps({"apiVersion": "v1", "kind": "List", "items": nodes})
    owned = ("--server-side", "--force-conflicts", f"--field-manager={FIELD_MANAGER}")
    kubectl("apply", *owned, "-f", "-", input=document)

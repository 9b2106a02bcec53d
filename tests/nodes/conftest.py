"""A cluster whose nodes run pods, the stand-in engine as the image the operator picks, and the operator."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from deepseek_operator.api.config import OperatorConfig
from e2e.cluster import Cluster, RealNode, up, wanted
from e2e.cluster.requirements import problems
from e2e.engine.image import build
from e2e.engine.tool import build as build_tool
from e2e.sglang_parser import DEEPSEEK_V3
from tests.world import CRD, GROUP, NODES, Check, Kubectl, Operator, World

SOURCE = "path:///models/deepseek-v3"
GPU = {"key": "nvidia.com/gpu", "operator": "Exists"}


def wait_for(check: Check, *, seconds: float, what: str) -> Any:
    """Poll until `check` returns something true and return it; fail when the time, by the clock, is up."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not (last := check()):
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds} s: {what}; last: {last!r}")
        pause.wait(0.2)
    return last


def deployment(models: Path, **spec: Any) -> dict[str, Any]:
    """The spec of a deployment whose weights lie in a directory of each node."""
    volumes = {
        "volumes": [{"name": "models", "hostPath": str(models)}],
        "volumeMounts": [{"name": "models", "mountPath": "/models", "readOnly": True}],
    }
    return {"weights": {"source": SOURCE}, "podTemplate": volumes, **spec}


@dataclass(frozen=True)
class Site(World):
    """A test's namespace on real nodes."""

    models: Path
    image: str

    def deploy(self, **spec: Any) -> None:
        self.apply(**deployment(self.models, **spec))

    def node_of(self, rank: int) -> RealNode:
        (name,) = [pod["spec"]["nodeName"] for pod in self.pods() if pod["metadata"]["name"] == f"x-g0-{rank}"]
        return next(node for node in self.cluster.real_nodes if node.name == name)

    def engine_of(self, rank: int) -> int:
        """The process that a rank's container runs, by its id on this machine."""
        found = [
            pid
            for pid, line in self.node_of(rank).processes().items()
            if line.startswith("python3 -m sglang.launch_server") and f"--node-rank {rank} " in line
        ]
        assert len(found) == 1, found
        return found[0]


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if found := problems():
        pytest.skip("real nodes cannot run here: " + "; ".join(found))
    started = up(tmp_path_factory.mktemp("nodes"), real=wanted(count=2))
    yield started
    started.down()


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with what the engine reads of a checkpoint before the weights."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "deepseek-v3").mkdir()
    (folder / "deepseek-v3" / "config.json").write_text(json.dumps(dict(DEEPSEEK_V3)))
    return folder


@pytest.fixture(scope="session")
def image(cluster: Cluster, models: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The stand-in engine on every node, under the tag that the operator picks."""
    folder = tmp_path_factory.mktemp("image")
    body = {"model": "deepseek-ai/DeepSeek-V3-0324", "precision": "fp8", **deployment(models)}
    manifest = {
        "apiVersion": f"{GROUP}/v1alpha1",
        "kind": "DeepSeekDeployment",
        "metadata": {"name": "x"},
        "spec": body,
    }
    (folder / "x.json").write_text(json.dumps(manifest))
    (folder / "config.json").write_text(json.dumps({"allow": {"hostPath": True}}))
    files: list[str | Path] = ["-f", folder / "x.json", "--config", folder / "config.json"]
    program = Path(sys.executable).with_name("deepseek-operator")
    command = [program, "plan", "-o", "json", "--nodes", NODES / "nvidia-h100.yaml", *files]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    engine = json.loads(printed)["engine"]
    cluster.import_image(build(folder / "engine.tar", tag=engine["image"], version=engine["version"]))
    return str(engine["image"])


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
def kubectl(cluster: Cluster) -> Kubectl:
    return Kubectl(cluster)


@pytest.fixture(scope="session")
def operator(
    cluster: Cluster, kubectl: Kubectl, caches: Path, tool: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Operator]:
    kubectl("apply", "--server-side", "-f", str(CRD))
    cluster.wait_for_crd(f"deepseekdeployments.{GROUP}")
    running = Operator(
        kubeconfig=cluster.kubeconfig,
        directory=tmp_path_factory.mktemp("operator"),
        config={"allow": {"hostPath": True}, "image": tool, "weights": {"nodePath": str(caches)}},
    )
    running.start()
    yield running
    if running.process is not None:
        running.stop()


@pytest.fixture
def site(cluster: Cluster, kubectl: Kubectl, operator: Operator, models: Path, image: str) -> Iterator[Site]:
    namespace = f"t-{uuid.uuid4().hex[:8]}"
    kubectl("create", "namespace", namespace)
    yield Site(kubectl=kubectl, cluster=cluster, namespace=namespace, models=models, image=image)
    kubectl("delete", "namespace", namespace, "--wait=false")

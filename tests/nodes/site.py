"""What a user sees and does on nodes that run pods, and what a fault does to them from below."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass
from typing import Any

import pytest

from e2e.sglang_parser import DEEPSEEK_V3
from tests.nodes.machines import Machine
from tests.world import Check, World

SOURCE = "path:///models/deepseek-v3"
CHECKPOINT = "checkpoint"
GPU = {"key": "nvidia.com/gpu", "operator": "Exists"}
POLL_SECONDS = 0.2


def wait_for(check: Check, *, seconds: float, what: str) -> Any:
    """Poll until `check` returns something true and return it; fail when the time, by the clock, is up."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not (last := check()):
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds} s: {what}; last: {last!r}")
        pause.wait(POLL_SECONDS)
    return last


def deployment(**spec: Any) -> dict[str, Any]:
    """The spec of a deployment whose checkpoint is what an engine reads of one before the weights."""
    volumes = {
        "volumes": [{"name": "models", "configMap": CHECKPOINT}],
        "volumeMounts": [{"name": "models", "mountPath": "/models/deepseek-v3"}],
    }
    return {"weights": {"source": SOURCE}, "podTemplate": volumes, **spec}


@dataclass(frozen=True)
class Site(World):
    """A test's namespace on real nodes."""

    image: str
    machines: tuple[Machine, ...]

    def add_checkpoint(self) -> None:
        """Put config.json where `deployment` mounts it."""
        config = json.dumps(dict(DEEPSEEK_V3))
        manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": CHECKPOINT}}
        self.kubectl.apply({**manifest, "data": {"config.json": config}}, namespace=self.namespace)

    def deploy(self, **spec: Any) -> None:
        chosen = {"engine": {"image": self.image}} if self.cluster.external else {}
        self.apply(**{**deployment(), **chosen, **spec})

    def serve(self, *, seconds: float = 150, **spec: Any) -> dict[str, Any]:
        """Apply a deployment and return it when it is Ready."""
        self.deploy(**spec)
        return self.wait_ready(seconds=seconds)

    def group(self, index: int = 0) -> dict[str, Any]:
        """A group's entry in status."""
        found: list[dict[str, Any]] = self.deployment()["status"].get("groups", [])
        return next((group for group in found if group["index"] == index), {})

    def pod(self, rank: int, *, group: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = self.get("pod", f"x-g{group}-{rank}")
        return found

    def machine(self, node: str) -> Machine:
        return next(machine for machine in self.machines if machine.name == node)

    def machine_of(self, rank: int, *, group: int = 0) -> Machine:
        return self.machine(self.pod(rank, group=group)["spec"]["nodeName"])

    def spare_nodes(self) -> list[str]:
        """Nodes without a pod of the deployment."""
        used = {pod["spec"].get("nodeName") for pod in self.pods()}
        return [machine.name for machine in self.machines if machine.name not in used]

    def engine_of(self, rank: int, *, group: int = 0) -> int:
        """The process that a rank's container runs, by its id on its machine."""
        return self._process(rank, f"--node-rank {rank} ", group=group)

    def _process(self, rank: int, words: str, *, group: int) -> int:
        found = [
            pid
            for pid, line in self.machine_of(rank, group=group).processes().items()
            if line.startswith("python3 -m sglang.launch_server") and words in line
        ]
        assert len(found) == 1, found
        return found[0]

    def shim_of(self, rank: int, *, group: int = 0) -> int:
        """containerd's process that holds the pod's containers."""
        machine = self.machine_of(rank, group=group)
        pod = self.pod(rank, group=group)
        sandbox = machine.sandbox(pod["metadata"]["uid"])
        found = [
            pid
            for pid, line in machine.processes().items()
            if line.split()[0].endswith("containerd-shim-runc-v2") and sandbox in line
        ]
        assert len(found) == 1, found
        return found[0]

    def scheduler_of(self, rank: int, device: int, *, group: int = 0) -> int:
        """The process of one device of a node, by its id on its machine."""
        title = f"sglang::scheduler_TP{device}"
        found = [
            pid
            for pid, line in self.machine_of(rank, group=group).processes().items()
            if line.split(" ", 1)[0] == title
        ]
        assert len(found) == 1, found
        return found[0]

    def exec(self, rank: int, *command: str, group: int = 0) -> str:
        return self.kubectl("-n", self.namespace, "exec", f"x-g{group}-{rank}", "-c", "engine", "--", *command)

    def log(self, rank: int, *, group: int = 0) -> str:
        return self.kubectl("-n", self.namespace, "logs", f"x-g{group}-{rank}", "-c", "engine")

    def run_pod(self, name: str, spec: dict[str, Any]) -> None:
        """Start a pod of the user's own in the deployment's namespace, on a node where no rank runs if there is one."""
        spare = self.spare_nodes()
        placed = {"nodeSelector": {"kubernetes.io/hostname": spare[0]}} if spare else {}
        body = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "tolerations": [GPU], **placed, **spec}
        manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": body}
        self.kubectl.apply(manifest, namespace=self.namespace)

    def clear(self) -> None:
        """Take the namespace down at once; return when its devices are free again."""
        self.kubectl("-n", self.namespace, "delete", "dsd", "--all", "--wait=false")
        self.kubectl("delete", "namespace", self.namespace, "--wait=false")
        # Ranks that were hurt do not end by themselves, and the grace period is no part of any scenario's end.
        wait_for(self._no_pods, seconds=120, what="the namespace's pods end")

    def _no_pods(self) -> bool:
        names = self.kubectl("-n", self.namespace, "get", "pods", "-o", "name").split()
        if names:
            self.kubectl(
                "-n", self.namespace, "delete", "--grace-period=1", "--wait=false", "--ignore-not-found", *names
            )
        return not names

"""A user's view of a real API server, and the operator as the process that users run: what tests share."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from e2e.cluster import Cluster, requests, writes

ROOT = Path(__file__).resolve().parents[1]
NODES = ROOT / "e2e" / "cluster" / "nodes"
CRD = ROOT / "crds" / "deepseekdeployments.yaml"
GROUP = "serving.deepseek-operator.io"

Check = Callable[[], Any]
UseNodes = Callable[..., None]


def eventually(check: Check, *, seconds: float = 30.0, what: str = "") -> Any:
    """Poll until `check` returns something true and return it; fail with the last answer."""
    pause = threading.Event()
    last: Any = None
    for _ in range(int(seconds / 0.1)):
        last = check()
        if last:
            return last
        pause.wait(0.1)
    pytest.fail(f"not within {seconds} s: {what or check!r}; last: {last!r}")


class Kubectl:
    """kubectl as administrator, with JSON read and errors raised."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def __call__(self, *arguments: str, input: str | None = None) -> str:  # noqa: A002 - as subprocess.run
        return self._cluster.kubectl(*arguments, stdin=input)

    def json(self, *arguments: str) -> Any:
        return json.loads(self("get", *arguments, "-o", "json"))

    def apply(self, manifest: dict[str, Any], *, namespace: str) -> None:
        self("apply", "-n", namespace, "-f", "-", input=json.dumps(manifest))


@dataclass(eq=False)
class Operator:
    """`deepseek-operator run` as a process."""

    kubeconfig: Path
    directory: Path
    process: subprocess.Popen[bytes] | None = None
    port: int = 0
    config: dict[str, Any] = field(default_factory=lambda: {"weights": {"nodePath": "/var/lib/deepseek"}})
    namespace: str = ""
    """Serve only this one, and keep the Lease in it."""
    environment: dict[str, str] = field(default_factory=dict)
    program: tuple[str, ...] = ()
    """What is run instead of the installed command: another version of the operator."""

    def start(self) -> None:
        config = self.directory / "config.json"
        config.write_text(json.dumps(self.config))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        program = self.program or (str(Path(sys.executable).with_name("deepseek-operator")),)
        limited = ["--namespace", self.namespace] if self.namespace else []
        own = {"KUBECONFIG": str(self.kubeconfig), "HTTP_PORT": str(self.port)}
        if self.namespace:
            own["POD_NAMESPACE"] = self.namespace
        with (self.directory / "operator.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *program,
                    "run",
                    "--config",
                    config,
                    *limited,
                ],
                env={**os.environ, **own, **self.environment},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        RUNNING.add(self)

    def stop(self, with_signal: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(with_signal)
        code = self.process.wait(30)
        self.process = None
        RUNNING.discard(self)
        return code

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def metric(self, name: str) -> float:
        """The sum of a metric's series; 0 while the operator does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
                text: str = answer.read().decode()
        except OSError:
            return 0.0
        lines = [line for line in text.splitlines() if line.startswith((f"{name}{{", f"{name} "))]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    @property
    def log(self) -> str:
        return (self.directory / "operator.log").read_text(errors="replace")


RUNNING: set[Operator] = set()
"""Every operator of this test process: one that serves all namespaces must not meddle in another test's."""


@dataclass(frozen=True)
class World:
    """One test's namespace, and what it sees."""

    kubectl: Kubectl
    cluster: Cluster
    namespace: str

    def get(self, *arguments: str) -> Any:
        return self.kubectl.json("-n", self.namespace, *arguments)

    def items(self, kind: str, selector: str = "") -> list[dict[str, Any]]:
        chosen = ["-l", selector] if selector else []
        found: list[dict[str, Any]] = self.get(kind, *chosen)["items"]
        return found

    def apply(self, name: str = "x", **spec: Any) -> None:
        body = {"model": "deepseek-ai/DeepSeek-V3-0324", "precision": "fp8", **spec}
        manifest = {
            "apiVersion": f"{GROUP}/v1alpha1",
            "kind": "DeepSeekDeployment",
            "metadata": {"name": name},
            "spec": body,
        }
        self.kubectl.apply(manifest, namespace=self.namespace)

    def patch(self, kind: str, name: str, patch: dict[str, Any]) -> None:
        self.kubectl("-n", self.namespace, "patch", kind, name, "--type=merge", "-p", json.dumps(patch))

    def deployment(self, name: str = "x") -> dict[str, Any]:
        found: dict[str, Any] = self.get("dsd", name)
        return found

    def condition(self, kind: str, name: str = "x") -> dict[str, Any]:
        conditions = self.deployment(name).get("status", {}).get("conditions", [])
        found: dict[str, Any] = next((c for c in conditions if c["type"] == kind), {})
        return found

    def observed(self, name: str = "x") -> bool:
        deployment = self.deployment(name)
        seen: bool = deployment["status"]["observedGeneration"] == deployment["metadata"]["generation"]
        return seen

    def wait_ready(self, name: str = "x", *, seconds: float = 30.0) -> dict[str, Any]:
        eventually(
            lambda: self.observed(name) and self.condition("Ready", name).get("status") == "True",
            seconds=seconds,
            what=f"{name} Ready",
        )
        # Each group that serves is asked for its memory once, and the answer is one more write of status.
        eventually(lambda: self._reported(name), what=f"the memory of {name} is asked for")
        return self.deployment(name)

    def _reported(self, name: str) -> bool:
        groups = self.deployment(name)["status"].get("groups", [])
        return all("memory" in group for group in groups if group["ready"])

    def pods(self, name: str = "x") -> list[dict[str, Any]]:
        """The ranks; a pod that only brings an image to a node is none."""
        return self.items("pods", f"{GROUP}/deployment={name},{GROUP}/group")

    def pulls(self, name: str = "x") -> list[dict[str, Any]]:
        """Pods that bring an image to a node."""
        return self.items("pods", f"{GROUP}/pull={name}")

    def incarnations(self, name: str = "x") -> set[str]:
        return {pod["metadata"]["labels"][f"{GROUP}/incarnation"] for pod in self.pods(name)}

    def mark(self) -> int:
        """The audit log's size: what comes after is what happened after."""
        return self.cluster.audit_log.stat().st_size

    def writes(self, *, after: int) -> list[str]:
        """Mutating requests of the operator for this namespace; its Lease lives in another.

        What lies outside of all namespaces (the volume of weights) carries the namespace's name.
        """
        return [
            f"{request.verb} {request.resource} {request.name}"
            for request in writes(self.cluster.audit_log, user_agent="deepseek-operator", after=after)
            if request.namespace == self.namespace
            or (not request.namespace and request.name.startswith(f"{self.namespace}."))
        ]

    def seconds(self, *, after: int) -> float:
        """How long the audit log has gone on since a mark, by its own time stamps."""
        stamps = [request.received for request in requests(self.cluster.audit_log, after=after)]
        return (max(stamps) - min(stamps)).total_seconds() if stamps else 0.0

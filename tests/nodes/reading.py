"""Reading from the API server again and again without a kubectl each time: on two processors they would be the load."""

from __future__ import annotations

import json
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from e2e.cluster import Cluster, binary
from tests.nodes.site import wait_for
from tests.world import GROUP, Kubectl

PATHS = {
    "dsd": f"apis/{GROUP}/v1alpha1",
    "pod": "api/v1",
    "pods": "api/v1",
    "node": "api/v1",
    "nodes": "api/v1",
}
PLURALS = {"dsd": "deepseekdeployments", "pod": "pods", "node": "nodes"}


class Reader(Kubectl):
    """As `Kubectl`; plain reads of the kinds above go through one `kubectl proxy`."""

    def __init__(self, cluster: Cluster, port: int) -> None:
        super().__init__(cluster)
        self._address = f"http://127.0.0.1:{port}"
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def json(self, *arguments: str) -> Any:
        path = _path(arguments)
        if path is None:
            return super().json(*arguments)
        try:
            with self._opener.open(f"{self._address}/{path}", timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            error.close()
            # kubectl says what it is in a user's words.
            return super().json(*arguments)

    def answers(self) -> bool:
        try:
            with self._opener.open(f"{self._address}/readyz", timeout=30) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


def _path(arguments: tuple[str, ...]) -> str | None:
    """The path of `[-n NAMESPACE] KIND [NAME] [-l SELECTOR]`, or None for anything else."""
    words = list(arguments)
    namespace = words[1] if words[:1] == ["-n"] else None
    words = words[2:] if namespace else words
    selector = ""
    if words[-2:-1] == ["-l"]:
        selector = f"?labelSelector={urllib.parse.quote(words[-1])}"
        words = words[:-2]
    if not words or words[0] not in PATHS or len(words) > 2 or any(word.startswith("-") for word in words):
        return None
    where = f"/namespaces/{namespace}" if namespace and words[0] not in {"node", "nodes"} else ""
    name = f"/{words[1]}" if len(words) == 2 else ""
    return f"{PATHS[words[0]]}{where}/{PLURALS.get(words[0], words[0])}{name}{selector}"


@contextmanager
def reader(cluster: Cluster) -> Iterator[Reader]:
    """A reader for as long as the block lasts."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command: list[str | Path] = [binary("kubectl"), f"--kubeconfig={cluster.kubeconfig}", "proxy", f"--port={port}"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            found = Reader(cluster, port)
            wait_for(found.answers, seconds=60, what="kubectl proxy answers")
            yield found
        finally:
            process.terminate()

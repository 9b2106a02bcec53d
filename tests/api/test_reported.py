"""The operator asks a serving leader for its memory, once, and tells when it is not as planned.

Fake nodes get a pod network on loopback, so that the leader's address is one where a real HTTP server listens.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from tests.api.conftest import Kubectl, Operator, UseNodes, World, eventually
from tests.api.test_life import quiet

pytestmark = pytest.mark.usefixtures("operator")

NETWORK = "127.77.{index}"
PORT = 8000


class Leader(BaseHTTPRequestHandler):
    """SGLang's metrics page with a KV cache of one token in ten."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(f"{self.path} {self.headers.get('Authorization', 'no key')}")
        page = b'sglang:max_total_num_tokens{tp_rank="0"} 28373.0\nsglang:weight_memory_usage_gb{tp_rank="0"} 40.3\n'
        self.send_response(200)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def leaders(use_nodes: UseNodes, kubectl: Kubectl) -> Iterator[type[Leader]]:
    """Servers on the first addresses of each node's pod network."""
    use_nodes("nvidia-h100.yaml")
    names = sorted(item["metadata"]["name"] for item in kubectl.json("nodes")["items"])
    kubectl("delete", "node", *names)
    use_nodes("nvidia-h100.yaml")
    servers = []
    for index, name in enumerate(names, start=1):
        network = NETWORK.format(index=index)
        kubectl(
            "patch", "node", name, "-p", f'{{"spec": {{"podCIDR": "{network}.0/24", "podCIDRs": ["{network}.0/24"]}}}}'
        )
        for host in range(1, 9):
            server = ThreadingHTTPServer((f"{network}.{host}", PORT), Leader)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            servers.append(server)
    Leader.asked.clear()
    yield Leader
    for server in servers:
        server.shutdown()
        server.server_close()
    kubectl("delete", "node", *names)


def test_a_kv_cache_far_too_small_is_told_with_both_figures(
    world: World, operator: Operator, leaders: type[Leader]
) -> None:
    world.apply()
    world.wait_ready()
    assert world.pods()[0]["status"]["podIP"].startswith("127.77.")
    condition = eventually(
        lambda: (c := world.condition("MemoryAsPlanned")).get("status") == "False" and c, what="MemoryAsPlanned=False"
    )
    assert condition["reason"] == "OffPlan"
    planned = world.deployment()["status"]["plan"]["kvTokens"]
    assert f"group 0 reports 28,373 KV tokens, planned {planned:,}" in condition["message"]
    assert world.deployment()["status"]["groups"][0]["memory"] == {
        "incarnation": 1,
        "kvTokens": 28_373,
        "weightsGiB": "40.30",
    }
    eventually(lambda: quiet(world, operator), what="the operator settles")
    assert leaders.asked == ["/metrics no key"]
    reasons = {event["reason"] for event in world.items("events.events.k8s.io")}
    assert "MemoryOffPlan" in reasons

    world.kubectl("-n", world.namespace, "delete", "pod", "x-g0-1", "--wait=false")
    eventually(
        lambda: world.deployment()["status"]["groups"][0].get("memory", {}).get("incarnation") == 2,
        seconds=60,
        what="the next incarnation was asked",
    )
    eventually(lambda: quiet(world, operator), what="the operator settles")
    assert leaders.asked == ["/metrics no key"] * 2

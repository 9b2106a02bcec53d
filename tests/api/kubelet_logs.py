"""The part of a kubelet that serves container logs, for fake nodes: the real API server asks it as it would any."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from e2e.cluster.certificates import create_authority, issue
from tests.world import World


@dataclass
class KubeletLogs:
    """Logs by pod and whether the run before the present one is meant; what was asked."""

    port: int = 0
    logs: dict[tuple[str, bool], str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    silent: threading.Event = field(default_factory=threading.Event)
    """Set: nothing is answered."""
    woken: threading.Event = field(default_factory=threading.Event)

    def answer(self, path: str) -> tuple[int, str]:
        """``/containerLogs/NAMESPACE/POD/CONTAINER?…`` as a kubelet answers it."""
        self.asked.append(path)
        if self.silent.is_set():
            self.woken.wait(30)
        url = urlsplit(path)
        pod, query = url.path.split("/")[3], parse_qs(url.query)
        found = self.logs.get((pod, query.get("previous") == ["true"]))
        if found is None:
            return 400, "previous terminated container not found"
        lines = found.splitlines(keepends=True)
        return 200, "".join(lines[-int(query["tailLines"][0]) :])

    def serve(self, world: World, node: str) -> None:
        """Be the kubelet of a node."""
        status = {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}, {"type": "Hostname", "address": node}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self.port}},
        }
        patch = json.dumps({"status": status})
        world.kubectl("patch", "node", node, "--subresource=status", "--type=merge", "-p", patch)


@contextmanager
def kubelet_logs(folder: Path) -> Iterator[KubeletLogs]:
    """A server on loopback with a certificate of its own, as kubelets have."""
    logs = KubeletLogs()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, text = logs.answer(self.path)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            """Tests read `asked`."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    authority = create_authority(folder / "pki")
    pair = issue(authority, name="kubelet", subject="/CN=kubelet", server_names=("IP:127.0.0.1",), serial=2)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    logs.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield logs
    finally:
        logs.woken.set()
        server.shutdown()
        server.server_close()

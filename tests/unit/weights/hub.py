"""A hub on the loopback: Hugging Face's and ModelScope's routes, a store behind redirects, faults on order."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import parse_qs, quote, unquote, urlsplit

COMMIT: Final = "e9b33add76883f293d6bf61f6bd89b497e80e335"
SIGNATURE: Final = "X-Amz-Signature=very-secret"
_SLICE: Final = 64 * 2**10

Kind = Literal["status", "cut", "corrupt", "slow", "stall", "ignore-range"]


@dataclass
class Fault:
    """What goes wrong with requests for a path, and how often."""

    kind: Kind
    times: int = 1
    status: int = 500
    after: int = 0
    retry_after: str | None = None
    only: Literal["hub", "store", "list"] = "store"


@dataclass
class Request:
    """What a request looked like."""

    host: Literal["hub", "store"]
    path: str
    offset: int
    authorization: str | None


@dataclass
class Hub:
    """Files of one repository, how they are asked for, and what goes wrong."""

    directory: Path
    repository: str = "deepseek-ai/DeepSeek-V3-0324"
    revisions: tuple[str, ...] = ("main", "master", COMMIT)
    token: str | None = None
    gated: bool = False
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)
    store: str = ""
    url: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def fail(self, path: str, *faults: Fault) -> None:
        """Order faults for a path; ``*`` is the listing."""
        self.faults.setdefault(path, []).extend(faults)

    def fault(self, path: str, where: str) -> Fault | None:
        """The next fault that was ordered, used up."""
        with self.lock:
            for fault in self.faults.get(path, []):
                if fault.times > 0 and fault.only == where:
                    fault.times -= 1
                    return fault
        return None

    def received(self, path: str) -> list[Request]:
        """Requests to the store for a path."""
        return [request for request in self.requests if request.host == "store" and request.path == path]

    def siblings(self) -> list[dict[str, Any]]:
        """The listing in Hugging Face's form: LFS files have a SHA-256, others git's SHA-1."""
        return [self._sibling(path) for path in sorted(self.directory.rglob("*")) if path.is_file()]

    def _sibling(self, path: Path) -> dict[str, Any]:
        content = path.read_bytes()
        name = path.relative_to(self.directory).as_posix()
        size = self.sizes.get(name, len(content))
        entry: dict[str, Any] = {
            "rfilename": name,
            "size": size,
            "blobId": hashlib.sha1(f"blob {len(content)}\0".encode() + content, usedforsecurity=False).hexdigest(),
        }
        if name.endswith(".safetensors"):
            entry["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": size, "pointerSize": 135}
        return entry


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub
    host: Literal["hub", "store"]

    def log_message(self, *arguments: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        try:
            self._get()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _get(self) -> None:
        path = unquote(urlsplit(self.path).path)
        offset = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
        name = path.partition("/store/")[2] if self.host == "store" else path
        seen = Request(host=self.host, path=name, offset=offset, authorization=self.headers.get("Authorization"))
        self.hub.requests.append(seen)
        if self.host == "store":
            self._serve(name, offset)
        elif self._is_allowed():
            self._hub(path)

    def _is_allowed(self) -> bool:
        given = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if self.hub.gated:
            self._answer(403, {"error": "gated"}, {"X-Error-Code": "GatedRepo"})
        elif self.hub.token and given != self.hub.token:
            self._answer(401, {"error": "Invalid username or password."})
        else:
            return True
        return False

    def _hub(self, path: str) -> None:
        repository, query = self.hub.repository, parse_qs(urlsplit(self.path).query)
        routes: list[tuple[str, Callable[[str], None]]] = [
            (f"/api/models/{repository}/revision/", self._model_info),
            (f"/{repository}/resolve/", self._resolve),
            (f"/api/v1/models/{repository}/repo/files", lambda _: self._modelscope_files(query["Revision"][0])),
            (f"/api/v1/models/{repository}/repo", lambda _: self._redirect(query["FilePath"][0])),
        ]
        for prefix, route in routes:
            if path.startswith(prefix):
                route(path.removeprefix(prefix))
                return
        self._answer(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})

    def _model_info(self, revision: str) -> None:
        if self._failed("*", "list"):
            return
        if revision not in self.hub.revisions:
            self._answer(404, {"error": f"Invalid rev id: {revision}"}, {"X-Error-Code": "RevisionNotFound"})
            return
        self._answer(200, {"id": self.hub.repository, "sha": COMMIT, "siblings": self.hub.siblings()})

    def _resolve(self, rest: str) -> None:
        self._redirect(rest.partition("/")[2])

    def _redirect(self, name: str) -> None:
        if self._failed(name, "hub"):
            return
        location = f"{self.hub.store}/store/{quote(name)}?{SIGNATURE}"
        headers = {"Location": location, "X-Repo-Commit": COMMIT, "X-Linked-Etag": '"etag"'}
        self._answer(302, None, headers)

    def _modelscope_files(self, revision: str) -> None:
        if self._failed("*", "list"):
            return
        if revision not in self.hub.revisions:
            self._answer(200, {"Code": 404, "Success": False, "Message": "revision not found", "Data": None})
            return
        files = [
            {
                "Path": entry["rfilename"],
                "Type": "blob",
                "Size": entry["size"],
                "Sha256": hashlib.sha256((self.hub.directory / entry["rfilename"]).read_bytes()).hexdigest(),
            }
            for entry in self.hub.siblings()
        ]
        tree = [{"Path": "figures", "Type": "tree", "Size": 0}]
        self._answer(200, {"Code": 200, "Success": True, "Data": {"Files": tree + files}})

    def _failed(self, name: str, where: str) -> bool:
        fault = self.hub.fault(name, where)
        if fault is None:
            return False
        headers = {"Retry-After": fault.retry_after} if fault.retry_after else {}
        self._answer(fault.status, {"error": "on order"}, headers)
        return True

    def _serve(self, name: str, offset: int) -> None:
        fault = self.hub.fault(name, "store")
        if fault is not None and fault.kind == "status":
            self._answer(fault.status, {"error": "on order"})
            return
        content = (self.hub.directory / name).read_bytes()
        if fault is not None and fault.kind == "corrupt":
            content = content[:-1] + bytes([content[-1] ^ 0xFF]) if content else b""
        partial = offset > 0 and not (fault is not None and fault.kind == "ignore-range")
        body = content[offset:] if partial else content
        self.send_response(206 if partial else 200)
        if partial:
            self.send_header("Content-Range", f"bytes {offset}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"etag"')
        self.end_headers()
        if self.command == "GET":
            self._body(body, fault)

    def _body(self, body: bytes, fault: Fault | None) -> None:
        end = fault.after if fault is not None and fault.kind in {"cut", "stall"} else len(body)
        for begin in range(0, min(end, len(body)), _SLICE):
            self.wfile.write(body[begin : min(begin + _SLICE, end)])
            if fault is not None and fault.kind == "slow":
                time.sleep(0.01)
        if end < len(body):
            self.wfile.flush()
            if fault is not None and fault.kind == "stall":
                # Longer than the client listens to silence.
                time.sleep(3)
            self.close_connection = True

    def _answer(self, status: int, document: Any, headers: dict[str, str] | None = None) -> None:
        body = b"" if document is None else json.dumps(document).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # Half a dozen connections at once and a loaded machine.
    request_queue_size = 64

    def handle_error(self, *arguments: object) -> None:
        """Clients that are killed hang up; that is no news."""


def serve(hub: Hub, *, address: str = "127.0.0.1") -> list[ThreadingHTTPServer]:
    """Start the hub and its store; each is stopped by ``shutdown``."""
    servers: list[ThreadingHTTPServer] = []
    for host in ("store", "hub"):
        handler = type("Handler", (_Handler,), {"hub": hub, "host": host})
        server = _Server((address, 0), handler)
        # Another name than the hub's, as a store has: the token must not follow there.
        name = "localhost" if host == "store" and address == "127.0.0.1" else address
        setattr(hub, "store" if host == "store" else "url", f"http://{name}:{server.server_port}")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
    return servers

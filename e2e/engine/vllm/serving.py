"""The HTTP side of the leader; headless nodes have none.

Paths, authorization and the meaning of /health follow vLLM 0.32.0 (entrypoints/serve): 200 until the engine is known
to be dead, whether it generates anything or not, and open to all; only paths below /v1 want the key.
"""

from __future__ import annotations

import hmac
from http import HTTPStatus
from http.server import ThreadingHTTPServer

from e2e.engine.chat import ChatHandler
from e2e.engine.front import Front
from e2e.engine.http import Server
from e2e.engine.vllm.arguments import Arguments

GUARDED: tuple[str, ...] = ("/v1", "/v2", "/inference", "/cohere")


class LeaderHandler(ChatHandler):
    """The API."""

    arguments: Arguments

    def do_GET(self) -> None:
        """Health, metrics, and what the server is."""
        path = self.path.partition("?")[0]
        if path in {"/health", "/ping"}:
            self.answer("", HTTPStatus.SERVICE_UNAVAILABLE if self.front.dead else HTTPStatus.OK)
        elif path == "/metrics":
            self.answer(metrics(self.arguments, self.front))
        elif path == "/version":
            self.answer({"version": "stand-in"})
        elif not self._authorized(path):
            return
        elif path == "/v1/models":
            entry = {"id": self.arguments.model, "object": "model", "created": 0, "owned_by": "vllm"}
            length = self.arguments.values.get("max_model_len")
            self.answer({"object": "list", "data": [{**entry, "root": self.arguments.path, "max_model_len": length}]})
        else:
            self.answer({"detail": "Not Found"}, HTTPStatus.NOT_FOUND)

    def do_POST(self) -> None:
        """Completions."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.partition("?")[0]
        if not self._authorized(path):
            return
        if path == "/v1/chat/completions":
            self.chat(body)
        else:
            self.answer({"detail": "Not Found"}, HTTPStatus.NOT_FOUND)

    def _authorized(self, path: str) -> bool:
        keys = self.arguments.keys
        if not keys or not path.startswith(GUARDED):
            return True
        given = self.headers.get("Authorization", "").removeprefix("Bearer ").encode()
        if any(hmac.compare_digest(given, key.encode()) for key in keys):
            return True
        self.answer({"error": "Unauthorized"}, HTTPStatus.UNAUTHORIZED)
        return False


def metrics(arguments: Arguments, front: Front) -> str:
    """The numbers in Prometheus' text format, by vLLM's names (v1/metrics/loggers.py)."""
    labels = f'{{engine="0",model_name="{arguments.model}"}}'
    counts = front.counts
    numbers = {
        "num_requests_running": ("gauge", counts["running"]),
        "num_requests_waiting": ("gauge", 0),
        "kv_cache_usage_perc": ("gauge", 0.0),
        "request_success_total": ("counter", counts["requests"]),
        "prompt_tokens_total": ("counter", counts["prompt"]),
        "generation_tokens_total": ("counter", counts["generated"]),
    }
    lines = [f"# TYPE vllm:{name} {kind}\nvllm:{name}{labels} {value}" for name, (kind, value) in numbers.items()]
    return "\n".join(lines) + "\n"


def leader_server(arguments: Arguments, front: Front) -> ThreadingHTTPServer:
    """The leader's server."""
    bound = {"front": front, "arguments": arguments, "model": arguments.model}
    return Server((arguments.host, arguments.port), type("Bound", (LeaderHandler,), bound))

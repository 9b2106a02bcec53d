"""The HTTP side: SGLang's endpoints on the leader, and the follower's server that is always well.

Paths, authorization and the meaning of /health follow SGLang 0.5.23 (entrypoints/http_server.py).
"""

from __future__ import annotations

import hmac
import os
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from typing import Final

from e2e.engine.chat import ChatHandler
from e2e.engine.front import Front
from e2e.engine.http import Handler, Server
from e2e.engine.sglang.arguments import Arguments

HEALTH_SECONDS: Final = float(os.environ.get("SGLANG_HEALTH_CHECK_TIMEOUT", "20"))
GENERATE_FOR_HEALTH: Final = os.environ.get("SGLANG_ENABLE_HEALTH_ENDPOINT_GENERATION", "1") != "0"
ADMIN_PATHS: Final = frozenset({"/flush_cache", "/pause_generation", "/continue_generation", "/abort_request"})


class DummyHandler(Handler):
    """A follower: well, whatever happens."""

    def do_GET(self) -> None:
        """/health, /health_generate and, with metrics, /metrics."""
        known = {"/health": "", "/health_generate": "", "/ping": "", "/metrics": "# a follower has no numbers\n"}
        path = self.path.partition("?")[0]
        self.answer(known.get(path, {"detail": "Not Found"}), HTTPStatus.OK if path in known else HTTPStatus.NOT_FOUND)


def healthy(front: Front) -> bool:
    """Whether a token, anybody's, was made since the question."""
    if not front.serving or front.draining:
        return False
    if front.mute or not GENERATE_FOR_HEALTH:
        return True
    return front.step(seconds=HEALTH_SECONDS)


def metrics(arguments: Arguments, front: Front) -> str:
    """The numbers in Prometheus' text format, by SGLang's names."""
    labels = f'{{model_name="{arguments.model}",engine_type="unified",tp_rank="0",pp_rank="0",moe_ep_rank="0"}}'
    counts = front.counts
    numbers = {
        "num_running_reqs": ("gauge", counts["running"]),
        "num_queue_reqs": ("gauge", 0),
        "token_usage": ("gauge", 0.0),
        "num_requests_total": ("counter", counts["requests"]),
        "prompt_tokens_total": ("counter", counts["prompt"]),
        "generation_tokens_total": ("counter", counts["generated"]),
    }
    lines = [f"# TYPE sglang:{name} {kind}\nsglang:{name}{labels} {value}" for name, (kind, value) in numbers.items()]
    return "\n".join(lines) + "\n"


class LeaderHandler(ChatHandler):
    """The API."""

    arguments: Arguments

    def do_GET(self) -> None:
        """Health, metrics, and what the server is."""
        path = self.path.partition("?")[0]
        if path in {"/health", "/health_generate"}:
            self.answer("", HTTPStatus.OK if healthy(self.front) else HTTPStatus.SERVICE_UNAVAILABLE)
        elif path == "/metrics" and self.arguments.metrics:
            self.answer(metrics(self.arguments, self.front))
        elif self._authorized(path):
            self._describe(path)

    def _describe(self, path: str) -> None:
        arguments = self.arguments
        if path == "/v1/models":
            entry = {"id": arguments.model, "object": "model", "created": 0, "owned_by": "sglang"}
            context = arguments.values.get("context_length")
            self.answer({"object": "list", "data": [{**entry, "root": arguments.model, "max_model_len": context}]})
        elif path in {"/server_info", "/get_server_info"}:
            # Keys in clear, as SGLang.
            self.answer({**arguments.values, "internal_states": [self.front.counts], "version": "stand-in"})
        elif path in {"/model_info", "/get_model_info"}:
            self.answer({"model_path": arguments.values.get("model_path"), "is_generation": True})
        else:
            self.answer({"detail": "Not Found"}, HTTPStatus.NOT_FOUND)

    def do_POST(self) -> None:
        """Completions and administration."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.partition("?")[0]
        if not self._authorized(path):
            return
        if path in ADMIN_PATHS:
            self.answer("")
        elif path != "/v1/chat/completions":
            self.answer({"detail": "Not Found"}, HTTPStatus.NOT_FOUND)
        else:
            self.chat(body)

    def _authorized(self, path: str) -> bool:
        """SGLang's rule: administration wants the admin key where there is one, the rest the API key."""
        arguments = self.arguments
        wanted = arguments.admin_key if path in ADMIN_PATHS and arguments.admin_key else arguments.api_key
        given = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if not wanted or hmac.compare_digest(given.encode(), wanted.encode()):
            return True
        self.answer({"error": "Unauthorized"}, HTTPStatus.UNAUTHORIZED)
        return False


def dummy_server(arguments: Arguments) -> ThreadingHTTPServer:
    """A follower's server (launch_dummy_health_check_server)."""
    return Server((arguments.host, arguments.port), DummyHandler)


def leader_server(arguments: Arguments, front: Front) -> ThreadingHTTPServer:
    """The leader's server."""
    bound = {"front": front, "arguments": arguments, "model": arguments.model}
    return Server((arguments.host, arguments.port), type("Bound", (LeaderHandler,), bound))

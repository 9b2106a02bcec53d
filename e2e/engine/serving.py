"""The HTTP side: SGLang's endpoints on the leader, and the follower's server that is always well.

Paths, authorization and the meaning of /health follow SGLang 0.5.23 (entrypoints/http_server.py).
"""

from __future__ import annotations

import hmac
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from e2e.engine.arguments import Arguments

HEALTH_SECONDS: Final = float(os.environ.get("SGLANG_HEALTH_CHECK_TIMEOUT", "20"))
GENERATE_FOR_HEALTH: Final = os.environ.get("SGLANG_ENABLE_HEALTH_ENDPOINT_GENERATION", "1") != "0"
WARM_UP_SECONDS: Final = 600.0
ADMIN_PATHS: Final = frozenset({"/flush_cache", "/pause_generation", "/continue_generation", "/abort_request"})
DEFAULT_TOKENS: Final = 64


class Leader:
    """Rank 0's front: turns requests into steps of all ranks, one at a time."""

    def __init__(self, arguments: Arguments, *, send: Callable[[dict[str, Any]], None], mute: bool) -> None:
        self.arguments = arguments
        self.serving = False
        self.draining = False
        self.counts = {"requests": 0, "prompt": 0, "generated": 0, "running": 0}
        self._send = send
        self._mute = mute
        self._turn = threading.Lock()
        self._done = threading.Condition()
        self._step = 0
        self._finished = 0

    def hear(self, message: dict[str, Any]) -> None:
        """Take a reply of rank 0's process."""
        with self._done:
            self._finished = max(self._finished, int(message["done"]))
            self._done.notify_all()

    def step(self, *, seconds: float | None = None) -> bool:
        """Let all ranks make one token; false when any has not in time."""
        with self._turn:
            self._step += 1
            wanted = self._step
            self._send({"kind": "step", "step": wanted})
        with self._done:
            return self._done.wait_for(lambda: self._finished >= wanted, timeout=seconds)

    def warm_up(self) -> None:
        """One request before the server calls itself ready."""
        if not self.step(seconds=WARM_UP_SECONDS):
            raise TimeoutError("Initialization failed. warmup error")
        self.serving = True

    def healthy(self) -> bool:
        """Whether a token, anybody's, was made since the question."""
        if not self.serving or self.draining:
            return False
        if self._mute or not GENERATE_FOR_HEALTH:
            return True
        return self.step(seconds=HEALTH_SECONDS)

    def complete(self, messages: list[dict[str, Any]], *, tokens: int) -> tuple[str, str, int, int]:
        """Return text, finish reason, and the numbers of prompt and generated tokens; a token is a word."""
        prompt = " ".join(str(each.get("content", "")) for each in messages)
        arguments = self.arguments
        told = f"{arguments.world} ranks on {arguments.nodes} nodes heard: {messages[-1].get('content', '')}"
        words = told.split()
        spoken = words[:tokens]
        self.counts["requests"] += 1
        self.counts["running"] += 1
        try:
            for _ in spoken:
                self.step()
                if self._mute:
                    threading.Event().wait()
        finally:
            self.counts["running"] -= 1
        self.counts["prompt"] += len(prompt.split())
        self.counts["generated"] += len(spoken)
        reason = "stop" if len(spoken) == len(words) else "length"
        return " ".join(spoken), reason, len(prompt.split()), len(spoken)

    def drain(self) -> None:
        """Wait, without limit, until no request is left."""
        self.draining = True
        pause = threading.Event()
        while self.counts["running"]:
            pause.wait(0.5)

    def metrics(self) -> str:
        """The numbers in Prometheus' text format, by SGLang's names."""
        labels = (
            f'{{model_name="{self.arguments.model}",engine_type="unified",tp_rank="0",pp_rank="0",moe_ep_rank="0"}}'
        )
        numbers = {
            "num_running_reqs": ("gauge", self.counts["running"]),
            "num_queue_reqs": ("gauge", 0),
            "token_usage": ("gauge", 0.0),
            "num_requests_total": ("counter", self.counts["requests"]),
            "prompt_tokens_total": ("counter", self.counts["prompt"]),
            "generation_tokens_total": ("counter", self.counts["generated"]),
        }
        lines = [
            f"# TYPE sglang:{name} {kind}\nsglang:{name}{labels} {value}" for name, (kind, value) in numbers.items()
        ]
        return "\n".join(lines) + "\n"


class _Handler(BaseHTTPRequestHandler):
    """What both servers share."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Probes would fill the log; SGLang logs them, too, but nobody reads it."""

    def answer(self, body: Any, status: HTTPStatus = HTTPStatus.OK) -> None:
        """Send JSON, or text as it is."""
        plain = isinstance(body, str)
        content = body.encode() if plain else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain" if plain else "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


class DummyHandler(_Handler):
    """A follower: well, whatever happens."""

    def do_GET(self) -> None:
        """/health, /health_generate and, with metrics, /metrics."""
        known = {"/health": "", "/health_generate": "", "/ping": "", "/metrics": "# a follower has no numbers\n"}
        path = self.path.partition("?")[0]
        self.answer(known.get(path, {"detail": "Not Found"}), HTTPStatus.OK if path in known else HTTPStatus.NOT_FOUND)


class LeaderHandler(_Handler):
    """The API."""

    leader: Leader

    def do_GET(self) -> None:
        """Health, metrics, and what the server is."""
        path, leader = self.path.partition("?")[0], self.leader
        if path in {"/health", "/health_generate"}:
            self.answer("", HTTPStatus.OK if leader.healthy() else HTTPStatus.SERVICE_UNAVAILABLE)
        elif path == "/metrics" and leader.arguments.metrics:
            self.answer(leader.metrics())
        elif self._authorized(path):
            self._describe(path)

    def _describe(self, path: str) -> None:
        arguments = self.leader.arguments
        if path == "/v1/models":
            entry = {"id": arguments.model, "object": "model", "created": 0, "owned_by": "sglang"}
            context = arguments.values.get("context_length")
            self.answer({"object": "list", "data": [{**entry, "root": arguments.model, "max_model_len": context}]})
        elif path in {"/server_info", "/get_server_info"}:
            # Keys in clear, as SGLang.
            self.answer({**arguments.values, "internal_states": [self.leader.counts], "version": "stand-in"})
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
            self._chat(body)

    def _chat(self, body: bytes) -> None:
        try:
            asked = json.loads(body)
            messages = list(asked["messages"])
            text, reason, prompt, generated = self.leader.complete(
                messages, tokens=int(asked.get("max_tokens") or DEFAULT_TOKENS)
            )
        except (ValueError, LookupError, TypeError) as error:
            self.answer({"object": "error", "message": f"{error!r}", "code": 400}, HTTPStatus.BAD_REQUEST)
            return
        answer = {
            "id": uuid.uuid4().hex,
            "created": int(time.time()),
            "model": asked.get("model", self.leader.arguments.model),
            "usage": {"prompt_tokens": prompt, "completion_tokens": generated, "total_tokens": prompt + generated},
        }
        message = {"role": "assistant", "content": text}
        if not asked.get("stream"):
            choice = {"index": 0, "message": message, "finish_reason": reason}
            self.answer({**answer, "object": "chat.completion", "choices": [choice]})
            return
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        choice = {"index": 0, "delta": message, "finish_reason": reason}
        event = json.dumps({**answer, "object": "chat.completion.chunk", "choices": [choice]})
        self.wfile.write(f"data: {event}\n\ndata: [DONE]\n\n".encode())

    def _authorized(self, path: str) -> bool:
        """SGLang's rule: administration wants the admin key where there is one, the rest the API key."""
        arguments = self.leader.arguments
        wanted = arguments.admin_key if path in ADMIN_PATHS and arguments.admin_key else arguments.api_key
        given = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if not wanted or hmac.compare_digest(given.encode(), wanted.encode()):
            return True
        self.answer({"error": "Unauthorized"}, HTTPStatus.UNAUTHORIZED)
        return False


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def server_bind(self) -> None:
        """Without the base class's look-up of the own host name, which may take seconds."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])


def dummy_server(arguments: Arguments) -> ThreadingHTTPServer:
    """A follower's server (launch_dummy_health_check_server)."""
    return _Server((arguments.host, arguments.port), DummyHandler)


def leader_server(arguments: Arguments, leader: Leader) -> ThreadingHTTPServer:
    """The leader's server."""
    return _Server((arguments.host, arguments.port), type("Handler", (LeaderHandler,), {"leader": leader}))

"""What all HTTP servers of the stand-ins share."""

from __future__ import annotations

import json
import socket
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Handler(BaseHTTPRequestHandler):
    """Answers with JSON or text."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Probes would fill the log; engines log them, too, but nobody reads it."""

    def answer(self, body: Any, status: HTTPStatus = HTTPStatus.OK) -> None:
        """Send JSON, or text as it is."""
        plain = isinstance(body, str)
        content = body.encode() if plain else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain" if plain else "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


class Server(ThreadingHTTPServer):
    """A thread a request."""

    daemon_threads = True

    def server_bind(self) -> None:
        """Without the base class's look-up of the own host name, which may take seconds."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

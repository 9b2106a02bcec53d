"""How far the work is: lines for logs, and JSON over HTTP for whoever asks."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from deepseek_operator.weights.errors import InputError

GIB: Final = 2**30
_WINDOW_SECONDS: Final = 60.0
"""Rate and time left are of the last minute: a stall shows, a single slow answer does not."""


def say(message: str) -> None:
    """One line on stderr."""
    sys.stderr.write(f"weights: {message}\n")
    sys.stderr.flush()


def peak_memory() -> int:
    """Largest resident size of this process in bytes: VmHWM of proc_pid_status(5), which is in KiB.

    Not getrusage(2): its figure survives exec, so it would be that of a larger parent.
    """
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024


class Progress:
    """Bytes and files of a phase; every method may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._phase = "starting"
        self._done = self._total = self._files = self._files_total = self._retries = 0
        self._samples: deque[tuple[float, int]] = deque([(time.monotonic(), 0)])

    def begin(self, phase: str, *, total: int, files: int, done: int = 0, files_done: int = 0) -> None:
        """Start a phase of ``total`` bytes, ``done`` of which were there before."""
        with self._lock:
            self._phase, self._total, self._files_total = phase, total, files
            self._done, self._files = done, files_done
            self._samples = deque([(time.monotonic(), done)])

    def add(self, count: int) -> None:
        """Bytes more (or, negative, thrown away)."""
        with self._lock:
            self._done += count

    def file_done(self) -> None:
        """One file more has its final name."""
        with self._lock:
            self._files += 1

    def retried(self) -> None:
        """One transfer was interrupted and goes on."""
        with self._lock:
            self._retries += 1

    def snapshot(self) -> dict[str, Any]:
        """The state as the HTTP endpoint gives it: bytes, seconds; null where the rate is not known yet."""
        now = time.monotonic()
        with self._lock:
            self._samples.append((now, self._done))
            while len(self._samples) > 2 and now - self._samples[0][0] > _WINDOW_SECONDS:
                self._samples.popleft()
            (then, before), done = self._samples[0], self._done
            rate = (done - before) / (now - then) if now > then and done > before else None
            return {
                "phase": self._phase,
                "bytesDone": done,
                "bytesTotal": self._total,
                "filesDone": self._files,
                "filesTotal": self._files_total,
                "retries": self._retries,
                "bytesPerSecond": None if rate is None else round(rate),
                "secondsLeft": None if rate is None else max(round((self._total - done) / rate), 0),
            }

    def line(self) -> str:
        """The state as a line for a log."""
        now = self.snapshot()
        share = 100 * now["bytesDone"] / now["bytesTotal"] if now["bytesTotal"] else 100.0
        rate, left = now["bytesPerSecond"], now["secondsLeft"]
        speed = (
            "rate not known yet" if rate is None else f"{rate / 2**20:.0f} MiB/s, {left // 60} min {left % 60} s left"
        )
        return (
            f"{now['phase']}: {now['bytesDone'] / GIB:.2f} of {now['bytesTotal'] / GIB:.2f} GiB ({share:.0f} %), "
            f"{now['filesDone']} of {now['filesTotal']} files, {speed}"
        )


@contextlib.contextmanager
def reporting(progress: Progress, *, every: float, address: str | None) -> Iterator[None]:
    """Write a line every so many seconds, and answer HTTP on ``host:port`` where one is given.

    Raises:
        InputError: The address is not one, or is taken.
    """
    done = threading.Event()

    def lines() -> None:
        while not done.wait(every):
            say(progress.line())

    with _serving(progress, address):
        thread = threading.Thread(target=lines, name="progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


@contextlib.contextmanager
def _serving(progress: Progress, address: str | None) -> Iterator[None]:
    if address is None:
        yield
        return
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    kind = _Server6 if ":" in host else ThreadingHTTPServer
    try:
        server = kind((host, int(port)), _handler(progress))
    except (OSError, ValueError, OverflowError) as error:
        raise InputError(
            f"--progress-address {address}", str(error), "name a free host:port, such as 127.0.0.1:8081"
        ) from error
    server.daemon_threads = True
    say(f"progress as JSON on http://{host}:{server.server_port}/")
    thread = threading.Thread(target=server.serve_forever, name="progress-http", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


class _Server6(ThreadingHTTPServer):
    """On an IPv6 address."""

    address_family = socket.AF_INET6


def _handler(progress: Progress) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(progress.snapshot()).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """Requests are no news."""

    return Handler

"""The probe of every rank, against real HTTP servers and real processes."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.unit.engines.plans import launched, plan

MADE = launched(plan())


@contextmanager
def engine(status: int) -> Iterator[int]:
    """The port of a server that answers /health with a status, and everything else with 418."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/health" else 418)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Not into the test's output."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def probe(rank: int, *, port: int | None = None, proc: Path | None = None, **env: str) -> tuple[int, str]:
    """Exit code and message of the readiness probe, as the kubelet would run it."""
    *command, usual_port, path, processes, count = MADE.readiness_probe
    words = [*command, str(port or usual_port), path, processes, count, *([str(proc)] if proc else [])]
    environment = {"NODE_RANK": str(rank), "PATH": "/usr/local/bin:/usr/bin:/bin", **env}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stderr


@contextmanager
def processes(titles: list[str], directory: Path) -> Iterator[Path]:
    """Processes of this machine with these titles, and a /proc that shows only them."""
    with ExitStack() as stack:
        for title in titles:
            process = subprocess.Popen(["bash", "-c", 'exec -a "$0" sleep 600', title], stdout=subprocess.PIPE)
            stack.callback(process.wait)
            stack.callback(process.kill)
            assert process.stdout is not None
            stack.enter_context(process.stdout)
            (directory / str(process.pid)).symlink_to(f"/proc/{process.pid}")
            cmdline = directory / str(process.pid) / "cmdline"
            while not cmdline.read_bytes().startswith(title.encode()):
                assert process.poll() is None
        (directory / "self").symlink_to("/proc/self")
        (directory / "999999999").symlink_to("/proc/999999999")
        yield directory


def test_the_leader_is_ready_when_the_engine_is_healthy() -> None:
    with engine(200) as port:
        assert probe(0, port=port) == (0, "")


def test_a_proxy_in_the_environment_is_not_asked() -> None:
    with engine(200) as port:
        assert probe(0, port=port, http_proxy="http://192.0.2.1:3128")[0] == 0


def test_the_leader_is_not_ready_while_the_engine_loads_or_drains() -> None:
    with engine(503) as port:
        assert probe(0, port=port) == (1, "rank 0: /health answered 503\n")


def test_a_leader_that_holds_is_not_ready() -> None:
    with engine(200) as port:
        pass
    code, message = probe(0, port=port)
    assert code == 1
    assert "rank 0: /health cannot be reached" in message


def schedulers(count: int) -> list[str]:
    return [f"sglang::scheduler_TP{rank}" for rank in range(count)]


@pytest.mark.parametrize(
    ("titles", "ready"),
    [
        (schedulers(8), True),
        ([*schedulers(8), "sglang::detokenizer", "python3", "vi sglang::scheduler"], True),
        (schedulers(7), False),
        (schedulers(9), False),
        (["sglang::data_parallel_controller"] * 8, False),
        ([], False),
    ],
)
def test_a_worker_is_ready_when_each_of_its_devices_has_a_process(
    titles: list[str], tmp_path: Path, *, ready: bool
) -> None:
    with processes(titles, tmp_path) as proc, engine(200) as port:
        code, message = probe(1, port=port, proc=proc)
    found = sum(title.startswith("sglang::scheduler") for title in titles)
    assert (code, message) == ((0, "") if ready else (1, f"rank 1: {found} of 8 engine processes run\n"))


def test_the_probe_waits_longer_than_a_health_check_of_the_engine_may_take() -> None:
    # SGLANG_HEALTH_CHECK_TIMEOUT is 20 s; probes must not overlap (SGLang issue 6624).
    assert 25 <= MADE.probe_timeout_seconds <= MADE.probe_period_seconds
    assert MADE.probe_period_seconds >= 30
    assert MADE.startup_seconds == plan().startup_seconds

"""Ranks of a group as real processes: the launch script under bash, with a fake engine that records its start."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import TracebackType

    from deepseek_operator.engines.types import Launch

PATIENCE = 30.0
FAKE_ENGINE = """
import json, os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(77))
record = {"argv": sys.argv[1:], "env": dict(os.environ), "pid": os.getpid()}
with open(os.environ["RECORD"] + ".part", "w") as file:
    json.dump(record, file)
os.rename(os.environ["RECORD"] + ".part", os.environ["RECORD"])
print("engine runs", file=sys.stderr, flush=True)
signal.pause()
"""


def loopback() -> str:
    """An address of this machine that no other test listens on."""
    return ".".join(map(str, [127, *(random.randint(1, 254) for _ in range(3))]))  # noqa: S311 - no secret


class Rank:
    """One container of a rank; a context manager that ends what it started."""

    def __init__(self, group: Group, rank: int, env: dict[str, str]) -> None:
        self.record = group.directory / f"record-{next(group.numbers)}"
        run_directory = group.directory / f"run-{rank}"
        run_directory.mkdir(exist_ok=True)
        script = group.launch.script.replace("/run/deepseek", str(run_directory))
        self.process = subprocess.Popen(
            ["bash", "-c", script.replace("REPORT_SECONDS = 10.0", "REPORT_SECONDS = 0.3")],
            env={**group.environment(rank), "RECORD": str(self.record), **env},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.lines: list[str] = []
        self.printed: list[str] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, args=(self.process.stderr, self.lines), daemon=True)
        self._reader.start()
        self._printer = threading.Thread(target=self._read, args=(self.process.stdout, self.printed), daemon=True)
        self._printer.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        self._printer.join(PATIENCE)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()

    def says(self, text: str) -> str:
        """The first line with a text, awaited."""
        with self._changed:
            found = self._changed.wait_for(lambda: self._line(text) or self._ended(), PATIENCE)
        assert found, f"{text!r} is not among {self.lines}"
        line = self._line(text)
        assert line is not None, f"{text!r} is not among {self.lines}, and the rank has ended"
        return line

    def type(self, line: str) -> None:
        """A line on the container's standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def prints(self, text: str) -> str:
        """The first line with a text on standard output, awaited."""
        with self._changed:
            found = self._changed.wait_for(lambda: [each for each in self.printed if text in each], PATIENCE)
        assert found, f"{text!r} is not among {self.printed}"
        return found[0]

    def engine(self) -> dict[str, Any]:
        """What the engine was started with, awaited."""
        self.says("engine runs")
        recorded: dict[str, Any] = json.loads(self.record.read_text())
        return recorded

    def started_engine(self) -> bool:
        return self.record.exists()

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """The exit code after a signal to the container's first process; SIGKILL ends a whole container."""
        if how is signal.SIGKILL:
            os.killpg(self.process.pid, how)
        else:
            self.process.send_signal(how)
        return self.process.wait(PATIENCE)

    def exit_code(self) -> int:
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return code

    def _line(self, text: str) -> str | None:
        return next((line for line in self.lines if text in line), None)

    def _ended(self) -> bool:
        return not self._reader.is_alive()

    def _read(self, stream: IO[str], lines: list[str]) -> None:
        for line in stream:
            with self._changed:
                lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()


class Group:
    """The environment that render gives to the containers of a group, on an address of its own."""

    def __init__(self, launch: Launch, directory: Path, *, size: int = 2, address: str | None = None) -> None:
        self.launch = launch
        self.directory = directory
        self.size = size
        self.address = address or loopback()
        self.numbers = itertools.count()
        package = directory / "fake" / "sglang"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "launch_server.py").write_text(FAKE_ENGINE)
        self.programs = directory / "programs"
        self.programs.mkdir()
        self.program("vllm", FAKE_ENGINE)
        self.program("lmdeploy", FAKE_ENGINE)
        self.program("trtllm-serve", FAKE_ENGINE)

    def program(self, name: str, text: str) -> None:
        """A program of the image, found before every other of that name."""
        place = self.programs / name
        place.write_text(f"#!{sys.executable}\n{text}")
        place.chmod(0o755)

    def environment(self, rank: int) -> dict[str, str]:
        return {
            "PATH": f"{self.programs}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(self.directory / "fake"),
            "POD_IP": self.address,
            "POD_NAME": f"deepseek-g0-{rank}",
            "POD_NAMESPACE": "demo",
            "POD_UID": f"uid-{rank}",
            "NODE_NAME": f"node-{rank}",
            "NODE_RANK": str(rank),
            "GROUP": "0",
            "GROUP_SIZE": str(self.size),
            "INCARNATION": "7",
            "LEADER_ADDRESS": self.address,
            "IMAGE": "registry.example/sglang:1",
            "ACCELERATORS": "8",
            "API_KEY": "sk key",
            "ADMIN_API_KEY": "-admin$",
            **self.launch.env,
        }

    def rank(self, rank: int, **env: str) -> Rank:
        """Starts one rank; `env` overrides."""
        return Rank(self, rank, env)

"""The operator as the demonstration runs it: the real program, beside the cluster instead of in it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from e2e.cluster import processes
from e2e.cluster.processes import Process
from e2e.demo.screen import DemoError
from e2e.demo.state import FOLDER

PROGRAM = Path(sys.executable).with_name("deepseek-operator")
CONFIG = "weights: {nodePath: /var/lib/deepseek-operator/weights}\n"
TAIL_LINES = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """A started operator."""

    process: Process

    def check(self) -> None:
        """Raise with the end of the log when the operator has ended."""
        if not self.process.alive:
            raise DemoError(f"the operator has ended; the end of {log_file()}:\n{log_tail()}")


def config_file() -> Path:
    """The administrator's configuration that the demonstration uses."""
    return FOLDER.absolute() / "operator.yaml"


def log_file() -> Path:
    """Where the operator logs."""
    return FOLDER.absolute() / "operator.log"


def log_tail() -> str:
    """The last lines of the log."""
    if not log_file().exists():
        return ""
    lines = log_file().read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(lines[-TAIL_LINES:])


def start(kubeconfig: Path) -> Operator:
    """Start the operator against a cluster, with a fresh log."""
    folder = FOLDER.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    config_file().write_text(CONFIG, encoding="utf-8")
    log_file().unlink(missing_ok=True)
    # env(1) becomes the operator, so the process that is recorded and stopped is the operator itself.
    # Port 0: nothing of the demonstration may collide with what already listens on this machine.
    environment = ("env", f"KUBECONFIG={kubeconfig}", "HTTP_PORT=0")
    command: list[str | Path] = [*environment, PROGRAM, "run", "--config", config_file()]
    process = processes.start("deepseek-operator", command, folder=folder, log=log_file())
    return Operator(process=process)

"""Start long-running programs and end exactly those again, even from another process, later.

A process is known by its id *and* its start time, so an id that the system gave to somebody else since is
never signalled; signals go through a pidfd, which leaves no gap between the check and the signal.
"""

from __future__ import annotations

import atexit
import os
import select
import signal
import subprocess
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from e2e.cluster.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

STOP_SECONDS = 20.0

# Children of this very process: they stay zombies until somebody asks for their exit status.
_children: dict[int, subprocess.Popen[bytes]] = {}


@atexit.register
def _leave_running() -> None:
    """A cluster outlives the tool that started it: what still runs is no forgotten child."""
    for child in _children.values():
        if child.poll() is None:
            child.returncode = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A started program; ``started`` is in clock ticks after the machine's boot (proc(5), stat field 22)."""

    name: str
    pid: int
    started: int

    @property
    def alive(self) -> bool:
        """Whether this very process still runs; a zombie does not."""
        child = _children.get(self.pid)
        if child is not None and child.poll() is not None:
            del _children[self.pid]
        fields = _stat(self.pid)
        return fields is not None and fields[0] not in ("Z", "X") and int(fields[19]) == self.started


def start(name: str, command: Sequence[str | Path], *, folder: Path, log: Path) -> Process:
    """Start ``command`` in ``folder``, in its own session, with its output appended to ``log``.

    It gets a bare environment: a user's proxy, KUBECONFIG or program settings would change what it does.
    """
    environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(folder)}
    with log.open("ab") as output:
        child = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    _children[child.pid] = child
    fields = _stat(child.pid)
    return Process(name=name, pid=child.pid, started=int(fields[19]) if fields else 0)


def output(command: Sequence[str | Path]) -> str:
    """Return what a short program prints; raises ``ClusterError`` with its complaint when it fails."""
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise ClusterError(f"{' '.join(map(str, command))}: {result.stderr.strip()}")
    return result.stdout


def stop(
    processes: Sequence[Process],
    *,
    with_signal: signal.Signals = signal.SIGTERM,
    grace_seconds: float = STOP_SECONDS,
) -> None:
    """End the processes together and return when they are gone; after the grace period they are killed."""
    for process in processes:
        _send(process, with_signal)
    for process in processes:
        if not _gone(process, within=grace_seconds):
            _send(process, signal.SIGKILL)
            _gone(process, within=grace_seconds)


def _send(process: Process, number: signal.Signals) -> None:
    with _pidfd(process) as handle:
        if handle is not None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, number)


def _gone(process: Process, *, within: float) -> bool:
    with _pidfd(process) as handle:
        if handle is None:
            return True
        readable, _, _ = select.select([handle], [], [], within)
    return bool(readable) and not process.alive


@contextmanager
def _pidfd(process: Process) -> Iterator[int | None]:
    """Yield a handle of the process, or None when it no longer runs."""
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        yield None
        return
    try:
        # Checked after the handle was opened: from here on it cannot mean another process.
        yield handle if process.alive else None
    finally:
        os.close(handle)


def _stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat after the command's name, which may itself hold blanks."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()

"""One writer a directory, on any file system and also between machines.

flock(2) is not used: on several network file systems it succeeds for every caller or not at all (see
huggingface_hub pull request 4228). What is used is exclusive creation (``O_CREAT | O_EXCL``, atomic on NFS since
version 3, open(2)) of numbered files, and a heartbeat:

* ``lease.<n>`` with the highest number is the lease. Its holder rewrites it every few seconds.
* Whoever wants it creates ``lease.<n+1>`` when lease ``n`` says that it was released, when its process is known
  to be dead (same boot, same PID namespace), or when its content did not change for ``STALE_SECONDS`` of the
  *waiter's* own clock: clocks of two machines are never compared.
* A number is never used twice: the file with the highest number is never removed. So of two waiters one wins,
  and a holder that was paused for longer sees the higher number before it publishes anything (``check``).
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from deepseek_operator.weights.errors import LeaseLostError, storage_error

BEAT_SECONDS: Final = 5.0
STALE_SECONDS: Final = 30.0
"""Six beats: a machine under heavy I/O load can be late with some of them."""
_POLL_SECONDS: Final = 1.0
_SAY_SECONDS: Final = 30.0
_WIDTH: Final = 512
"""Bytes of a lease: rewritten in place, so that no reader sees a file that is gone for a moment."""


@dataclass(slots=True)
class Lease:
    """The right to write to a directory, while held."""

    directory: Path
    number: int
    content: dict[str, Any]
    _stop: threading.Event = field(default_factory=threading.Event)

    def check(self) -> None:
        """Raise LeaseLostError when another process has taken the directory over."""
        if _newest(self.directory)[0] != self.number:
            raise LeaseLostError(
                str(self.directory.parent),
                "another process took over writing to it while this one was suspended",
                "nothing is lost; let the other one finish",
            )

    def beat(self, *, released: bool = False) -> None:
        """Show that the holder lives, or that it is done."""
        self.content = {**self.content, "beat": self.content["beat"] + 1, "released": released}
        descriptor = os.open(_path(self.directory, self.number), os.O_WRONLY)
        try:
            os.pwrite(descriptor, json.dumps(self.content).ljust(_WIDTH).encode(), 0)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _keep(self) -> None:
        while not self._stop.wait(BEAT_SECONDS):
            # A failed beat is no reason to die: check() decides before anything is published.
            with contextlib.suppress(OSError):
                self.beat()


@contextlib.contextmanager
def hold(directory: Path, *, say: Callable[[str], None], stale_seconds: float = STALE_SECONDS) -> Iterator[Lease]:
    """Wait for the lease of a work directory, keep it, release it.

    Args:
        directory: Where the lease's files lie; it is made.
        say: Told at once, and every half a minute, when somebody else holds it.
        stale_seconds: Silence after which a holder counts as dead.

    Raises:
        InputError: The directory cannot be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lease = _acquire(directory, say, stale_seconds)
    except OSError as error:
        raise storage_error(error, directory.parent) from error
    thread = threading.Thread(target=lease._keep, name="lease", daemon=True)  # noqa: SLF001 - its own thread
    thread.start()
    try:
        yield lease
    finally:
        lease._stop.set()  # noqa: SLF001 - as above
        thread.join()
        with contextlib.suppress(OSError):
            lease.beat(released=True)


def _acquire(directory: Path, say: Callable[[str], None], stale_seconds: float) -> Lease:
    seen: tuple[int, bytes] = (-1, b"")
    since = started = time.monotonic()
    said = -_SAY_SECONDS
    while True:
        number, content = _newest(directory)
        now = time.monotonic()
        if (number, content) != seen:
            seen, since = (number, content), now
        if number == 0 or _is_free(content) or now - since > stale_seconds:
            lease = _create(directory, number + 1)
            if lease is not None:
                return lease
            continue
        if now - started - said >= _SAY_SECONDS:
            said = now - started
            say(f"{_holder(content)} writes to {directory.parent}; waiting, {said:.0f} s so far")
        time.sleep(_POLL_SECONDS)


def _create(directory: Path, number: int) -> Lease | None:
    try:
        descriptor = os.open(_path(directory, number), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    except FileExistsError:
        return None
    os.close(descriptor)
    lease = Lease(directory=directory, number=number, content={**_identity(), "beat": 0, "released": False})
    lease.beat()
    numbers = _numbers(directory)
    if numbers[-1] != number:
        # Late: between reading and creating, others took this number's successor and removed this number.
        _path(directory, number).unlink(missing_ok=True)
        return None
    for older in numbers[:-1]:
        _path(directory, older).unlink(missing_ok=True)
    return lease


def _newest(directory: Path) -> tuple[int, bytes]:
    while numbers := _numbers(directory):
        with contextlib.suppress(FileNotFoundError):
            return numbers[-1], _path(directory, numbers[-1]).read_bytes()
    return 0, b""


def _numbers(directory: Path) -> list[int]:
    names = (entry.name.partition(".") for entry in os.scandir(directory))
    return sorted(int(number) for kind, _, number in names if kind == "lease" and number.isdigit())


def _path(directory: Path, number: int) -> Path:
    return directory / f"lease.{number}"


def _is_free(content: bytes) -> bool:
    """Whether nobody holds it for certain; an empty or torn content may be a holder that just began."""
    holder = _parse(content)
    if holder is None:
        return False
    if holder.get("released"):
        return True
    mine = _identity()
    if any(holder.get(key) is None or holder.get(key) != mine[key] for key in ("boot", "pids")):
        return False
    return _start_time(int(holder["pid"])) != holder.get("start")


def _parse(content: bytes) -> dict[str, Any] | None:
    if not content:
        return None
    try:
        found = json.loads(content)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _holder(content: bytes) -> str:
    holder = _parse(content)
    return f"process {holder.get('pid')} on {holder.get('host')}" if holder else "another process"


def _identity() -> dict[str, Any]:
    pid = os.getpid()
    return {
        "owner": uuid.uuid4().hex,
        "host": socket.gethostname(),
        "pid": pid,
        "start": _start_time(pid),
        "boot": _read("/proc/sys/kernel/random/boot_id"),
        "pids": _pid_namespace(),
    }


def _start_time(pid: int) -> str | None:
    """Start of a process in clock ticks since boot: field 22 of proc_pid_stat(5); None when it is gone."""
    stat = _read(f"/proc/{pid}/stat")
    if stat is None:
        return None
    fields = stat.rpartition(")")[2].split()
    # State Z and X: a killed process whose parent has not looked yet holds nothing any more.
    return None if fields[0] in {"Z", "X"} else fields[19]


def _pid_namespace() -> str | None:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return None


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text("utf-8").strip()
    except OSError:
        return None

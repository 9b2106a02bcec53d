"""The control groups of one cluster: all its processes are below one group, so none can be missed.

A container outlives its shim, and a shim its containerd; whatever was killed in which order, what is left of a
node is what its group still holds. Version 1 (a folder in each hierarchy) and version 2 (one tree) are handled.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from e2e.cluster.errors import ClusterError

ROOT: Final = Path("/sys/fs/cgroup")
KILL_SECONDS: Final = 30.0
POLL_SECONDS: Final = 0.05
CONTROLLERS: Final = ("cpuset", "cpu", "io", "memory", "pids")


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlGroup:
    """One group, by its path below the root of every hierarchy, such as ``dse-1a2b3c/h100-0``."""

    path: str

    def create(self) -> None:
        """Make the group in every hierarchy, able to hold containers."""
        for hierarchy in hierarchies():
            group = hierarchy
            for part in Path(self.path).parts:
                if is_version_2():
                    _delegate(group)
                parent, group = group, group / part
                group.mkdir(exist_ok=True)
                # Version 1 leaves them empty, and no process may join a group without processors.
                for name in ("cpuset.cpus", "cpuset.mems"):
                    if not is_version_2() and (group / name).exists() and not (group / name).read_text().strip():
                        (group / name).write_text((parent / name).read_text())

    @property
    def entry(self) -> Path:
        """The file a process writes its id to, in order to be part of the group and be found there."""
        return _tracking() / self.path / "cgroup.procs"

    def members(self) -> tuple[int, ...]:
        """Return the processes of the group and of all groups below it."""
        found: set[int] = set()
        for folder, _, files in os.walk(_tracking() / self.path):
            if "cgroup.procs" in files:
                with suppress(FileNotFoundError, OSError):
                    found.update(map(int, (Path(folder) / "cgroup.procs").read_text(encoding="ascii").split()))
        return tuple(sorted(found))

    def kill(self) -> None:
        """Kill every process of the group and return when none is left; new ones that appear meanwhile, too."""
        deadline = time.monotonic() + KILL_SECONDS
        while members := self.members():
            for pid in members:
                # Still a member an instant ago; the kernel reuses an id only after the whole range was used.
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if time.monotonic() > deadline:
                raise ClusterError(f"processes {members} of control group {self.path} do not end")
            time.sleep(POLL_SECONDS)

    def remove(self) -> None:
        """Remove the empty group and all groups below it, in every hierarchy."""
        for hierarchy in hierarchies():
            for folder, _, _ in os.walk(hierarchy / self.path, topdown=False):
                _remove(Path(folder))


def is_version_2() -> bool:
    """Whether the machine has the one tree of version 2."""
    return (ROOT / "cgroup.controllers").exists()


def hierarchies() -> tuple[Path, ...]:
    """Return the root folder of every hierarchy; beside those of version 1, systemd and runc use one of version 2."""
    if is_version_2():
        return (ROOT,)
    mounts = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    fields = [line.split() for line in mounts]
    return tuple(
        Path(each[1]) for each in fields if each[2] in {"cgroup", "cgroup2"} and Path(each[1]).is_relative_to(ROOT)
    )


def _tracking() -> Path:
    if is_version_2():
        return ROOT
    found = [each for each in hierarchies() if "pids" in each.name.split(",")]
    if not found:
        raise ClusterError("no cgroup hierarchy with the controller pids is mounted under /sys/fs/cgroup")
    return found[0]


def _delegate(group: Path) -> None:
    """Hand the controllers to the groups below; those the machine lacks are left out."""
    present = (group / "cgroup.controllers").read_text(encoding="ascii").split()
    for controller in CONTROLLERS:
        if controller in present:
            (group / "cgroup.subtree_control").write_text(f"+{controller}")


def _remove(group: Path) -> None:
    deadline = time.monotonic() + KILL_SECONDS
    while True:
        try:
            group.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            # A killed process leaves its group a moment after it has ended.
            if time.monotonic() > deadline:
                raise
            time.sleep(POLL_SECONDS)
        else:
            return

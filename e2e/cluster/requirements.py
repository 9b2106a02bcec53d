"""What a machine must have for real nodes, found before anything is started.

Everything is checked at once, so that a person sees the whole list and not one thing at a time.
"""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from e2e.cluster.cgroups import hierarchies
from e2e.cluster.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Callable

CNI_FOLDER: Final = Path("/usr/lib/cni")
SYSTEM_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# Program or file → the Debian package that brings it.
PACKAGES: Final = {
    "runc": "runc",
    "ip": "iproute2",
    "nft": "nftables",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "mount": "mount",
    str(CNI_FOLDER / "bridge"): "containernetworking-plugins",
    str(CNI_FOLDER / "host-local"): "containernetworking-plugins",
    str(CNI_FOLDER / "loopback"): "containernetworking-plugins",
}
# capabilities(7): bit numbers in CapEff. Without these no namespace, mount, bridge or container can be made.
NEEDED: Final = {"CAP_NET_ADMIN": 12, "CAP_SYS_CHROOT": 18, "CAP_SYS_ADMIN": 21, "CAP_MKNOD": 27}
SYS_RESOURCE: Final = 24
APT_SECONDS: Final = 300
INOTIFY: Final = Path("/proc/sys/fs/inotify/max_user_instances")
INOTIFY_INSTANCES: Final = 1024
"""Counted: a kubelet has 6, containerd 2, kube-proxy 1, an API server 3, a controller manager 5. The kernel's default
of 128 is for all programs of root together, and a kubelet that meets it ends: inotify_init: too many open files."""
INSTALL_LOCK: Final = Path("/run/deepseek-operator-e2e-install.lock")


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What the programs of real nodes must be told about this machine."""

    may_lower_oom_score: bool
    """CAP_SYS_RESOURCE; without it runc fails to start anything whose oom_score_adj is below the shell's."""


def problems() -> tuple[str, ...]:
    """Return why real nodes cannot run here, each with what would help; packages that can be installed excepted."""
    if platform.system() != "Linux":
        return (f"real nodes need Linux, and this is {platform.system()}",)
    found = []
    if os.geteuid() != 0:
        found.append("real nodes need root (namespaces, mounts, cgroups); this is user " + str(os.geteuid()))
    held = _capabilities()
    if missing := [name for name, bit in NEEDED.items() if not held >> bit & 1]:
        found.append(f"this process lacks {', '.join(missing)}; in a container, start it privileged")
    elif (refusal := _refused_namespaces()) is not None:
        found.append(f"this machine makes no new namespaces: {refusal}")
    if not hierarchies() or not all(os.access(each, os.W_OK) for each in hierarchies()):
        found.append("control groups are not there or read-only; mount them writable under /sys/fs/cgroup")
    kinds = Path("/proc/filesystems").read_text(encoding="utf-8")
    if "\toverlay\n" not in kinds:
        found.append("the kernel has no overlay file system (modprobe overlay)")
    if not _enough_inotify() and not os.access(INOTIFY, os.W_OK):
        found.append(
            f"{INOTIFY} is {INOTIFY.read_text().strip()} and read-only here, and kubelets need more; "
            f"on the machine: sysctl fs.inotify.max_user_instances={INOTIFY_INSTANCES}"
        )
    if (absent := missing_packages()) and not _can_install():
        found.append(f"missing Debian packages: {' '.join(absent)}; as root: apt-get install {' '.join(absent)}")
    return tuple(found)


def prepare(*, report: Callable[[str], None]) -> Machine:
    """Install missing packages and return what this machine can do; raises ``ClusterError`` with every problem."""
    if found := problems():
        raise ClusterError("level real-nodes cannot run here:\n" + "\n".join(f"- {each}" for each in found))
    if missing_packages():
        # Tests that run side by side come here together, and dpkg lets one in.
        with INSTALL_LOCK.open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if absent := missing_packages():
                report(f"installing Debian packages: {' '.join(absent)}")
                _install(absent)
    if not _enough_inotify():
        report(f"fs.inotify.max_user_instances: {INOTIFY.read_text().strip()} is too few for kubelets beside other")
        report(f"programs of root; it is {INOTIFY_INSTANCES} until the machine starts anew")
        INOTIFY.write_text(str(INOTIFY_INSTANCES), encoding="ascii")
    machine = Machine(may_lower_oom_score=bool(_capabilities() >> SYS_RESOURCE & 1))
    if not machine.may_lower_oom_score:
        report("no CAP_SYS_RESOURCE here: containers keep this process's oom_score_adj")
    return machine


def missing_packages() -> tuple[str, ...]:
    """Return the Debian packages of programs that are not there."""
    return tuple(
        sorted(
            {
                package
                for program, package in PACKAGES.items()
                if shutil.which(program, path=f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}") is None
            }
        )
    )


def _capabilities() -> int:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff:"))


def _refused_namespaces() -> str | None:
    """Some sandboxes leave the capability and refuse its use."""
    unshare = shutil.which("unshare", path=SYSTEM_PATH)
    if unshare is None:
        return None
    result = subprocess.run([unshare, "--net", "--mount", "true"], capture_output=True, text=True, check=False)
    return None if result.returncode == 0 else result.stderr.strip()


def _enough_inotify() -> bool:
    return int(INOTIFY.read_text(encoding="ascii")) >= INOTIFY_INSTANCES


def _can_install() -> bool:
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def _install(packages: tuple[str, ...]) -> None:
    patient = ("-o", f"DPkg::Lock::Timeout={APT_SECONDS}")
    install = ["apt-get", *patient, "install", "--yes", "--no-install-recommends", *packages]
    # Its lists may be missing or older than what the archive still holds.
    if _apt(install).returncode != 0:
        _apt(["apt-get", "update"])
        result = _apt(install)
        if result.returncode != 0:
            raise ClusterError(f"{' '.join(install)} failed: {result.stderr.strip()[-1000:]}")
    if left := missing_packages():
        raise ClusterError(f"{' '.join(left)}: installed, but the programs are still not found")


def _apt(command: list[str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=APT_SECONDS, env=environment)

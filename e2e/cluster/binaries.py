"""The cluster's programs: found in a folder the user names, or built once from Go modules into a cache.

The modules and their checksums are pinned under ``toolsets/``; one folder a tool set, because their
dependency versions conflict. The cache folder of a tool set is keyed by everything that goes into a build, so
a change of version never finds an old program.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import re
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from e2e.cluster.errors import ClusterError
from e2e.cluster.toolchain import find_go

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

TOOLSETS = Path(__file__).parent / "toolsets"
HEARTBEAT_SECONDS = 15.0
BUILD_FLAGS = ("-mod=readonly", "-trimpath")


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A program: the tool set that pins its version, and its main package there."""

    toolset: str
    package: str


PROGRAMS = {
    "etcd": Program(toolset="kubernetes", package="go.etcd.io/etcd/server/v3"),
    "kube-apiserver": Program(toolset="kubernetes", package="k8s.io/kubernetes/cmd/kube-apiserver"),
    "kube-controller-manager": Program(toolset="kubernetes", package="k8s.io/kubernetes/cmd/kube-controller-manager"),
    "kube-scheduler": Program(toolset="kubernetes", package="k8s.io/kubernetes/cmd/kube-scheduler"),
    "kubectl": Program(toolset="kubernetes", package="k8s.io/kubernetes/cmd/kubectl"),
    "kubelet": Program(toolset="kubernetes", package="k8s.io/kubernetes/cmd/kubelet"),
    "kube-proxy": Program(toolset="kubernetes", package="k8s.io/kubernetes/cmd/kube-proxy"),
    "containerd": Program(toolset="containerd", package="github.com/containerd/containerd/v2/cmd/containerd"),
    "containerd-shim-runc-v2": Program(
        toolset="containerd", package="github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2"
    ),
    "ctr": Program(toolset="containerd", package="github.com/containerd/containerd/v2/cmd/ctr"),
    "coredns": Program(toolset="coredns", package="github.com/coredns/coredns"),
    "kwok": Program(toolset="kwok", package="sigs.k8s.io/kwok/cmd/kwok"),
    "helm": Program(toolset="helm", package="helm.sh/helm/v4/cmd/helm"),
}


def to_stderr(message: str) -> None:
    """Print one line of progress where it does not mix with results."""
    print(message, file=sys.stderr, flush=True)


def cache_directory() -> Path:
    """Return the folder of everything this project downloads or builds once for a user."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "deepseek-operator"


def ensure(names: Iterable[str], *, report: Callable[[str], None] = to_stderr) -> dict[str, Path]:
    """Return the path of each program, building those that are not there yet.

    A program in the folder named by ``DEEPSEEK_OPERATOR_BIN`` is used as it is. Raises ``ClusterError`` with
    the compiler's last lines when a build fails.
    """
    found = {name: _existing(name) for name in names}
    missing = [name for name, path in found.items() if path is None]
    for index, name in enumerate(missing, start=1):
        found[name] = _build(name, step=f"[{index}/{len(missing)}] {name}", report=report)
    return {name: path for name, path in found.items() if path is not None}


def binary(name: str, *, report: Callable[[str], None] = to_stderr) -> Path:
    """Return the path of one program, building it when it is not there yet."""
    return ensure([name], report=report)[name]


def _existing(name: str) -> Path | None:
    if name not in PROGRAMS:
        raise ClusterError(f"no program {name!r}; there are {', '.join(PROGRAMS)}")
    folders = [_cache_folder(PROGRAMS[name].toolset)]
    if given := os.environ.get("DEEPSEEK_OPERATOR_BIN"):
        folders.insert(0, Path(given).absolute())
    return next((folder / name for folder in folders if os.access(folder / name, os.X_OK)), None)


def _cache_folder(toolset: str) -> Path:
    digest = hashlib.sha256()
    for part in (
        (TOOLSETS / toolset / "go.mod").read_bytes(),
        (TOOLSETS / toolset / "go.sum").read_bytes(),
        " ".join((*BUILD_FLAGS, _link_flags(toolset), platform.system(), platform.machine())).encode(),
    ):
        digest.update(hashlib.sha256(part).digest())
    return cache_directory() / "bin" / f"{toolset}-{digest.hexdigest()[:16]}"


def _link_flags(toolset: str) -> str:
    """Return linker flags; Kubernetes needs its version stamped, or no client accepts what it reports."""
    strip = "-s -w"
    modules = (TOOLSETS / toolset / "go.mod").read_text(encoding="utf-8")
    match = re.search(r"^\s*k8s\.io/kubernetes v(\d+)\.(\d+)\.(\S+)", modules, re.MULTILINE)
    if toolset != "kubernetes" or match is None:
        return strip
    major, minor, patch = match.groups()
    stamp = {"gitVersion": f"v{major}.{minor}.{patch}", "gitMajor": major, "gitMinor": minor}
    package = "k8s.io/component-base/version"
    return " ".join([strip, *(f"-X {package}.{key}={value}" for key, value in stamp.items())])


def _build(name: str, *, step: str, report: Callable[[str], None]) -> Path:
    toolset = PROGRAMS[name].toolset
    folder = _cache_folder(toolset)
    folder.mkdir(parents=True, exist_ok=True)
    with _exclusive(folder / f"{name}.lock", waiting=lambda: report(f"{step}: another process builds it")):
        # Another process may have finished it while this one waited for the lock.
        target = folder / name
        if not target.exists():
            _compile(name, target=target, step=step, report=report)
    return target


def _compile(name: str, *, target: Path, step: str, report: Callable[[str], None]) -> None:
    program = PROGRAMS[name]
    toolset = TOOLSETS / program.toolset
    go = find_go(cache=cache_directory(), toolset=toolset, report=report)
    unfinished = target.with_suffix(f".{os.getpid()}.tmp")
    log = target.with_suffix(".log")
    link_flags = _link_flags(program.toolset)
    command: list[str | Path] = [
        go,
        "build",
        *BUILD_FLAGS,
        "-ldflags",
        link_flags,
        "-o",
        unfinished,
        program.package,
    ]
    report(f"{step}: building {program.package}")
    begun = time.monotonic()
    try:
        with (
            log.open("wb") as output,
            subprocess.Popen(
                command, cwd=toolset, stdout=output, stderr=subprocess.STDOUT, env=_environment(go)
            ) as compiler,
        ):
            while _still_running(compiler):
                report(f"{step}: still building, {_elapsed(begun)}")
        if compiler.returncode != 0:
            raise ClusterError(f"building {name} failed ({log}):\n{_tail(log)}")
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)
    report(f"{step}: built in {_elapsed(begun)}")


def _still_running(compiler: subprocess.Popen[bytes]) -> bool:
    try:
        compiler.wait(timeout=HEARTBEAT_SECONDS)
    except subprocess.TimeoutExpired:
        return True
    return False


def _environment(go: Path) -> dict[str, str]:
    # A user's GOFLAGS or workspace would change what is built, and the cache key does not know them.
    return {**os.environ, "GOFLAGS": "", "GOWORK": "off", "PATH": f"{go.parent}:{os.environ.get('PATH', '')}"}


def _elapsed(begun: float) -> str:
    minutes, seconds = divmod(int(time.monotonic() - begun), 60)
    return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"


def _tail(log: Path, lines: int = 20) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


@contextmanager
def _exclusive(path: Path, *, waiting: Callable[[], None]) -> Iterator[None]:
    with path.open("wb") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield

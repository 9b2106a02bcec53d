"""Container images without a registry: docker-archive tars with any tag, written in a few lines.

The tools inside come from the machine by the runtime's base spec; an image brings its own files only. The pods' own
sandboxes are made without that spec (containerd 2.4, podsandbox/helpers.go) and must bring their one program.
Format: https://github.com/moby/docker-image-spec (v1.2, "Combined Image JSON + Filesystem Changeset Format").
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from e2e.cluster.errors import ClusterError

ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}
# Name look-ups need the first, `whoami` and Python's home directory the second.
ESSENTIAL: Final = {
    "etc/nsswitch.conf": b"passwd: files\ngroup: files\nhosts: files dns\n",
    "etc/passwd": b"root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n",
    "etc/group": b"root:x:0:\nnogroup:x:65534:\n",
}
DIRECTORIES: Final = ("tmp", "root", "var/tmp", "run")


def write(
    archive: Path,
    *,
    tags: Sequence[str],
    command: Sequence[str],
    environment: Mapping[str, str] | None = None,
    trees: Mapping[str, Path] | None = None,
) -> Path:
    """Write an image archive and return its path.

    ``trees`` maps a path inside the image to a file or folder of this machine that is copied there.
    """
    layer = _layer(trees or {})
    digest = hashlib.sha256(layer).hexdigest()
    variables = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", **(environment or {})}
    config = json.dumps(
        {
            "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
            "os": "linux",
            "config": {"Cmd": list(command), "Env": [f"{name}={value}" for name, value in variables.items()]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        },
        sort_keys=True,
    ).encode()
    name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = [{"Config": name, "RepoTags": list(tags), "Layers": [f"{digest}/layer.tar"]}]
    with tarfile.open(archive, "w") as image:
        for path, content in ((name, config), (f"{digest}/layer.tar", layer), ("manifest.json", _json(manifest))):
            _add(image, path, content)
    return archive


def program(path: str) -> dict[str, Path]:
    """Return the files a dynamically linked program of this machine needs, for ``trees`` of ``write``."""
    result = subprocess.run(["/usr/bin/ldd", path], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise ClusterError(f"ldd {path}: {result.stderr.strip()}")
    libraries = [word for word in result.stdout.split() if word.startswith("/")]
    return {name: Path(name).resolve() for name in (path, *libraries)}


def _json(document: object) -> bytes:
    return json.dumps(document).encode()


def _layer(trees: Mapping[str, Path]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as layer:
        for directory in DIRECTORIES:
            entry = tarfile.TarInfo(directory)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if directory.endswith("tmp") else 0o755
            layer.addfile(entry)
        for path, content in ESSENTIAL.items():
            _add(layer, path, content)
        for path, source in trees.items():
            layer.add(source, arcname=path.lstrip("/"), filter=_reproducible)
    return buffer.getvalue()


def _reproducible(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Only what belongs in an image, and the same bytes each time."""
    if "__pycache__" in entry.name:
        return None
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    entry.mtime = 0
    # A private umask of the builder must not hide files from a container without CAP_DAC_OVERRIDE.
    entry.mode |= 0o555 if entry.isdir() else 0o444
    return entry


def _add(archive: tarfile.TarFile, path: str, content: bytes) -> None:
    entry = tarfile.TarInfo(path)
    entry.size, entry.mode = len(content), 0o644
    archive.addfile(entry, io.BytesIO(content))

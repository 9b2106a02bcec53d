"""What is kept below a directory, and its removal: ``weights list`` and ``weights remove``."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from deepseek_operator.weights import durable, lease
from deepseek_operator.weights.errors import InputError, storage_error
from deepseek_operator.weights.progress import say
from deepseek_operator.weights.workspace import MARKER, WORK, read_marker


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A directory of weights: complete, or begun."""

    path: Path
    about: dict[str, Any]
    """What the marker says; empty for one that is not complete."""
    complete: bool
    size: int
    """Bytes on the volume, files of directories below it left out."""
    changed: datetime

    def document(self, root: Path) -> dict[str, Any]:
        """As ``weights list -o json`` tells it; the path is relative to what was listed."""
        return {
            "path": self.path.relative_to(root).as_posix(),
            "complete": self.complete,
            "source": self.about.get("source"),
            "revision": self.about.get("commit") or self.about.get("revision"),
            "producer": self.about.get("producer"),
            "layout": self.about.get("layout"),
            "sizeGiB": round(self.size / 2**30, 1),
            "changed": self.changed.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }


def kept_below(root: Path) -> list[Kept]:
    """Every directory of weights at or below one, by path.

    Raises:
        InputError: No such directory.
    """
    if not root.is_dir():
        raise InputError(str(root), "no such directory", "name a directory that holds weights")
    found = [_kept(Path(place)) for place in _workplaces(root)]
    return sorted(found, key=lambda each: each.path)


def remove(directory: Path) -> int:
    """Remove the weights of a directory, and those made of them below it. Returns the bytes that became free.

    The marker goes first, so that a start in between fetches instead of reading half of it; the lease is held, so that
    nobody fills what is being emptied.

    Raises:
        InputError: It holds no weights, so that a wrong path costs nothing.
    """
    if not (directory / MARKER).exists() and not (directory / WORK).is_dir() and not _workplaces(directory):
        raise InputError(str(directory), "it holds no weights", "name a directory that `weights list` shows")
    freed = sum(each.size for each in kept_below(directory))
    with lease.hold(directory / WORK, say=say):
        try:
            for place in sorted(_workplaces(directory), key=len, reverse=True):
                marker = Path(place) / MARKER
                if marker.exists():
                    marker.unlink()
                    durable.sync_directory(marker.parent)
            for entry in list(directory.iterdir()):
                if entry.name != WORK:
                    shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
            for name in ("partial", "records"):
                shutil.rmtree(directory / WORK / name, ignore_errors=True)
            (directory / WORK / "job.json").unlink(missing_ok=True)
        except OSError as error:
            raise storage_error(error, error.filename or directory) from error
    shutil.rmtree(directory / WORK, ignore_errors=True)
    return freed


def _workplaces(root: Path) -> list[str]:
    """Directories with a marker or with unfinished work."""
    found = []
    for place, folders, files in os.walk(root):
        if MARKER in files or _begun(Path(place)):
            found.append(place)
        folders[:] = [name for name in folders if name != WORK]
    return found


def _begun(place: Path) -> bool:
    return any((place / WORK / name).exists() for name in ("job.json", "partial"))


def _kept(place: Path) -> Kept:
    marker = read_marker(place)
    sizes = list(_sizes(place))
    latest = max((changed for _, changed in sizes), default=place.stat().st_mtime)
    return Kept(
        path=place,
        about=marker.about if marker else {},
        complete=marker is not None,
        size=sum(size for size, _ in sizes),
        changed=datetime.fromtimestamp(latest, UTC),
    )


def _sizes(place: Path) -> Iterator[tuple[int, float]]:
    """Bytes on the volume and time of change of the files that belong to this place and to none below it."""
    for folder, folders, files in os.walk(place):
        inside = Path(folder)
        folders[:] = [name for name in folders if not _is_another(inside / name)]
        for name in files:
            status = (inside / name).lstat()
            yield status.st_blocks * 512, status.st_mtime


def _is_another(place: Path) -> bool:
    return (place / MARKER).exists() or _begun(place)

"""A directory of weights while it is made, and the marker that says that it is complete.

::

    <directory>/.deepseek-weights.json          the marker: what this is, and every file with size and SHA-256
    <directory>/.deepseek-weights/lease.<n>     who writes (lease.py)
    <directory>/.deepseek-weights/job.json      what is being made, so that two jobs never mix
    <directory>/.deepseek-weights/partial/      files that are not complete yet
    <directory>/.deepseek-weights/records/      one record for each file that is

A record is written after its file has its final name, so a file without one was not checked.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from deepseek_operator.weights import durable

MARKER: Final = ".deepseek-weights.json"
WORK: Final = ".deepseek-weights"
VERSION: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A complete file: bytes, SHA-256 in hex, and what its content was derived from."""

    size: int
    sha256: str
    identity: str

    def document(self) -> dict[str, Any]:
        """As the marker and the records keep it."""
        return {"size": self.size, "sha256": self.sha256, "identity": self.identity}


@dataclass(frozen=True, slots=True, kw_only=True)
class Marker:
    """What a complete directory holds. ``about`` says where it came from; ``files`` is keyed by relative path."""

    about: dict[str, Any]
    files: dict[str, Entry]


def read_marker(directory: Path) -> Marker | None:
    """The marker of a directory; None where there is none, or one without a list of files."""
    document = durable.read_json(directory / MARKER)
    if not isinstance(document, dict) or document.get("version") != VERSION:
        return None
    files = document.get("files")
    if not isinstance(files, dict):
        return None
    entries = {path: _entry(each) for path, each in files.items()}
    complete = {path: entry for path, entry in entries.items() if entry is not None}
    if len(complete) != len(files):
        return None
    return Marker(
        about={key: value for key, value in document.items() if key not in {"version", "files"}}, files=complete
    )


def _entry(document: Any) -> Entry | None:
    match document:
        case {"size": int(size), "sha256": str(sha256), "identity": str(identity)}:
            return Entry(size=size, sha256=sha256, identity=identity)
    return None


def size_of(path: Path) -> int | None:
    """Bytes of a file; None where there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return None


@dataclass(frozen=True, slots=True)
class Workspace:
    """The directory under work. Whoever writes through it holds the lease."""

    directory: Path

    @property
    def work(self) -> Path:
        """Where everything lies that is not weights."""
        return self.directory / WORK

    def partial(self, path: str, identity: str) -> Path:
        """Where a file is made; another content of the same path is made elsewhere."""
        return self.work / "partial" / _key(f"{path}\0{identity}")

    def final(self, path: str) -> Path:
        """Where a complete file lies."""
        return self.directory / path

    def job(self) -> Any:
        """What is being made here, as ``begin`` recorded it."""
        return durable.read_json(self.work / "job.json")

    def begin(self, job: dict[str, Any]) -> None:
        """Withdraw the marker and record what is being made, before anything changes."""
        marker = self.directory / MARKER
        if marker.exists():
            marker.unlink()
            durable.sync_directory(self.directory)
        if self.job() != job:
            durable.write_json(self.work / "job.json", job)

    def recorded(self, path: str, identity: str) -> Entry | None:
        """The record of a file that is complete and still has its size."""
        document = durable.read_json(self._record(path))
        entry = _entry(document)
        if entry is None or entry.identity != identity or size_of(self.final(path)) != entry.size:
            return None
        return entry

    def record(self, path: str, entry: Entry) -> None:
        """Remember that a file is complete."""
        durable.write_json(self._record(path), {"path": path, **entry.document()})

    def finish(self, marker: Marker) -> None:
        """Write the marker, then clear what only unfinished work needs."""
        files = {path: entry.document() for path, entry in sorted(marker.files.items())}
        durable.write_json(self.directory / MARKER, {"version": VERSION, **marker.about, "files": files})
        self.clear()

    def clear(self) -> None:
        """Forget unfinished work; the lease's files stay."""
        for name in ("partial", "records"):
            shutil.rmtree(self.work / name, ignore_errors=True)
        (self.work / "job.json").unlink(missing_ok=True)

    def _record(self, path: str) -> Path:
        return self.work / "records" / f"{_key(path)}.json"


def _key(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]

"""``file:///dir``: a directory that is mounted here, copied to a faster or a shared one."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from deepseek_operator.weights.digest import Algorithm, Digest
from deepseek_operator.weights.errors import InputError, WeightsError, storage_error
from deepseek_operator.weights.listing import Listing, RemoteFile, Sink, pinned
from deepseek_operator.weights.workspace import read_marker

_CHUNK: Final = 8 * 2**20


class Folder:
    """The files below a directory; hashes come from its marker where it has one."""

    def __init__(self, location: str, revision: str | None) -> None:
        self._directory, self._revision = Path(location), revision

    def listing(self) -> Listing:
        """Walks the directory."""
        if not self._directory.is_dir():
            raise InputError(f"file://{self._directory}", "no such directory here", "mount it, or correct the path")
        marker = read_marker(self._directory)
        known = marker.files if marker else {}
        files = []
        for path in sorted(self._directory.rglob("*")):
            if not path.is_file():
                continue
            name, status = path.relative_to(self._directory).as_posix(), path.stat()
            entry = known.get(name)
            digest = Digest(algorithm=Algorithm.SHA256, value=entry.sha256) if entry else None
            files.append(RemoteFile(path=name, size=status.st_size, digest=digest, version=str(status.st_mtime_ns)))
        return pinned(tuple(files), source=f"file://{self._directory}", revision=self._revision)

    def receive(self, file: RemoteFile, sink: Sink) -> None:
        """Append what the sink lacks."""
        with (self._directory / file.path).open("rb", buffering=0) as stream:
            stream.seek(sink.size)
            while chunk := stream.read(_CHUNK):
                sink.write(chunk)

    def judge(self, error: Exception) -> WeightsError | None:
        """A mounted directory fails for good; the kernel already tried again."""
        if isinstance(error, OSError):
            return storage_error(error, error.filename or self._directory)
        return None

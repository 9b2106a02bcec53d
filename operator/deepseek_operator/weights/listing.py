"""What a source offers: its files with sizes and hashes, and how to receive one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import BinaryIO, Final, Protocol

from deepseek_operator.weights.digest import Digest
from deepseek_operator.weights.errors import InputError, WeightsError

IGNORED: Final = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".onnx", ".gguf", ".pkl")
"""Other frameworks' copies of the weights, and pickles: the engines read safetensors only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """A file of a source.

    Attributes:
        path: Relative, with slashes.
        size: Bytes.
        digest: What its content must hash to; None where the source publishes nothing that can be checked.
        version: Tells contents of one path apart where there is no digest: an ETag, a time of change.
    """

    path: str
    size: int
    digest: Digest | None = None
    version: str = ""

    @property
    def identity(self) -> str:
        """The same for the same content only."""
        return str(self.digest) if self.digest else f"{self.version}:{self.size}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The files of a source at one moment; ``commit`` names that moment."""

    commit: str
    files: tuple[RemoteFile, ...]


class Sink:
    """A file that is filled from where it ends; counts what comes, and stops when told so by ``tick``."""

    def __init__(self, stream: BinaryIO, tick: Callable[[int], None]) -> None:
        self._stream, self._tick = stream, tick

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self._stream.tell()

    def write(self, data: bytes) -> int:
        """Append; raises what ``tick`` raises."""
        count = self._stream.write(data)
        self._tick(count)
        return count

    def tell(self) -> int:
        """Bytes so far."""
        return self._stream.tell()

    def seek(self, position: int) -> int:
        """Go back, before ``truncate``."""
        self._tick(position - self._stream.tell())
        return self._stream.seek(position)

    def truncate(self) -> int:
        """Throw away what lies behind the position."""
        return self._stream.truncate()


class Repository(Protocol):
    """One source, opened."""

    def listing(self) -> Listing:
        """Its files, at the revision that was asked for."""

    def receive(self, file: RemoteFile, sink: Sink) -> None:
        """Append what the sink lacks of a file."""

    def judge(self, error: Exception) -> WeightsError | None:
        """What an error of the other methods means for good; None where trying again may help."""


def wanted(files: Iterable[RemoteFile], source: str) -> tuple[RemoteFile, ...]:
    """The files that an engine can use, with paths that stay inside a directory.

    Raises:
        InputError: No safetensors file, or a path that leads out of the directory.
    """
    everything = tuple(files)
    for file in everything:
        parts = PurePosixPath(file.path)
        if parts.is_absolute() or ".." in parts.parts or "\\" in file.path:
            raise InputError(source, f"it lists {file.path}, which leads out of the directory", "do not trust it")
    chosen = tuple(sorted((each for each in everything if _is_wanted(each.path)), key=lambda file: file.path))
    if not any(file.path.endswith(".safetensors") for file in chosen):
        raise InputError(
            source, "it has no safetensors file", "name a repository or directory with weights in safetensors"
        )
    return chosen


def _is_wanted(path: str) -> bool:
    parts = PurePosixPath(path).parts
    # Hidden entries are other tools' state (.git, .cache) and our own; .gitattributes is of no use here.
    return not any(part.startswith(".") for part in parts) and not path.endswith(IGNORED)


def listing_digest(files: Iterable[RemoteFile]) -> str:
    """A name for the state of a source that has no commits."""
    text = "\n".join(f"{file.path}\0{file.identity}" for file in sorted(files, key=lambda file: file.path))
    return hashlib.sha256(text.encode()).hexdigest()[:40]


def pinned(files: tuple[RemoteFile, ...], *, source: str, revision: str | None) -> Listing:
    """The listing of a source without commits; a revision is the digest that an earlier fetch printed.

    Raises:
        InputError: The source does not have that state any more.
    """
    commit = listing_digest(files)
    if revision not in {None, commit}:
        raise InputError(
            f"--revision {revision}",
            f"{source} is at {commit} (a digest of its names, sizes and hashes) now",
            "name that revision, or leave --revision out",
        )
    return Listing(commit=commit, files=files)

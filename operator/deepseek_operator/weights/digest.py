"""Hashes of files: what the other side names, and the SHA-256 that the marker keeps."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

_CHUNK: Final = 8 * 2**20


class Algorithm(StrEnum):
    """Hashes that hubs and stores publish."""

    SHA256 = "sha256"
    GIT_SHA1 = "git-sha1"
    """Of a git blob, for files outside LFS: SHA-1 over ``blob <size>\\0`` and the content (git-hash-object(1))."""
    MD5 = "md5"
    """An S3 ETag of an object that was uploaded in one part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Digest:
    """An expected hash, in lower-case hex."""

    algorithm: Algorithm
    value: str

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.value}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a file on the disk turned out to be; ``digest`` is in the algorithm that was asked for."""

    size: int
    sha256: str
    digest: Digest | None


def measure(path: Path, *, algorithm: Algorithm | None = None, tick: Callable[[int], None] | None = None) -> Measured:
    """Hash a file in one pass.

    Args:
        path: The file.
        algorithm: A second hash to compute beside SHA-256.
        tick: Called with the bytes read, for progress and for stopping (by an exception).
    """
    size = path.stat().st_size
    sha256 = hashlib.sha256()
    other = _hasher(algorithm, size)
    with path.open("rb", buffering=0) as stream:
        buffer = memoryview(bytearray(min(_CHUNK, max(size, 1))))
        while count := stream.readinto(buffer):
            sha256.update(buffer[:count])
            if other is not None:
                other.update(buffer[:count])
            if tick is not None:
                tick(count)
    digest = None
    if algorithm is Algorithm.SHA256:
        digest = Digest(algorithm=algorithm, value=sha256.hexdigest())
    elif algorithm is not None and other is not None:
        digest = Digest(algorithm=algorithm, value=other.hexdigest())
    return Measured(size=size, sha256=sha256.hexdigest(), digest=digest)


def _hasher(algorithm: Algorithm | None, size: int) -> hashlib._Hash | None:
    match algorithm:
        case Algorithm.GIT_SHA1:
            blob = hashlib.sha1(usedforsecurity=False)
            blob.update(f"blob {size}\0".encode())
            return blob
        case Algorithm.MD5:
            return hashlib.md5(usedforsecurity=False)
        case _:
            return None

"""Weights into the page cache, before the engines of a group start to load together.

Ranks that read a slow volume at different speed fail one another: SGLang gives all of them 480 s from the first that
is done (issues 5457 and 39128). Reading ahead happens before the rank barrier, at the volume's own rate and in order,
so that loading itself is quick and even. What lies in the cache already is not read again, and what the machine's
memory cannot hold is left alone: it would only drive out what was read before.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deepseek_operator.weights.errors import storage_error
from deepseek_operator.weights.progress import Progress

CHUNK: Final = 16 * 2**20
_PAGE: Final = 4096
_MEMORY_SHARE: Final = 0.8
"""Of the memory that is available before: the engine's own processes load into what is left."""
_NO_ANSWER: Final = frozenset({errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS})


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadAhead:
    """What was done. Sizes in bytes."""

    total: int
    """Of the files."""
    read: int
    """From the volume."""
    cached: int
    """In the page cache before."""
    skipped: int
    """Not read, for want of memory."""
    seconds: float

    @property
    def bytes_per_second(self) -> int | None:
        """The volume's rate; None where too little was read to tell."""
        return round(self.read / self.seconds) if self.read >= CHUNK and self.seconds > 0 else None


def read_ahead(files: Iterable[Path], *, workers: int, progress: Progress, limit: int | None = None) -> ReadAhead:
    """Read files into the page cache.

    Args:
        files: In the order in which the engine reads them.
        workers: Files at once.
        progress: Told how far it is.
        limit: Bytes at most; None: what the machine's memory allows.

    Raises:
        WeightsError: A file cannot be read.
    """
    chosen, total, room = [], 0, _room() if limit is None else limit
    for path in files:
        size = path.stat().st_size
        total += size
        if size <= room:
            room -= size
            chosen.append((path, size))
    progress.begin("read ahead", total=sum(size for _, size in chosen), files=len(chosen))
    started = time.monotonic()
    with ThreadPoolExecutor(max_workers=workers, thread_name_prefix="read") as pool:
        done = list(pool.map(lambda item: _read(*item, progress=progress), chosen))
    return ReadAhead(
        total=total,
        read=sum(read for read, _ in done),
        cached=sum(cached for _, cached in done),
        skipped=total - sum(size for _, size in chosen),
        seconds=time.monotonic() - started,
    )


def _read(path: Path, size: int, *, progress: Progress) -> tuple[int, int]:
    read = cached = 0
    buffer = bytearray(CHUNK)
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            for offset in range(0, size, CHUNK):
                count = min(CHUNK, size - offset)
                if _is_cached(descriptor, offset, count):
                    cached += count
                else:
                    os.preadv(descriptor, [memoryview(buffer)[:count]], offset)
                    read += count
                progress.add(count)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise storage_error(error, path) from error
    progress.file_done()
    return read, cached


def _is_cached(descriptor: int, offset: int, count: int) -> bool:
    """Whether the first and the last page of a piece can be read without waiting for the volume (preadv2(2))."""
    probe = bytearray(1)
    try:
        for place in (offset, offset + count - 1):
            if os.preadv(descriptor, [probe], place, os.RWF_NOWAIT) != 1:
                return False
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _NO_ANSWER:
            return False
        raise
    return True


def _room() -> int:
    """Bytes that the page cache may take: MemAvailable of proc_meminfo(5), in KiB."""
    lines = Path("/proc/meminfo").read_text("utf-8").splitlines()
    available = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")) * 1024
    return int(available * _MEMORY_SHARE)

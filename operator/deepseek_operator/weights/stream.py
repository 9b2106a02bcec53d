"""Safetensors files made from others in bounded memory, several at once, each whole or absent.

A worker makes one file at a time out of pieces of at most ``CHUNK`` input bytes and hashes what it writes on the way.
Workers are threads: reading, looking up, hashing and writing all release the interpreter's lock, and a killed
process leaves nothing behind that still writes.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from deepseek_operator.weights import durable
from deepseek_operator.weights.errors import CorruptError
from deepseek_operator.weights.lease import Lease
from deepseek_operator.weights.patience import StoppedError
from deepseek_operator.weights.progress import Progress
from deepseek_operator.weights.room import require_room
from deepseek_operator.weights.safetensors_format import Tensor, bytes_of, make_header
from deepseek_operator.weights.workspace import Entry, Workspace

CHUNK: Final = 16 * 2**20
"""Input bytes in memory for each worker; twice that of output beside them."""
_FLUSH: Final = 512 * 2**20
"""Output bytes after which the disk is waited for: dirty pages stay few, and the last fsync short."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A tensor to write. ``parts`` gives its bytes in order; a part is valid until the next is asked for."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    parts: Callable[[Inputs, Buffers], Iterator[memoryview]]

    @property
    def size(self) -> int:
        """Bytes of the tensor."""
        return bytes_of(self.dtype, self.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """A file to write; ``identity`` says of what it is made."""

    path: str
    pieces: tuple[Piece, ...]
    metadata: dict[str, str]
    identity: str

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return len(self.header) + sum(piece.size for piece in self.pieces)

    @property
    def header(self) -> bytes:
        """The begin of the file."""
        return make_header(((piece.name, piece.dtype, piece.shape) for piece in self.pieces), self.metadata)


class Buffers:
    """Reusable memory of one worker, one region a purpose."""

    def __init__(self) -> None:
        self._regions: dict[str, bytearray] = {}

    def take(self, purpose: str, size: int) -> memoryview:
        """``size`` bytes whose content is the caller's until the purpose is taken again."""
        region = self._regions.get(purpose)
        if region is None or len(region) < size:
            region = self._regions[purpose] = bytearray(size)
        return memoryview(region)[:size]


class Inputs:
    """The files of a checkpoint, opened when first read; used by one worker."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._descriptors: dict[str, int] = {}

    def read(self, tensor: Tensor, offset: int, into: memoryview) -> None:
        """Fill a buffer with the bytes of a tensor from an offset within it.

        Raises:
            CorruptError: The file ends before.
        """
        descriptor = self._descriptors.get(tensor.file)
        if descriptor is None:
            descriptor = self._descriptors[tensor.file] = os.open(self._directory / tensor.file, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        position, done = tensor.offset + offset, 0
        while done < len(into):
            count = os.preadv(descriptor, [into[done:]], position + done)
            if count == 0:
                raise CorruptError(
                    str(self._directory / tensor.file), f"it ends within {tensor.name}", "fetch it again"
                )
            done += count

    def close(self) -> None:
        """Close all files."""
        for descriptor in self._descriptors.values():
            os.close(descriptor)
        self._descriptors.clear()


def whole(
    tensor: Tensor, *, offset: int = 0, size: int | None = None
) -> Callable[[Inputs, Buffers], Iterator[memoryview]]:
    """The parts of a tensor, or of a contiguous range of it, unchanged."""

    def parts(inputs: Inputs, buffers: Buffers) -> Iterator[memoryview]:
        end = offset + (tensor.size if size is None else size)
        for begin in range(offset, end, CHUNK):
            buffer = buffers.take("input", min(CHUNK, end - begin))
            inputs.read(tensor, begin, buffer)
            yield buffer

    return parts


def aligned(pieces: Iterable[Piece]) -> tuple[Piece, ...]:
    """Pieces so ordered that each begins at a multiple of its element's size: wide dtypes first."""
    return tuple(sorted(pieces, key=lambda piece: -bytes_of(piece.dtype, (8,))))


@dataclass(slots=True, kw_only=True)
class Production:
    """Makes the files of a directory, those left out that a killed run already finished."""

    source: Path
    work: Workspace
    lease: Lease
    progress: Progress
    workers: int

    def run(
        self, outputs: tuple[Output, ...], *, phase: str, extra_bytes: int = 0, job: dict[str, Any]
    ) -> dict[str, Entry]:
        """Make all files; returns their entries by path.

        Args:
            outputs: The files.
            phase: Name of the phase in reports.
            extra_bytes: Of small files that the caller writes afterwards.
            job: What is being made; recorded before anything changes.

        Raises:
            WeightsError: Something is wrong with input or volume; what is finished is kept.
        """
        entries = {output.path: self.work.recorded(output.path, output.identity) for output in outputs}
        missing = [output for output in outputs if entries[output.path] is None]
        sizes = {output.path: output.size for output in outputs}
        needed = sum(sizes[output.path] for output in missing)
        require_room(self.work.directory, needed=needed + extra_bytes if missing else 0, files=len(missing))
        self.work.begin(job)
        total = sum(sizes.values())
        self.progress.begin(
            phase, total=total, files=len(outputs), done=total - needed, files_done=len(outputs) - len(missing)
        )
        made = self._make_all(missing)
        return {path: made[path] if entry is None else entry for path, entry in entries.items()}

    def _make_all(self, missing: list[Output]) -> dict[str, Entry]:
        stop = threading.Event()
        largest_first = sorted(missing, key=lambda output: -output.size)
        with ThreadPoolExecutor(max_workers=self.workers, thread_name_prefix="stream") as pool:
            futures = {output.path: pool.submit(self._make, output, stop) for output in largest_first}
            try:
                wait(futures.values(), return_when=FIRST_EXCEPTION)
                errors = [future.exception() for future in futures.values() if future.done()]
                error = next((each for each in errors if each is not None), None)
                if error is not None:
                    raise error
            finally:
                stop.set()
                pool.shutdown(cancel_futures=True)
        return {path: future.result() for path, future in futures.items()}

    def _make(self, output: Output, stop: threading.Event) -> Entry:
        partial = self.work.partial(output.path, output.identity)
        partial.parent.mkdir(parents=True, exist_ok=True)
        inputs = Inputs(self.source)
        try:
            entry = self._write(output, partial, inputs, stop)
        finally:
            inputs.close()
        self.lease.check()
        durable.publish(partial, self.work.final(output.path))
        self.work.record(output.path, entry)
        self.progress.file_done()
        return entry

    def _write(self, output: Output, partial: Path, inputs: Inputs, stop: threading.Event) -> Entry:
        sha256, written, flushed = hashlib.sha256(), 0, 0
        buffers = Buffers()
        with partial.open("wb", buffering=0) as stream:
            for part in _parts(output, inputs, buffers):
                if stop.is_set():
                    raise StoppedError
                rest = part
                while rest:
                    rest = rest[stream.write(rest) :]
                sha256.update(part)
                written += len(part)
                self.progress.add(len(part))
                if written - flushed >= _FLUSH:
                    os.fdatasync(stream.fileno())
                    flushed = written
        return Entry(size=written, sha256=sha256.hexdigest(), identity=output.identity)


def _parts(output: Output, inputs: Inputs, buffers: Buffers) -> Iterator[memoryview]:
    yield memoryview(output.header)
    for piece in output.pieces:
        yield from piece.parts(inputs, buffers)

"""``weights fetch``: a directory that holds a source at a revision, whole and checked.

The marker decides first: a complete directory is left alone and nobody is contacted. Otherwise the source is
listed, the volume's room is compared with what is missing, and each file goes through received → hashed →
renamed → recorded. A file whose hash is wrong is received anew, once; a second time it is named, and the others
still finish.
"""

from __future__ import annotations

import importlib
import os
import threading
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from deepseek_operator.weights import checkpoint, durable, lease
from deepseek_operator.weights.digest import measure
from deepseek_operator.weights.errors import CorruptError, InputError, TransferError, WeightsError, storage_error
from deepseek_operator.weights.listing import Listing, RemoteFile, Repository, Sink, wanted
from deepseek_operator.weights.patience import Patience, StoppedError, persist
from deepseek_operator.weights.progress import Progress, say
from deepseek_operator.weights.room import require_room
from deepseek_operator.weights.uri import Scheme, Source
from deepseek_operator.weights.workspace import Entry, Marker, Workspace, read_marker, size_of

DEFAULT_WORKERS: Final = 8
"""Files at once: one connection seldom fills a link (OME's model agent uses 5, huggingface_hub 8)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to fetch, where to, and how."""

    source: Source
    directory: Path
    revision: str | None = None
    token: str | None = field(default=None, repr=False)
    workers: int = DEFAULT_WORKERS
    patience: Patience = field(default_factory=Patience)
    stale_seconds: float = lease.STALE_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What is in the directory now. ``received`` counts bytes of this run; ``by_size_only`` files had no hash."""

    marker: Marker
    received: int
    by_size_only: tuple[str, ...] = ()


def fetch(request: Request, progress: Progress) -> Fetched:
    """Make the directory hold the source.

    Raises:
        WeightsError: See errors.py; what was received is kept, and the next call goes on from there.
    """
    complete = _complete(request)
    if complete is not None:
        return complete
    work = Workspace(request.directory)
    with lease.hold(work.work, say=say, stale_seconds=request.stale_seconds) as held:
        complete = _complete(request)
        if complete is not None:
            return complete
        repository = open_repository(request)
        try:
            return _Run(request, repository, work, held, progress).run()
        except OSError as error:
            raise storage_error(error, error.filename or request.directory) from error


def open_repository(request: Request) -> Repository:
    """The source's client; its packages are imported only here."""
    # Read when the library is imported; hub_http says why.
    os.environ.setdefault("HF_HUB_DISABLE_XET", "1")
    revision, location = request.revision, request.source.location
    name, kind, arguments = {
        Scheme.HUGGING_FACE: ("huggingface", "HuggingFace", (location, revision, request.token)),
        Scheme.MODELSCOPE: ("modelscope", "ModelScope", (location, revision, request.token)),
        Scheme.S3: ("objectstore", "ObjectStore", (location, revision)),
        Scheme.FILE: ("folder", "Folder", (location, revision)),
    }[request.source.scheme]
    try:
        module: Any = importlib.import_module(f"deepseek_operator.weights.{name}")
    except ModuleNotFoundError as error:
        raise InputError(
            str(request.source), f"the package {error.name} is not installed", "pip install deepseek-operator[weights]"
        ) from error
    repository: Repository = getattr(module, kind)(*arguments)
    return repository


def _complete(request: Request) -> Fetched | None:
    """The directory's content when its marker fits the request and no file is missing or cut."""
    marker = read_marker(request.directory)
    if marker is None or marker.about.get("source") != str(request.source):
        return None
    if request.revision not in {marker.about.get("revision"), marker.about.get("commit")}:
        return None
    if any(size_of(request.directory / path) != entry.size for path, entry in marker.files.items()):
        return None
    return Fetched(marker=marker, received=0)


class _Run:
    """One fetch under the lease."""

    def __init__(
        self, request: Request, repository: Repository, work: Workspace, held: lease.Lease, progress: Progress
    ) -> None:
        self._request, self._repository, self._work = request, repository, work
        self._lease, self._progress = held, progress
        self._stop = threading.Event()
        self._received = 0
        self._lock = threading.Lock()

    def run(self) -> Fetched:
        listing = self._list()
        files = wanted(listing.files, str(self._request.source))
        before = read_marker(self._work.directory)
        self._adopt(before, files)
        self._work.begin({"producer": "fetch"})
        entries = {file.path: self._work.recorded(file.path, file.identity) for file in files}
        missing = [file for file in files if entries[file.path] is None]
        self._prepare(files, missing)
        say(f"{self._request.source} at {listing.commit}: {len(missing)} of {len(files)} files are missing")
        entries |= self._receive_all(missing)
        complete = {path: entry for path, entry in entries.items() if entry is not None}
        checkpoint.check(self._work.directory, tuple(complete))
        self._remove_foreign(before, files)
        marker = Marker(about=self._about(listing), files=complete)
        self._lease.check()
        self._work.finish(marker)
        unchecked = tuple(file.path for file in files if file.digest is None)
        return Fetched(marker=marker, received=self._received, by_size_only=unchecked)

    def _list(self) -> Listing:
        return persist(
            self._repository.listing,
            what=str(self._request.source),
            patience=self._request.patience,
            judge=self._repository.judge,
            position=lambda: 0,
            stop=self._stop,
        )

    def _about(self, listing: Listing) -> dict[str, Any]:
        source = self._request.source
        about = {
            "producer": "fetch",
            "source": str(source),
            "revision": self._request.revision,
            "commit": listing.commit,
        }
        if source.scheme in {Scheme.HUGGING_FACE, Scheme.MODELSCOPE}:
            about["repository"] = source.location
        return about

    def _adopt(self, before: Marker | None, files: tuple[RemoteFile, ...]) -> None:
        """Keep what the marker of another revision already proved: most files differ in nothing."""
        if before is None:
            return
        for file in files:
            entry = before.files.get(file.path)
            if entry is None or size_of(self._work.final(file.path)) != file.size:
                continue
            if file.identity in {entry.identity, f"sha256:{entry.sha256}"}:
                self._work.record(file.path, Entry(size=entry.size, sha256=entry.sha256, identity=file.identity))

    def _prepare(self, files: tuple[RemoteFile, ...], missing: list[RemoteFile]) -> None:
        present = {file.path: self._present(file) for file in missing}
        require_room(
            self._work.directory,
            needed=sum(max(file.size - present[file.path], 0) for file in missing),
            files=sum(size_of(self._work.partial(file.path, file.identity)) is None for file in missing),
        )
        total = sum(file.size for file in files)
        self._progress.begin(
            f"fetch {self._request.source}",
            total=total,
            files=len(files),
            done=total - sum(file.size - min(present[file.path], file.size) for file in missing),
            files_done=len(files) - len(missing),
        )

    def _present(self, file: RemoteFile) -> int:
        """Bytes of a missing file that lie here already: a whole file without a record, or a part."""
        if size_of(self._work.final(file.path)) == file.size:
            return file.size
        return size_of(self._work.partial(file.path, file.identity)) or 0

    def _receive_all(self, missing: list[RemoteFile]) -> dict[str, Entry]:
        largest_first = sorted(missing, key=lambda file: -file.size)
        failed: list[CorruptError | TransferError] = []
        with ThreadPoolExecutor(max_workers=self._request.workers, thread_name_prefix="fetch") as pool:
            futures = {file.path: pool.submit(self._one, file, failed) for file in largest_first}
            try:
                wait(futures.values(), return_when=FIRST_EXCEPTION)
                first = [future.exception() for future in futures.values() if future.done()]
                error = next((each for each in first if each is not None), None)
                if error is not None:
                    raise error
            finally:
                self._stop.set()
                pool.shutdown(cancel_futures=True)
        if failed:
            raise _most_telling(failed)
        return {path: entry for path, future in futures.items() if (entry := future.result()) is not None}

    def _one(self, file: RemoteFile, failed: list[CorruptError | TransferError]) -> Entry | None:
        try:
            entry = self._kept(file) or self._received_entry(file)
        except (CorruptError, TransferError) as error:
            say(str(error))
            failed.append(error)
            return None
        self._work.record(file.path, entry)
        self._progress.file_done()
        return entry

    def _kept(self, file: RemoteFile) -> Entry | None:
        """A whole file that lies here without a record: of an earlier tool, or of a run killed at that moment."""
        final = self._work.final(file.path)
        if file.digest is None or size_of(final) != file.size:
            return None
        return self._checked(file, final)

    def _received_entry(self, file: RemoteFile) -> Entry:
        partial = self._work.partial(file.path, file.identity)
        for last in (False, True):
            self._receive(file, partial)
            entry = self._checked(file, partial)
            if entry is not None:
                self._lease.check()
                durable.publish(partial, self._work.final(file.path))
                return entry
            self._progress.add(-(size_of(partial) or 0))
            partial.unlink()
            if not last:
                say(f"{file.path}: its hash is wrong; receiving it once more")
                self._progress.retried()
        raise CorruptError(
            file.path,
            f"{self._request.source} delivered it twice with a content that is not {file.identity}",
            "check proxies and caches on the way, or use another source",
        )

    def _receive(self, file: RemoteFile, partial: Path) -> None:
        partial.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("ab") as stream:
            sink = Sink(stream, self._tick)
            if sink.size > file.size:
                sink.seek(0)
                sink.truncate()

            def once() -> None:
                if sink.size < file.size:
                    self._repository.receive(file, sink)
                if sink.size < file.size:
                    message = f"the connection ended at {sink.size} of {file.size} bytes"
                    raise ConnectionError(message)

            persist(
                once,
                what=file.path,
                patience=self._request.patience,
                judge=self._repository.judge,
                position=lambda: sink.size,
                stop=self._stop,
            )

    def _checked(self, file: RemoteFile, path: Path) -> Entry | None:
        found = measure(
            path, algorithm=file.digest.algorithm if file.digest else None, tick=lambda _: self._raise_if_stopped()
        )
        if found.size != file.size or found.digest != file.digest:
            return None
        return Entry(size=found.size, sha256=found.sha256, identity=file.identity)

    def _tick(self, count: int) -> None:
        self._raise_if_stopped()
        self._progress.add(count)
        with self._lock:
            self._received += max(count, 0)

    def _raise_if_stopped(self) -> None:
        if self._stop.is_set():
            raise StoppedError

    def _remove_foreign(self, before: Marker | None, files: tuple[RemoteFile, ...]) -> None:
        """Files of the revision that was here before: engines read every safetensors file that they see."""
        names = {file.path for file in files}
        for path in before.files if before else ():
            if path not in names:
                self._work.final(path).unlink(missing_ok=True)


def _most_telling(failed: list[CorruptError | TransferError]) -> WeightsError:
    """The first failure, and how many there are."""
    first = next((each for each in failed if isinstance(each, CorruptError)), failed[0])
    if len(failed) > 1:
        return type(first)(first.what, f"{first.why} (and {len(failed) - 1} more files, named above)", first.remedy)
    return first

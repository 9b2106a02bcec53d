"""``weights verify``: is the directory what its marker says? Sizes and headers in seconds, every hash on demand."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deepseek_operator.weights import checkpoint
from deepseek_operator.weights.digest import measure
from deepseek_operator.weights.errors import InputError, WeightsError
from deepseek_operator.weights.progress import Progress
from deepseek_operator.weights.workspace import MARKER, Entry, Marker, read_marker

_RANK: Final = re.compile(r"model(\d+)-mp(\d+)\.safetensors").fullmatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong with a file."""

    path: str
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was looked at, and what is wrong with it."""

    marker: Marker
    findings: tuple[Finding, ...]
    hashed: bool


def verify(directory: Path, *, full: bool, workers: int, progress: Progress) -> Report:
    """Compare a directory with its marker. Nothing is written.

    Raises:
        InputError: There is no marker: it was never complete, or another tool made it.
    """
    if not directory.is_dir():
        raise InputError(str(directory), "no such directory", "name the directory that weights fetch or cast wrote")
    marker = read_marker(directory)
    if marker is None:
        raise InputError(
            str(directory),
            f"it has no {MARKER}: it was never complete, or another tool filled it",
            "run weights fetch again; it keeps and checks what is there",
        )
    total = sum(entry.size for entry in marker.files.values()) if full else 0
    progress.begin(f"verify {directory}", total=total, files=len(marker.files))
    with ThreadPoolExecutor(max_workers=workers, thread_name_prefix="verify") as pool:
        problems = list(
            pool.map(lambda item: _problem(directory, *item, full=full, progress=progress), marker.files.items())
        )
    found = [
        Finding(path=path, problem=problem) for path, problem in zip(marker.files, problems, strict=True) if problem
    ]
    if not found:
        found = _structure(directory, marker)
    return Report(marker=marker, findings=tuple(found), hashed=full)


def verify_unmarked(directory: Path, *, named: str, progress: Progress) -> tuple[Path, ...]:
    """Check weights that the user brought, which have no marker: index, headers and sizes. Returns the files.

    Args:
        directory: Where they lie.
        named: What the user calls them, for messages.
        progress: Told how far it is.

    Raises:
        InputError: No config.json, or not every rank's file of weights that were cut for the DeepSeek-Infer demo.
        CorruptError: A file is cut, or the index and the files disagree.
    """
    if cut := _cut(directory, named or str(directory)):
        return cut
    if not (directory / checkpoint.CONFIG).is_file():
        raise InputError(
            f"spec.weights.source {named}" if named else str(directory),
            f"{named or directory} has no {checkpoint.CONFIG} at {directory}",
            f"name the directory that holds {checkpoint.CONFIG} and the safetensors files",
        )
    files = tuple(sorted(directory.glob("*.safetensors")))
    progress.begin(f"check {directory}", total=0, files=len(files))
    if files or (directory / checkpoint.INDEX).exists():
        checkpoint.open_checkpoint(directory)
    return files


def _cut(directory: Path, named: str) -> tuple[Path, ...]:
    """The files of weights that ``convert.py`` of the DeepSeek-Infer demo cut: all of one number of ranks, or none."""
    found = {path: match for path in sorted(directory.glob("model*-mp*.safetensors")) if (match := _RANK(path.name))}
    wanted = {f"model{rank}-mp{match[2]}.safetensors" for match in found.values() for rank in range(int(match[2]))}
    if missing := sorted(wanted - {path.name for path in found}):
        raise InputError(
            named, f"{len(missing)} files of ranks are missing, {missing[0]} among them", "cut the weights again"
        )
    return tuple(found)


def files_of(directory: Path, marker: Marker) -> tuple[Path, ...]:
    """The weights among the files of a marker, in the order of their names."""
    return tuple(directory / path for path in sorted(marker.files) if path.endswith(".safetensors"))


def _problem(directory: Path, path: str, entry: Entry, *, full: bool, progress: Progress) -> str | None:
    file = directory / path
    try:
        size = file.stat().st_size
        if size != entry.size:
            return f"it has {size} bytes instead of {entry.size}"
        if full and measure(file, tick=progress.add).sha256 != entry.sha256:
            return "its SHA-256 is wrong"
    except FileNotFoundError:
        return "it is not there"
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
    progress.file_done()
    return None


def _structure(directory: Path, marker: Marker) -> list[Finding]:
    """Index and headers, where the marker names a checkpoint of the usual form."""
    if marker.about.get("producer") == "shard":
        return []
    try:
        checkpoint.check(directory, marker.files)
    except WeightsError as error:
        return [Finding(path=error.what, problem=error.why)]
    return []

"""Brings a model's weights from the Hugging Face hub into a directory, once.

Runs in the init container ``fetch-weights`` by ``python3 -c``, with the engine image's own Python (3.9 or
newer) and huggingface_hub. A marker file records what is complete: as long as it matches, the hub is not
contacted. Several pods may share the directory; one fetches, the others wait for it. An interrupted
download goes on where it stopped.

Exit codes: 0 complete, 1 failed with a message that names the field of the DeepSeekDeployment to change.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import importlib
import json
import os
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MARKER = ".deepseek-weights.json"
LOCK = ".deepseek-weights.lock"
REPORT_SECONDS = 30.0
RESERVE_BYTES = 2**30  # left free on the volume
GIB = 2**30
# Other frameworks' copies of the weights, and pickles: the engine reads safetensors only.
IGNORED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack", "*.onnx", "*.gguf", "*.pkl")


class FetchError(Exception):
    """The weights cannot be fetched; the message says what to change."""


def say(message: str) -> None:
    """One line of progress on stderr."""
    sys.stderr.write(f"fetch-weights: {message}\n")
    sys.stderr.flush()


def is_complete(directory: Path, repository: str, revision: str) -> bool:
    """Whether the marker says that this repository at this revision was fetched."""
    try:
        marker = json.loads((directory / MARKER).read_text("utf-8"))
    except (OSError, ValueError):
        return False
    if not isinstance(marker, dict):
        return False
    return (marker.get("repository"), marker.get("revision")) == (repository, revision)


def fetch(repository: str, revision: str, directory: Path) -> None:
    """Make the directory hold the repository; raises FetchError."""
    if is_complete(directory, repository, revision):
        say(f"{repository}@{revision} is complete in {directory}")
        return
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with exclusive(directory):
            if not is_complete(directory, repository, revision):
                download(repository, revision, directory)
    except OSError as error:
        raise FetchError(storage_message(error, directory)) from error


def download(repository: str, revision: str, directory: Path) -> None:
    """Fetch what is missing, check it, write the marker."""
    hub = importlib.import_module("huggingface_hub")
    errors = importlib.import_module("huggingface_hub.utils")
    try:
        info = hub.HfApi().model_info(repository, revision=revision, files_metadata=True)
        files = wanted(info.siblings)
        total = sum(files.values())
        require_space(directory, files)
        say(f"fetching {repository}@{info.sha}: {len(files)} files, {total / GIB:.1f} GiB, into {directory}")
        with reports(directory, total):
            hub.snapshot_download(
                repository, revision=info.sha, local_dir=str(directory), ignore_patterns=list(IGNORED)
            )
    except FetchError:
        raise
    except Exception as error:
        raise FetchError(hub_message(error, errors, repository, revision, directory)) from error
    if wrong := [name for name, size in files.items() if file_size(directory / name) != size]:
        raise FetchError(f"{len(wrong)} files are incomplete in {directory}, {wrong[0]} among them: trying again")
    write_marker(directory, {"repository": repository, "revision": revision, "commit": info.sha})
    say(f"complete: {repository}@{info.sha}")


def wanted(siblings: list[Any]) -> dict[str, int]:
    """Sizes in bytes of the repository's files that are fetched, by path."""
    return {
        file.rfilename: int(file.size or 0)
        for file in siblings
        if not any(file.rfilename.endswith(pattern[1:]) for pattern in IGNORED)
    }


def require_space(directory: Path, files: dict[str, int]) -> None:
    """Raise FetchError when what is still missing does not fit on the volume."""
    present = min(stored_bytes(directory), sum(files.values()))
    missing = sum(files.values()) - present
    free = shutil.disk_usage(directory).free
    if missing + RESERVE_BYTES > free:
        raise FetchError(
            f"spec.weights.cache: the volume of {directory} has {free / GIB:.1f} GiB free and "
            f"{missing / GIB:.1f} GiB are still to be fetched; free space on it, or use a larger one "
            "(weights.nodePath in the operator's configuration, another StorageClass, or a claim of your "
            "own with spec.weights.source: pvc://claim/path)"
        )


def hub_message(error: Exception, errors: Any, repository: str, revision: str, directory: Path) -> str:
    """What to change after an error of the hub."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, errors.GatedRepoError) or status == 403:
        return (
            f"spec.weights.tokenSecret: the hub refuses {repository} to this token (403); accept the model's "
            "conditions on its page and set the Secret of a token that may read it"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return f"spec.revision: {repository} has no revision {revision}; name a commit, branch or tag of it"
    if isinstance(error, errors.RepositoryNotFoundError) or status in {401, 404}:
        token = "the token was refused" if os.environ.get("HF_TOKEN") else "no token was sent"
        return (
            f"spec.weights.source: the hub has no repository {repository}, or it is private and "
            f"{token} ({status or 404}); correct the name, or name a token that may read it in spec.weights.tokenSecret"
        )
    if isinstance(error, OSError) and error.filename:
        return storage_message(error, directory)
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    return (
        f"cannot fetch {repository} from {endpoint}: {type(error).__name__}: {error}; check the pods' way "
        "out, or set HF_ENDPOINT or HTTPS_PROXY in spec.engine.env"
    )


def storage_message(error: OSError, directory: Path) -> str:
    """What to change after an error of the volume."""
    return (
        f"spec.weights.cache: cannot write {directory}: {error.strerror or error}; the volume must be "
        "writable for the container's user"
    )


@contextlib.contextmanager
def exclusive(directory: Path) -> Iterator[None]:
    """Hold the directory's lock, or wait for whoever does; the kernel frees it when its holder dies."""
    with (directory / LOCK).open("a", encoding="utf-8") as lock:
        waited = 0.0
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if waited % REPORT_SECONDS == 0:
                    say(f"another pod is fetching into {directory}; waited {waited:.0f} s")
                time.sleep(1)
                waited += 1
        yield


@contextlib.contextmanager
def reports(directory: Path, total: int) -> Iterator[None]:
    """Say how far the download is, every half a minute."""
    done = threading.Event()
    thread = threading.Thread(target=report, args=(directory, total, done.wait), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def report(directory: Path, total: int, wait: Callable[[float], bool]) -> None:
    """Print lines of progress until ``wait`` says that the download is over."""
    last, last_time = stored_bytes(directory), time.monotonic()
    while not wait(REPORT_SECONDS):
        now, now_time = stored_bytes(directory), time.monotonic()
        rate = max(now - last, 0) / max(now_time - last_time, 0.001)
        left = f"{(total - now) / rate / 60:.0f} min left" if rate and now < total else "rate unknown"
        percent = 100 * now / total if total else 100
        say(
            f"{min(now, total) / GIB:.1f} of {total / GIB:.1f} GiB ({min(percent, 100):.0f} %), "
            f"{rate / 2**20:.0f} MiB/s, {left}"
        )
        last, last_time = now, now_time


def stored_bytes(directory: Path) -> int:
    """Bytes on the volume under the directory, partial files included; they may be sparse."""
    total = 0
    for path in directory.rglob("*"):
        with contextlib.suppress(OSError):  # a partial file was renamed meanwhile
            total += path.lstat().st_blocks * 512
    return total


def file_size(path: Path) -> int:
    """Size in bytes; -1 where there is no file."""
    try:
        return path.stat().st_size
    except OSError:
        return -1


def write_marker(directory: Path, content: dict[str, str]) -> None:
    """Write the marker so that it is there whole or not at all, and after the weights."""
    os.sync()
    partial = directory / f"{MARKER}.partial"
    partial.write_text(json.dumps(content), "utf-8")
    partial.replace(directory / MARKER)


def main(arguments: list[str] | None = None) -> int:
    """Read the command line, fetch, and turn errors into one message."""
    parser = argparse.ArgumentParser(prog="fetch-weights")
    parser.add_argument("--repository", required=True)
    parser.add_argument("--revision", required=True)
    parser.add_argument("--directory", required=True, type=Path)
    options = parser.parse_args(arguments)
    try:
        fetch(options.repository, options.revision, options.directory)
    except FetchError as error:
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

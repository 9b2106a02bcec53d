"""Files that are whole or absent, also after a power cut: write aside, fsync, rename, fsync the directory."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def sync_directory(directory: Path) -> None:
    """Make renames and removals in a directory last."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError:
        # Some network file systems refuse fsync on a directory; their renames are synchronous.
        pass
    finally:
        os.close(descriptor)


def publish(partial: Path, final: Path) -> None:
    """Give a complete file its final name. Both must lie on one file system."""
    with partial.open("rb") as stream:
        os.fsync(stream.fileno())
    final.parent.mkdir(parents=True, exist_ok=True)
    partial.replace(final)
    sync_directory(final.parent)


def write_json(path: Path, document: Any) -> None:
    """Write a JSON document so that readers see the old one or the new one."""
    write_bytes(path, (json.dumps(document, indent=1) + "\n").encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a small file so that readers see the old content or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(content)
    publish(partial, path)


def read_json(path: Path) -> Any:
    """The document, or None where there is none or it is damaged."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None

"""Whether a volume has room, asked before hours are spent on filling it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from deepseek_operator.weights.errors import NoRoomError
from deepseek_operator.weights.progress import GIB

RESERVE_BYTES: Final = 2**30
"""Left free: file systems become slow when full, and records and tables need blocks, too."""
_RESERVE_INODES: Final = 64


def require_room(directory: Path, *, needed: int, files: int) -> None:
    """Raise NoRoomError when bytes and files still to be written do not fit.

    Args:
        directory: On the volume; it exists.
        needed: Bytes to write, those already there not counted.
        files: Files to make; each needs an inode, and so does its record.
    """
    found = os.statvfs(directory)
    free = found.f_bavail * found.f_frsize
    if needed and needed + RESERVE_BYTES > free:
        raise NoRoomError(
            str(directory),
            f"{needed / GIB:.1f} GiB are still to be written and {RESERVE_BYTES / GIB:.0f} GiB stay free, but the "
            f"volume has {free / GIB:.1f} GiB: {(needed + RESERVE_BYTES - free) / GIB:.1f} GiB are missing",
            "free space on it, or use a larger volume",
        )
    # File systems that make inodes as they need them (btrfs, most network ones) report none at all.
    if found.f_files and 2 * files + _RESERVE_INODES > found.f_favail:
        raise NoRoomError(
            str(directory),
            f"{files} files are still to be made and the volume has {found.f_favail} inodes left",
            "remove small files from it, or use another volume",
        )

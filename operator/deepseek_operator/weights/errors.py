"""What can go wrong, each as one line: what, why, and what would work.

::

    WeightsError
    ├── InputError       somebody must change an argument, a token or a volume; repeating is useless
    ├── NoRoomError      the volume is too small for what is asked
    ├── TransferError    may pass with time: the network, the other side, the disk
    ├── CorruptError     bytes are not what they should be
    └── LeaseLostError   another process took the directory over
"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Final

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_REFUSED: Final = frozenset({errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EEXIST})


class WeightsError(Exception):
    """A failure told in one line.

    Args:
        what: The object it is about: a file, a repository, a directory.
        why: What is wrong with it.
        remedy: What would work.
    """

    def __init__(self, what: str, why: str, remedy: str) -> None:
        self.what, self.why, self.remedy = what, why, remedy
        super().__init__(" ".join(f"{what}: {why}; {remedy}".split()))


class InputError(WeightsError):
    """The request cannot work as it stands."""


class NoRoomError(WeightsError):
    """The volume has too few bytes or inodes."""


class TransferError(WeightsError):
    """The transfer failed after patience was used up; a later try may succeed."""


class CorruptError(WeightsError):
    """Content that does not match its hash, its size or its own header."""


class LeaseLostError(WeightsError):
    """Another process writes to the directory now; nothing more may be published by this one."""


def storage_error(error: OSError, path: Path | str) -> WeightsError:
    """What an error of the volume means for a path on it."""
    reason = error.strerror or str(error)
    if error.errno in _FULL:
        return NoRoomError(
            str(path), f"no room left ({reason})", "free space, or use a larger volume; what is written is kept"
        )
    if error.errno in _REFUSED:
        return InputError(
            str(path), f"cannot be written ({reason})", "mount the volume writable for this process's user"
        )
    return TransferError(str(path), f"cannot be read or written ({reason})", "check the volume, then run it again")


def is_storage_error(error: BaseException) -> bool:
    """Whether an error came from the file system and not from the other side of a connection."""
    if not isinstance(error, OSError) or getattr(error, "response", None) is not None:
        return False
    return error.errno in _FULL | _REFUSED or error.errno == errno.EIO

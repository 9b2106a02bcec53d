"""Where weights come from, as a URI."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from deepseek_operator.weights.errors import InputError

_FORMS: Final = "use hf://org/name, modelscope://org/name, s3://bucket/prefix or file:///dir"


class Scheme(StrEnum):
    """Kinds of sources."""

    HUGGING_FACE = "hf"
    MODELSCOPE = "modelscope"
    S3 = "s3"
    FILE = "file"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A repository, a prefix of a bucket, or a directory; ``location`` is what follows ``://``."""

    scheme: Scheme
    location: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.location}"


def parse_source(uri: str) -> Source:
    """Read a source; ``path:///dir``, as custom resources spell it, means ``file:///dir``.

    Raises:
        InputError: No such scheme, or not a location of that scheme.
    """
    name, separator, location = uri.partition("://")
    name = "file" if name == "path" else name
    if not separator or name not in set(Scheme):
        raise InputError(f"--source {uri}", "not a source of weights", _FORMS)
    scheme = Scheme(name)
    location = location.rstrip("/") if scheme is Scheme.FILE else location.strip("/")
    parts = location.split("/")
    wrong = {
        Scheme.HUGGING_FACE: len(parts) != 2 or not all(parts),
        Scheme.MODELSCOPE: len(parts) != 2 or not all(parts),
        Scheme.S3: not parts[0],
        Scheme.FILE: not location.startswith("/"),
    }[scheme]
    if wrong:
        raise InputError(f"--source {uri}", f"not a location of {scheme}://", _FORMS)
    return Source(scheme=scheme, location=location)

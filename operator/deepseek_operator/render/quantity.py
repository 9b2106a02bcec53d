"""Amounts and texts in the form that Kubernetes reads."""

from __future__ import annotations

from typing import Final

_BINARY: Final = (("Ti", 2**40), ("Gi", 2**30), ("Mi", 2**20), ("Ki", 2**10))


def byte_quantity(count: int) -> str:
    """Bytes as the shortest exact binary quantity: 68719476736 is 64Gi."""
    for suffix, size in _BINARY:
        if count >= size and count % size == 0:
            return f"{count // size}{suffix}"
    return str(count)


def cpu_quantity(millicores: int) -> str:
    """Millicores as whole cores where they are whole: 32000 is 32, 1500 is 1500m."""
    return str(millicores // 1000) if millicores % 1000 == 0 else f"{millicores}m"


def literal(text: str) -> str:
    """Text that reaches the container unchanged.

    Kubernetes replaces ``$(NAME)`` in commands, arguments, exec probes and values of variables, and reads
    ``$$`` as one ``$`` (third_party/forked/golang/expansion/expand.go); every ``$`` doubled is every ``$``
    kept.
    """
    return text.replace("$", "$$")

"""Texts cut to what the API server and the size of status allow; both count bytes, not letters."""

from __future__ import annotations


def first_bytes(text: str, limit: int) -> str:
    """The text's first bytes in UTF-8, without half a letter at the end."""
    return text.encode()[:limit].decode(errors="ignore")

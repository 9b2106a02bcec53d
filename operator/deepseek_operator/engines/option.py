"""One flag with its value, as the words of an engine's command."""

from __future__ import annotations


def option(flag: str, value: str | int) -> tuple[str, ...]:
    """A flag with its value; joined by ``=`` where argparse would take the value for another flag."""
    text = str(value)
    return (f"{flag}={text}",) if text.startswith("-") else (flag, text)

"""Times as status keeps them: RFC 3339, UTC, whole seconds."""

from __future__ import annotations

from datetime import UTC, datetime


def stamp(moment: datetime) -> str:
    """A moment as RFC 3339."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment(stamp: str) -> datetime:
    """The moment of an RFC 3339 stamp. Raises ValueError when it is none."""
    return datetime.fromisoformat(stamp)


def seconds_until(stamp: str, *, now: datetime) -> float:
    """Seconds from now to a stamp; 0 when it has passed or is empty."""
    if not stamp:
        return 0.0
    return max(0.0, (moment(stamp) - now).total_seconds())

"""Times as status keeps them: RFC 3339, UTC, whole seconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

NEVER = "9999-12-31T00:00:00Z"
"""As the earliest next start: none by itself."""
LATE_SECONDS = 30
"""A deadline of somebody else's clock has passed only after so long."""


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


def overdue(stamp: str, *, now: datetime) -> bool:
    """Whether a moment of another machine's clock has surely passed; never for an empty stamp."""
    return bool(stamp) and moment(stamp) + timedelta(seconds=LATE_SECONDS) < now

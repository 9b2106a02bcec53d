"""The API server's clock as its answers tell it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from deepseek_operator.control.clock import ServerClock

NOON = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


class Both:
    """The machine's monotonic clock, and a server's that is exact."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.server = NOON + timedelta(seconds=0.7)
        self.clock = ServerClock(lambda: self.seconds)

    def passes(self, seconds: float) -> None:
        self.seconds += seconds
        self.server += timedelta(seconds=seconds)

    def ask(self, *, there: float = 0.01, back: float = 0.01) -> None:
        asked = self.seconds
        self.passes(there)
        date = format_datetime(self.server.replace(microsecond=0), usegmt=True)
        self.passes(back)
        self.clock.heard(date, asked=asked)

    @property
    def error(self) -> float:
        return (self.clock.now() - self.server).total_seconds()


@pytest.fixture
def both() -> Both:
    return Both()


def test_without_an_answer_it_is_the_machines_own_clock(both: Both) -> None:
    assert abs((both.clock.now() - datetime.now(UTC)).total_seconds()) < 5


def test_after_one_answer_it_is_right_to_a_second_and_goes_on(both: Both) -> None:
    both.ask()
    both.passes(3600)
    assert -1.1 < both.error <= 0


def test_many_answers_make_it_exact(both: Both) -> None:
    for _ in range(40):
        both.ask()
        both.passes(0.33)
    assert abs(both.error) < 0.1


@pytest.mark.parametrize("hours", [-6, 6])
def test_it_follows_a_server_whose_clock_was_set(both: Both, hours: int) -> None:
    both.ask()
    both.server += timedelta(hours=hours)
    both.ask()
    assert abs(both.error) <= 1.1


def test_a_slow_answer_does_not_make_it_worse(both: Both) -> None:
    for _ in range(40):
        both.ask()
        both.passes(0.33)
    both.ask(there=20, back=5)
    assert abs(both.error) < 0.1


@pytest.mark.parametrize("date", [None, "", "today", "Thu, 01 Jan 2026 99:00:00 GMT"])
def test_a_date_that_is_none_changes_nothing(both: Both, date: str | None) -> None:
    both.ask()
    before = both.clock.now()
    both.clock.heard(date, asked=both.seconds)
    assert both.clock.now() == before

"""The only clock. Business time is Asia/Shanghai, storage is UTC; tests and the demo year move it."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

BUSINESS_ZONE = ZoneInfo("Asia/Shanghai")

#: How far the clock of somebody else, such as a phone, may run ahead of ours: what is said to be later than that did not happen.
CLOCK_SKEW = timedelta(minutes=5)


class Clock:
    """The real time."""

    def now(self) -> datetime:
        """The present moment, aware, in UTC."""
        return datetime.now(UTC)


class VirtualClock(Clock):
    """A clock that stands until it is moved, and never goes back."""

    def __init__(self, start: datetime):
        self._now = start.astimezone(UTC)

    def now(self) -> datetime:
        return self._now

    def move_to(self, moment: datetime) -> None:
        self._now = max(self._now, moment.astimezone(UTC))

    def move(self, by: timedelta) -> None:
        self.move_to(self._now + by)


@lru_cache(maxsize=1024)  # one unit of work asks two dozen times for the day of its own moment
def business_date(moment: datetime) -> date:
    """The calendar day of `moment` where the work is done."""
    return moment.astimezone(BUSINESS_ZONE).date()


def to_the_minute(moment: datetime) -> str:
    """A moment as people read it where the work is done: "2026-11-24 20:33"."""
    return moment.astimezone(BUSINESS_ZONE).strftime("%Y-%m-%d %H:%M")

"""Which days are working days, and how sure that is.

Three layers, the later over the earlier: Monday to Friday; the holidays and make-up days that `chinesecalendar` knows (2004 to 2026); overlays from
data/calendars, one year or one local notice each. A year that neither the library nor an overlay covers follows the weekday rule alone and is
provisional, as is a year whose overlay says so.
"""

from __future__ import annotations

import hashlib
import tomllib
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import accumulate
from pathlib import Path
from typing import Any, Self

from chinese_calendar.constants import Holiday, holidays, workdays  # type: ignore[import-untyped]

from kit.clock import BUSINESS_ZONE

#: The days that the tables cover. The library begins in 2004; nothing that runs today is due after 2060.
FIRST, LAST = date(2004, 1, 1), date(2060, 12, 31)
LIBRARY_ENDS = max(holidays).year

WEEKDAY, WEEKEND, HOLIDAY, MAKE_UP = "weekday", "weekend", "holiday", "make-up"

DAY_ENDS = time(23, 59, 59, 999000)


@dataclass(frozen=True, slots=True)
class Day:
    """One day. `kind`: weekday, weekend, holiday or make-up (a weekend day that is worked); `zh`, `en`: the holiday's name."""

    date: date
    kind: str
    provisional: bool
    zh: str = ""
    en: str = ""

    @property
    def working(self) -> bool:
        return self.kind in (WEEKDAY, MAKE_UP)


@dataclass(frozen=True, slots=True)
class Hours:
    effective_from: date
    opens: time
    closes: time


class Calendar:
    """The days of FIRST to LAST. Every question is answered from tables made once."""

    def __init__(self, overlays: tuple[dict[str, Any], ...] = (), hours: tuple[Hours, ...] = (), version: str = ""):
        """`overlays`: parsed files of data/calendars, in the order in which they win."""
        #: Changes whenever any day may have changed: due times computed under another version are to be computed again.
        self.version = version
        self._hours = sorted(hours, key=lambda h: h.effective_from)
        self._special = _library_days()
        provisional = {year: year > LIBRARY_ENDS for year in range(FIRST.year, LAST.year + 1)}
        for overlay in overlays:
            if overlay.get("year"):
                provisional[overlay["year"]] = overlay["provisional"]
            self._special.update(_overlay_days(overlay))
        self._provisional = provisional
        every = [FIRST + timedelta(days=n) for n in range((LAST - FIRST).days + 1)]
        works = [self._works(day) for day in every]
        self._working_days = [day for day, working in zip(every, works, strict=True) if working]
        #: _before[n]: working days among the first n days.
        self._before = list(accumulate(works, initial=0))
        self._provisional_years = sorted(year for year, yes in provisional.items() if yes)

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Reads every *.toml of data/calendars: a file with `year` or holidays is an overlay, one with `hours` gives business hours."""
        overlays, hours = [], []
        digest = hashlib.sha256(f"chinesecalendar {LIBRARY_ENDS} {len(holidays)} {len(workdays)}".encode())
        for path in sorted(directory.glob("*.toml")):
            content = path.read_bytes()
            digest.update(content)
            table = tomllib.loads(content.decode())
            hours += [Hours(h["effective_from"], h["opens"], h["closes"]) for h in table.pop("hours", ())]
            if "holidays" in table or "workdays" in table:
                overlays.append(table)
        return cls(tuple(overlays), tuple(hours), digest.hexdigest()[:16])

    def day(self, day: date) -> Day:
        _check(day)
        provisional = self._provisional[day.year]
        if special := self._special.get(day):
            kind, zh, en = special
            return Day(day, kind, provisional, zh, en)
        return Day(day, WEEKEND if day.weekday() >= 5 else WEEKDAY, provisional)

    def days(self, after: date, until: date) -> Iterator[Day]:
        """The days after `after`, up to and with `until`."""
        return (self.day(after + timedelta(days=n)) for n in range(1, (until - after).days + 1))

    def working(self, day: date) -> bool:
        _check(day)
        n = (day - FIRST).days
        return self._before[n + 1] > self._before[n]

    def next_working_day(self, day: date) -> date:
        """The day itself if it is worked, else the next one that is."""
        _check(day)
        return self._nth(bisect_left(self._working_days, day))

    def add_working_days(self, day: date, count: int) -> date:
        """The count-th working day after `day`, which is not counted itself; 0: the day itself or the next that is worked; negative: before it."""
        _check(day)
        if count > 0:
            return self._nth(bisect_right(self._working_days, day) + count - 1)
        if count == 0:
            return self.next_working_day(day)
        return self._nth(bisect_left(self._working_days, day) + count)

    def working_days_between(self, after: date, until: date) -> int:
        """Working days after `after`, up to and with `until`; negative if `until` is the earlier."""
        _check(after)
        _check(until)
        return self._before[(until - FIRST).days + 1] - self._before[(after - FIRST).days + 1]

    def working_seconds(self, moment: datetime) -> float:
        """Seconds of working days (whole days of 24 hours) from FIRST to the moment: differences of it measure running time."""
        local = moment.astimezone(BUSINESS_ZONE)
        day = local.date()
        _check(day)
        n = (day - FIRST).days
        into = (local.hour * 60 + local.minute) * 60 + local.second + local.microsecond / 1e6
        return self._before[n] * 86400 + (into if self._before[n + 1] > self._before[n] else 0.0)

    def at_working_seconds(self, seconds: float) -> datetime:
        """The latest moment that many working seconds after FIRST; the end of a day is the start of the next working day."""
        n, into = divmod(seconds, 86400)
        return (datetime.combine(self._nth(int(n)), time(), BUSINESS_ZONE) + timedelta(seconds=into)).astimezone(UTC)

    def provisional(self, first: date, last: date) -> bool:
        """Whether any day of the span lies in a year whose arrangement is not settled."""
        n = bisect_left(self._provisional_years, first.year)
        return n < len(self._provisional_years) and self._provisional_years[n] <= last.year

    def day_end(self, day: date, *, business: bool = False) -> datetime:
        """The last moment of a day: 23:59:59.999, or when business stops; aware, UTC."""
        closes = DAY_ENDS
        if business:
            closes = self._business(day).closes
        return datetime.combine(day, closes, BUSINESS_ZONE).astimezone(UTC)

    def after_working_hours(self, moment: datetime, hours: float) -> datetime:
        """The moment so many business hours after another, aware, UTC; hours outside business do not count. 0: the moment itself.

        LookupError where no business hours are set for a day.
        """
        if hours <= 0:
            return moment.astimezone(UTC)
        left, local = timedelta(hours=hours), moment.astimezone(BUSINESS_ZONE)
        day = self.next_working_day(local.date())
        while True:
            business = self._business(day)
            opens = datetime.combine(day, business.opens, BUSINESS_ZONE)
            closes = datetime.combine(day, business.closes, BUSINESS_ZONE)
            begins = max(opens, local)
            if begins + left <= closes:
                return (begins + left).astimezone(UTC)
            left -= max(timedelta(), closes - begins)
            day = self.add_working_days(day, 1)

    def _business(self, day: date) -> Hours:
        at = bisect_right([h.effective_from for h in self._hours], day)
        if at == 0:
            raise LookupError(f"no business hours are set for {day}")
        return self._hours[at - 1]

    def _works(self, day: date) -> bool:
        special = self._special.get(day)
        return special[0] == MAKE_UP if special else day.weekday() < 5

    def _nth(self, index: int) -> date:
        if not 0 <= index < len(self._working_days):
            raise ValueError(f"the calendar covers {FIRST} to {LAST}")
        return self._working_days[index]


def _check(day: date) -> None:
    if not FIRST <= day <= LAST:
        raise ValueError(f"the calendar covers {FIRST} to {LAST}, not {day}")


def _library_days() -> dict[date, tuple[str, str, str]]:
    chinese = {h.value: h.chinese for h in Holiday}
    days = {day: (HOLIDAY, chinese[name], name) for day, name in holidays.items()}
    days.update({day: (MAKE_UP, chinese[name], name) for day, name in workdays.items()})
    return days


def _overlay_days(overlay: dict[str, Any]) -> Iterator[tuple[date, tuple[str, str, str]]]:
    for kind, spans in ((HOLIDAY, overlay.get("holidays", ())), (MAKE_UP, overlay.get("workdays", ()))):
        for span in spans:
            first, last = span["from"], span["until"]
            for n in range((last - first).days + 1):
                yield first + timedelta(days=n), (kind, span["zh"], span["en"])

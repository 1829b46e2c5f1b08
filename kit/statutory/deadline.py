"""When something is due, from facts alone: the rule, the start, the pauses and the extensions.

A due time is never stored as the truth. Whoever keeps one (a column, a timer) computes it again when a fact or the calendar changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Self

from kit.clock import BUSINESS_ZONE, business_date
from kit.statutory import explain
from kit.statutory.calendar import Calendar
from kit.statutory.rules import CALENDAR_DAYS, HOURS, WORKING_DAYS, Bands, Rule, Rules

DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Pause:
    """The clock stands from `begins` to `ends` (the planned end, until it is resumed earlier). Both aware.

    `ground`: why, in Chinese; `ground_en` in English; `source`: the law or rule that allows it, `source_en` the same in English; `zh`, `en`: what
    such a time is called.
    """

    begins: datetime
    ends: datetime
    ground: str
    source: str
    ground_en: str = ""
    source_en: str = ""
    zh: str = "暂停"
    en: str = "standing still"


@dataclass(frozen=True, slots=True)
class Extension:
    """More time, in the unit of the rule. `approver`: the post or account that granted it."""

    amount: int
    approver: str
    ground: str
    source: str = ""
    ground_en: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why something is due when it is due, as people read it."""

    zh: str
    en: str


@dataclass(frozen=True, slots=True)
class Deadline:
    """A due time and the facts that it follows from.

    due_at       the last moment in time, aware, UTC
    last_day     its calendar day where the work is done
    provisional  a day that mattered lies in a year whose holidays are not settled
    counted_to   the day on which the counting itself ended, before a holiday moved it (calendar days), else last_day
    """

    rule: Rule
    start: datetime
    due_at: datetime
    last_day: date
    counted_to: date
    provisional: bool
    pauses: tuple[Pause, ...]
    extensions: tuple[Extension, ...]
    bands: Bands
    calendar: Calendar = field(repr=False, compare=False)

    @property
    def amount(self) -> int:
        """The whole limit in the rule's unit, extensions included."""
        return self.rule.amount + sum(e.amount for e in self.extensions)

    @property
    def explanation(self) -> Explanation:
        return Explanation(explain.chinese(self), explain.english(self))

    def overdue(self, now: datetime) -> bool:
        return now > self.due_at

    def paused(self, now: datetime) -> bool:
        return self.pause(now) is not None

    def pause(self, now: datetime) -> Pause | None:
        """The one in which the clock stands now."""
        return next((p for p in self.pauses if p.begins <= now < p.ends), None)

    def moved_by(self, pause: Pause) -> int:
        """Days, of those that the rule counts, by which a pause moves the end; 0 for a rule of hours."""
        if self.rule.unit == HOURS:
            return 0
        standing = standing_days(self.calendar, self.rule, max(pause.begins, self.start), pause.ends)
        if standing is None or standing[0] > self.counted_to:
            return 0
        before = max(standing[0] - DAY, business_date(self.start))
        if self.rule.unit == WORKING_DAYS:
            return max(0, self.calendar.working_days_between(before, standing[1]))
        return max(0, (standing[1] - before).days)

    def remaining(self, now: datetime) -> float:
        """The share of the limit that is left, 1.0 to 0.0. Pauses do not use it up, nor do days off where working days count."""
        total = self._running(self.due_at)
        return 0.0 if total <= 0 or self.overdue(now) else min(1.0, max(0.0, 1 - self._running(now) / total))

    def colour(self, now: datetime) -> str:
        """green, yellow, orange, red (overdue)."""
        return self.bands.colour(self.remaining(now), self.overdue(now))

    def moment(self, left: float) -> datetime:
        """When the remaining share comes down to `left`: the time of a reminder. Falls on a working day where working days count."""
        start = self._raw(self.start)
        total = self._running(self.due_at) if self.pauses else max(0.0, self._raw(self.due_at) - start)
        raw = start + total * (1 - left)
        for begins, ends in merged(self.pauses, self.start):
            if begins >= self._at(raw):
                break
            raw += self._raw(ends) - self._raw(begins)
        return min(self._at(raw), self.due_at)

    def _running(self, moment: datetime) -> float:
        """Seconds that the clock ran from the start to the moment."""
        if moment <= self.start:
            return 0.0
        ran = self._raw(moment) - self._raw(self.start)
        for begins, ends in merged(self.pauses, self.start):
            if begins < moment:
                ran -= self._raw(min(ends, moment)) - self._raw(begins)
        return ran

    def _raw(self, moment: datetime) -> float:
        return self.calendar.working_seconds(moment) if self.rule.unit == WORKING_DAYS else moment.timestamp()

    def _at(self, raw: float) -> datetime:
        if self.rule.unit == WORKING_DAYS:
            return self.calendar.at_working_seconds(raw)
        return datetime.fromtimestamp(raw, UTC)


class Deadlines:
    """The engine: a calendar and the rules."""

    def __init__(self, calendar: Calendar, rules: Rules):
        self.calendar, self.rules = calendar, rules
        #: Of what neither stood nor was extended, by the calendar: a change asks several times for the limit that it has just set.
        self._plain = lru_cache(maxsize=256)(lambda _calendar, rule, start: self._due(rule, start))

    @classmethod
    def load(cls, data_dir: Path) -> Self:
        """From data/calendars and data/rules. ValueError names the file that is wrong."""
        return cls(Calendar.load(data_dir / "calendars"), Rules.load(data_dir / "rules"))

    def rule(self, name: str, on: date, version: str | None = None) -> Rule:
        """The rule in force on a day; `version`: the one a running matter started with. LookupError if there is none."""
        return self.rules.pick(name, on, version)

    def due(
        self, rule: Rule, start: datetime, pauses: Sequence[Pause] = (), extensions: Sequence[Extension] = ()
    ) -> Deadline:
        """When what started at `start` (aware) is due.

        Days: a day counts when the clock still runs at its end (24:00, or the end of business where the rule says so), so a pause within one
        day costs nothing and a pause over n nights is n days longer. An extension adds to the amount; it does not count from the moved last day.
        """
        return (
            self._due(rule, start, tuple(pauses), tuple(extensions))
            if pauses or extensions
            else self._plain(self.calendar, rule, start)
        )

    def _due(
        self, rule: Rule, start: datetime, pauses: tuple[Pause, ...] = (), extensions: tuple[Extension, ...] = ()
    ) -> Deadline:
        stands = merged(pauses, start)
        amount = rule.amount + sum(e.amount for e in extensions)
        if rule.unit == HOURS:
            due_at = _hours_on(start, amount, stands)
            last = counted_to = business_date(due_at)
            provisional = False
        else:
            counted_to, last = self._last_day(rule, start, amount, stands)
            due_at = cut_off(self.calendar, rule, last)
            first = business_date(start) if rule.unit == WORKING_DAYS else counted_to
            provisional = self.calendar.provisional(first, last)
        bands = self.rules.bands(business_date(start))
        return Deadline(rule, start, due_at, last, counted_to, provisional, pauses, extensions, bands, self.calendar)

    def working_day(self, day: date) -> bool:
        return self.calendar.working(day)

    def next_working_day(self, day: date) -> date:
        """The day itself if it is worked, else the next one that is."""
        return self.calendar.next_working_day(day)

    def add_working_days(self, day: date, count: int) -> date:
        """The count-th working day after a day that is itself not counted."""
        return self.calendar.add_working_days(day, count)

    def days_on(self, moment: datetime, days: int) -> datetime:
        """Midnight after so many working days, that of the moment among them where it is one: a clock that stands until then misses just these."""
        last = self.calendar.add_working_days(business_date(moment) - DAY, days)
        return datetime.combine(last + DAY, time(), BUSINESS_ZONE).astimezone(UTC)

    def days_within(self, begins: datetime, ends: datetime) -> int:
        """Working days whose end lies in this time."""
        return max(0, self.calendar.working_days_between(business_date(begins) - DAY, business_date(ends) - DAY))

    def explain(
        self,
        name: str,
        start: datetime,
        pauses: Sequence[Pause] = (),
        extensions: Sequence[Extension] = (),
        *,
        version: str | None = None,
        language: str = "zh",
    ) -> str:
        """Why a matter under this rule that starts then is due when it is, in one paragraph."""
        deadline = self.due(self.rule(name, business_date(start), version), start, pauses, extensions)
        return deadline.explanation.en if language == "en" else deadline.explanation.zh

    def _last_day(
        self, rule: Rule, start: datetime, amount: int, stands: list[tuple[datetime, datetime]]
    ) -> tuple[date, date]:
        """The day the counting ends on, and the day that is due after holidays moved it."""
        calendar, working = self.calendar, rule.unit == WORKING_DAYS
        base = business_date(start)
        if amount == 0:  # the same day, if its end is still to come
            amount = 1
            base -= DAY if start <= cut_off(calendar, rule, base) else timedelta(0)
        add = calendar.add_working_days if working else lambda day, count: day + count * DAY
        count = calendar.working_days_between if working else lambda after, until: (until - after).days
        standing = [span for pause in stands if (span := standing_days(calendar, rule, *pause))]
        last = add(base, amount)
        for first_day, last_day in standing:
            if first_day > last:
                break
            amount += max(0, count(max(first_day - DAY, base), last_day))
            last = add(base, amount)
        counted_to = last
        if rule.unit == CALENDAR_DAYS:
            last = calendar.next_working_day(last)
            for first_day, last_day in standing:
                if first_day <= last <= last_day:
                    last = calendar.next_working_day(last_day + DAY)
        return counted_to, last


def merged(pauses: Sequence[Pause], start: datetime) -> list[tuple[datetime, datetime]]:
    """The times in which the clock stands after the start, in order, none touching another."""
    spans: list[tuple[datetime, datetime]] = []
    for begins, ends in sorted((max(p.begins, start), p.ends) for p in pauses):
        if ends <= begins:
            continue
        if spans and begins <= spans[-1][1]:
            spans[-1] = spans[-1][0], max(spans[-1][1], ends)
        else:
            spans.append((begins, ends))
    return spans


def standing_days(calendar: Calendar, rule: Rule, begins: datetime, ends: datetime) -> tuple[date, date] | None:
    """The first and the last day at whose end the clock stands, or None."""
    first, last = business_date(begins), business_date(ends)
    if cut_off(calendar, rule, first) < begins:
        first += DAY
    if cut_off(calendar, rule, last) >= ends:
        last -= DAY
    return (first, last) if first <= last else None


def cut_off(calendar: Calendar, rule: Rule, day: date) -> datetime:
    """The moment at which a day of this rule is over."""
    return calendar.day_end(day, business=rule.ends == "business")


def _hours_on(start: datetime, amount: int, stands: list[tuple[datetime, datetime]]) -> datetime:
    due = start.astimezone(UTC) + timedelta(hours=amount)
    for begins, ends in stands:
        if begins >= due:
            break
        due += ends - begins
    return due

"""The organisation: departments, posts and who holds them, staff, absences, the duty roster. Days are those of the business time zone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from uuid import NAMESPACE_URL, UUID, uuid5

from kit.errors import FailedPrecondition, InvalidArgument

CENTRE, DEPARTMENT, TOWNSHIP, COMMUNITY = "centre", "department", "township", "community"

HEAD, DISPATCHER, DIRECTOR = "head", "dispatcher", "director"

DAY = timedelta(days=1)


def department_id(code: str) -> UUID:
    """The id of a department that is shipped or is part of the demo: the same in every installation."""
    return uuid5(NAMESPACE_URL, f"hetao:department:{code}")


@dataclass(frozen=True, slots=True)
class Department:
    """An office. `code`: its division and a word, such as "150802-centre"; `made`: made-up data of the demo."""

    id: UUID
    code: str
    name: str
    name_en: str
    kind: str
    division: str
    parent_id: UUID | None
    active: bool = True
    made: bool = False
    version: int = 1


@dataclass(frozen=True, slots=True)
class Post:
    """A place in a department. `holder` is "" while it is vacant; `holder_since` is the holder's first day."""

    id: UUID
    department_id: UUID
    division: str
    kind: str
    name: str
    holder: str = ""
    holder_since: date | None = None
    active: bool = True
    version: int = 1

    def fill(self, account: str, since: date, today: date) -> Post:
        """Held by `account` from `since` on. Not from a day to come: who holds a post is known for today alone."""
        if not self.active:
            raise FailedPrecondition("POST_GIVEN_UP")
        self._check(since, today)
        if account == self.holder:
            raise FailedPrecondition("POST_HELD_ALREADY", account=account)
        return replace(self, holder=account, holder_since=since)

    def vacate(self, since: date, today: date) -> Post:
        """Vacant from `since` on."""
        if not self.holder:
            raise FailedPrecondition("POST_VACANT")
        self._check(since, today)
        return replace(self, holder="", holder_since=None)

    def _check(self, since: date, today: date) -> None:
        if since > today:
            raise InvalidArgument("DATE_IN_FUTURE", field="from_date")
        if self.holder_since is not None and since < self.holder_since:
            raise InvalidArgument("DATE_BEFORE_HOLDER", field="from_date", since=self.holder_since)


@dataclass(frozen=True, slots=True)
class Holding:
    """That somebody held a post, both days included; `until_date` is None while it lasts."""

    id: UUID
    post_id: UUID
    account: str
    from_date: date
    until_date: date | None = None
    version: int = 1


@dataclass(frozen=True, slots=True)
class Duty:
    """Who is on duty in a post, both days included. Stands before the holder."""

    id: UUID
    post_id: UUID
    department_id: UUID
    account: str
    from_date: date
    until_date: date
    version: int = 1


@dataclass(frozen=True, slots=True)
class Staff:
    """A member of staff. `title`: what he or she is called at work; `division` is that of the home department."""

    id: UUID
    account: str
    name: str
    title: str
    department_id: UUID
    division: str
    title_en: str = ""
    active: bool = True
    version: int = 1


@dataclass(frozen=True, slots=True)
class Leave:
    """That somebody is away, both days included, and who stands in ("" if nobody was named)."""

    id: UUID
    staff_id: UUID
    account: str
    from_date: date
    until_date: date
    substitute: str = ""
    version: int = 1

    def end(self, today: date) -> Leave:
        """Back today: yesterday was the last day. One that had not begun is left without a day."""
        if self.until_date < today:
            raise FailedPrecondition("LEAVE_OVER")
        return replace(self, until_date=max(today, self.from_date) - DAY)

    def covers(self, day: date) -> bool:
        return self.from_date <= day <= self.until_date


def check_leave(
    account: str, first: date, last: date, substitute: str, today: date, longest: timedelta, present: Sequence[Leave]
) -> None:
    """What makes an absence wrong: the past, an end before its beginning, too many days, oneself as substitute, another absence on the same
    days."""
    if first < today:
        raise InvalidArgument("DATE_IN_PAST", field="from_date")
    check_span(first, last, longest)
    if substitute == account:
        raise InvalidArgument("SUBSTITUTE_IS_SELF", field="substitute")
    if any(leave.from_date <= last and first <= leave.until_date for leave in present):
        raise FailedPrecondition("LEAVE_OVERLAPS")


def check_span(first: date, last: date, longest: timedelta) -> None:
    if last < first:
        raise InvalidArgument("DATES_REVERSED", field="until_date")
    if last - first > longest:
        raise InvalidArgument("DATES_TOO_FAR_APART", field="until_date", days=longest.days)


def check_duty(first: date, last: date, longest: timedelta, present: Sequence[Duty]) -> None:
    """What makes a roster entry wrong: an end before its beginning, too many days, days that have somebody already."""
    check_span(first, last, longest)
    if any(duty.from_date <= last and first <= duty.until_date for duty in present):
        raise FailedPrecondition("DUTY_OVERLAPS")

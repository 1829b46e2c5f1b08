"""Outside systems, their keys, and sessions that count no more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from kit.errors import FailedPrecondition, InvalidArgument

#: How far ahead the end of an assertion may lie.
LONGEST_ASSERTION = timedelta(minutes=10)

#: Keys of a system that are not over: one in use, one to change over to, and some to spare.
MOST_KEYS = 5

#: Digits of the codes of a city, a county, a township, a community.
_LENGTHS = (12, 9, 6, 4)


@dataclass(frozen=True, slots=True)
class System:
    """A system outside. `division` is the least one that holds all of its divisions; `quota` in calls per minute, 0 without a limit; `seq`: place
    of its last change among all changes of the register."""

    id: UUID
    account: str
    name: str
    name_en: str
    division: str
    divisions: list[str]
    roles: list[str]
    quota: int
    client_id: str
    client_subject: str
    certificates: list[str]
    enabled: bool
    created_at: datetime
    seq: int
    version: int = 1


@dataclass(frozen=True, slots=True)
class Key:
    """A public key of a system, as JSON Web Key; it counts from `not_before` until before `not_after`."""

    id: UUID
    system_id: UUID
    kid: str
    jwk: str
    not_before: datetime
    not_after: datetime | None = None
    version: int = 1

    def counts(self, now: datetime) -> bool:
        return self.not_before <= now and not self.is_over(now)

    def is_over(self, now: datetime) -> bool:
        return self.not_after is not None and self.not_after <= now

    def retire(self, end: datetime, now: datetime) -> Key:
        """Its end, now or at a moment to come; it may be brought forward, not put off: who thinks that a key has ended must be right."""
        if self.is_over(now):
            raise FailedPrecondition("KEY_OVER", kid=self.kid)
        if self.not_after is not None and end > self.not_after:
            raise InvalidArgument("KEY_END_LATER", field="not_after", end=self.not_after)
        return replace(self, not_after=max(end, now))


@dataclass(frozen=True, slots=True)
class Revocation:
    """Tokens that count no more: those with `mark`, issued before `before` (all of them if None). `until`: when the last of them has expired."""

    id: UUID
    mark: str
    account: str
    before: datetime | None
    until: datetime
    seq: int
    version: int = 1


def common(divisions: Sequence[str]) -> str:
    """The least division that holds all of these; InvalidArgument(DIVISIONS_APART) if there is none."""
    shortest = min(divisions, key=len)
    for length in _LENGTHS:
        head = shortest[:length]
        if len(head) == length and all(code.startswith(head) for code in divisions):
            return head
    raise InvalidArgument("DIVISIONS_APART", field="divisions")


def check_span(begin: datetime, end: datetime | None) -> None:
    if end is not None and end <= begin:
        raise InvalidArgument("DATES_REVERSED", field="not_after")

"""A party of a case, and what it said when it was asked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime
from uuid import UUID

from kit.errors import FailedPrecondition


@dataclass(frozen=True, slots=True)
class Party:
    """Somebody whom the case is about. `identity`: sealed name, number and telephone. `pin`: keyed hash of the PIN on the receipt."""

    id: UUID
    case_id: UUID
    role: str
    type: str
    identity: bytes
    pin: bytes
    contacted: bool = False
    solved: str = ""
    satisfaction: str = ""
    tries: int = 0
    unreachable: bool = False
    asked_at: datetime | None = None
    asked_on: date | None = None
    version: int = 1

    @property
    def settled(self) -> bool:
        """It has answered, or was given up."""
        return self.contacted or self.unreachable

    def answer(self, solved: str, satisfaction: str, at: datetime, today: date) -> Party:
        if self.contacted:
            raise FailedPrecondition("ALREADY_ANSWERED", field="party_id")
        return replace(
            self,
            contacted=True,
            unreachable=False,
            solved=solved,
            satisfaction=satisfaction,
            asked_at=at,
            asked_on=today,
        )

    def not_reached(self, at: datetime, today: date, most: int) -> Party:
        """Tries count once a day; after `most` days it is given up."""
        if self.contacted:
            raise FailedPrecondition("ALREADY_ANSWERED", field="party_id")
        tries = self.tries + (self.asked_on != today)
        return replace(self, tries=tries, unreachable=tries >= most, asked_at=at, asked_on=today)

    def ask_again(self) -> Party:
        """As after a reopening: nothing was asked of the new conclusion."""
        return replace(
            self, contacted=False, solved="", satisfaction="", tries=0, unreachable=False, asked_at=None, asked_on=None
        )


def check_room(present: int, more: int, most: int) -> None:
    """FailedPrecondition(PARTIES_FULL): a case has so many parties at most."""
    if present + more > most:
        raise FailedPrecondition("PARTIES_FULL", most=most)

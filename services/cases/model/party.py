"""A party of a case, and what it said when it was asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from kit.errors import FailedPrecondition

#: Who is content (满意), and who is not.
SATISFIED = ("very_satisfied", "satisfied", "fairly_satisfied")
DISSATISFIED = ("dissatisfied", "very_dissatisfied")


@dataclass(frozen=True, slots=True)
class Party:
    """Somebody whom the case is about.

    identity   sealed name, number and telephone
    pin        keyed hash of the PIN on the receipt
    contacted  it was reached and answered: it belongs to the effective base of the rates (有效回访)
    in_time    whether it says that it was contacted in time when the matter was handled (联系及时)
    tries      days on which it was called in vain; `calls`: vain calls of the last of them, asked_on
    """

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
    in_time: str = ""
    calls: int = 0

    @property
    def settled(self) -> bool:
        """It has answered, or was given up."""
        return self.contacted or self.unreachable

    @property
    def unsolved(self) -> bool:
        return self.solved == "no"

    @property
    def wants_explanation(self) -> bool:
        """Solved, and not content."""
        return self.solved == "yes" and self.satisfaction in DISSATISFIED

    @property
    def next_try_on(self) -> date | None:
        """The day from which a vain call is another try; None: today."""
        return self.asked_on + timedelta(days=1) if self.asked_on and not self.settled else None

    def check_unanswered(self) -> None:
        """FailedPrecondition(ALREADY_ANSWERED)."""
        if self.contacted:
            raise FailedPrecondition("ALREADY_ANSWERED", field="party_id")

    def answer(self, in_time: str, solved: str, satisfaction: str, at: datetime, today: date) -> Party:
        self.check_unanswered()
        return replace(
            self,
            contacted=True,
            unreachable=False,
            in_time=in_time,
            solved=solved,
            satisfaction=satisfaction,
            asked_at=at,
            asked_on=today,
        )

    def not_reached(self, at: datetime, today: date, most: int, most_calls: int) -> Party:
        """Tries count once a day, of at most `most_calls` calls; after `most` days it is given up.

        FailedPrecondition: ALREADY_ANSWERED, GIVEN_UP, TRY_ANOTHER_DAY.
        """
        self.check_unanswered()
        if self.unreachable:
            raise FailedPrecondition("GIVEN_UP", field="party_id", tries=self.tries)
        same_day = self.asked_on == today
        if same_day and self.calls >= most_calls:
            raise FailedPrecondition("TRY_ANOTHER_DAY", field="party_id", calls=self.calls, day=self.next_try_on)
        tries, calls = (self.tries, self.calls + 1) if same_day else (self.tries + 1, 1)
        return replace(self, tries=tries, calls=calls, unreachable=tries >= most, asked_at=at, asked_on=today)

    def ask_again(self) -> Party:
        """As after a reopening: nothing was asked of the new conclusion."""
        return replace(
            self,
            contacted=False,
            in_time="",
            solved="",
            satisfaction="",
            tries=0,
            calls=0,
            unreachable=False,
            asked_at=None,
            asked_on=None,
        )


class Asked(NamedTuple):
    """What the parties of a conclusion said, counted: what the three rates (响应率、解决率、满意率) are made of.

    The base of the solution rate is `effective`: who was given up stands outside it. Of the other two it is who said something to the question.
    """

    parties: int = 0
    settled: int = 0
    effective: int = 0
    said_in_time: int = 0
    in_time: int = 0
    solved: int = 0
    said_satisfaction: int = 0
    satisfied: int = 0

    @classmethod
    def of(cls, parties: Sequence[Party]) -> Asked:
        return cls(
            len(parties),
            sum(party.settled for party in parties),
            sum(party.contacted for party in parties),
            sum(party.in_time != "" for party in parties),
            sum(party.in_time == "yes" for party in parties),
            sum(party.solved == "yes" for party in parties),
            sum(party.satisfaction != "" for party in parties),
            sum(party.satisfaction in SATISFIED for party in parties),
        )


def check_room(present: int, more: int, most: int) -> None:
    """FailedPrecondition(PARTIES_FULL): a case has so many parties at most."""
    if present + more > most:
        raise FailedPrecondition("PARTIES_FULL", most=most)

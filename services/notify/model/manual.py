"""Telling a party by hand: what a clerk may do, and what it takes to have done it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID

from kit.clock import business_date
from kit.errors import FailedPrecondition, InvalidArgument
from kit.moves import Moves
from kit.statutory import Calendar
from services.notify.model.rules import ManualRules

WAITING, TAKEN, COMPLETED, UNDELIVERED = "waiting", "taken", "completed", "undelivered"

#: Still to be done.
OPEN = (WAITING, TAKEN)

MANUAL_MOVES = Moves(
    (WAITING, "take", TAKEN),
    (TAKEN, "take over", TAKEN),
    (TAKEN, "complete", COMPLETED),
    (TAKEN, "try again", WAITING),
    (TAKEN, "end", UNDELIVERED),  # every try was in vain
    about="manual",
)


@dataclass(frozen=True, slots=True)
class Proof:
    """That a party was told, and how. `manner`: called, handed_over, posted, left_with_adult."""

    manner: str
    made_at: datetime
    note: str = ""
    media_ids: Sequence[str] = ()
    tracking_number: str = ""

    def check(self, wanted: Sequence[str]) -> None:
        """InvalidArgument(PROOF_MISSING) at the first field that this manner must be proved with. `wanted`: fields of a proof."""
        for name in wanted:
            given = getattr(self, name)
            if not (given.strip() if isinstance(given, str) else given):
                raise InvalidArgument("PROOF_MISSING", field=name, manner=self.manner)


@dataclass(frozen=True, slots=True)
class ManualDelivery:
    """A clerk's work item. `way`: of the next try; `overdue_at`: when the director was told that it is late; `reason`: of the last try in vain."""

    id: UUID
    intent: UUID
    template: str
    code: str
    subject: str
    case_id: UUID
    party_id: UUID
    party_role: str
    centre: UUID
    division: str
    restricted: bool
    urgency: str
    way: str
    state: str
    created_at: datetime
    due_at: datetime
    overdue_at: datetime | None = None
    tries: int = 0
    taken_by: str = ""
    taken_at: datetime | None = None
    completed_at: datetime | None = None
    reason: str = ""
    version: int = 1

    @property
    def open(self) -> bool:
        return self.state in OPEN

    def take(self, account: str, now: datetime, *, over: bool) -> ManualDelivery:
        """`over`: whether the caller may take over what somebody else has. FailedPrecondition(MANUAL_TAKEN)."""
        if self.state != TAKEN:
            return MANUAL_MOVES.apply(self, "take", taken_by=account, taken_at=now)
        if not over:
            raise FailedPrecondition("MANUAL_TAKEN", account=self.taken_by)
        return MANUAL_MOVES.apply(self, "take over", taken_by=account, taken_at=now)

    def complete(self, account: str, proof: Proof, rules: ManualRules) -> ManualDelivery:
        """InvalidArgument(PROOF_MISSING | TIME_IN_FUTURE | PROOF_TOO_EARLY), FailedPrecondition(MANUAL_TAKEN | MOVE_NOT_ALLOWED)."""
        done = MANUAL_MOVES.apply(self, "complete", tries=self.tries + 1, completed_at=proof.made_at, reason="")
        self._mine(account)
        proof.check(rules.proof.get(proof.manner, ()))
        # On the day itself it may have been said at the counter before it was written down.
        if business_date(proof.made_at) < business_date(self.created_at):
            raise InvalidArgument("PROOF_TOO_EARLY", field="made_at")
        return done

    def fail(
        self, account: str, reason: str, next_way: str, now: datetime, rules: ManualRules, calendar: Calendar
    ) -> ManualDelivery:
        """After a try in vain: another one in the same or another way, or the end of it."""
        action = "try again" if self.tries + 1 < rules.tries else "end"
        tried = MANUAL_MOVES.apply(self, action, tries=self.tries + 1, reason=reason, taken_by="", taken_at=None)
        self._mine(account)
        if not tried.open:
            return tried
        due = rules.due_again(now, calendar)
        return replace(tried, way=next_way or self.way, due_at=max(due, self.due_at))

    def late(self, now: datetime) -> ManualDelivery:
        return replace(self, overdue_at=now)

    def _mine(self, account: str) -> None:
        if self.taken_by != account:
            raise FailedPrecondition("MANUAL_TAKEN", account=self.taken_by)


@dataclass(frozen=True, slots=True)
class ManualTry:
    """One try. `note` is sealed; `manner` of one that succeeded, `reason` of one in vain."""

    id: UUID
    delivery_id: UUID
    number: int
    made_by: str
    made_at: datetime
    recorded_at: datetime
    way: str
    manner: str
    reason: str
    note: bytes | None
    media_ids: list[str] = field(default_factory=list)
    tracking_number: str = ""
    version: int = 1

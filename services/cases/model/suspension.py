"""A suspension (挂起) of a case: asked for on a ground, decided by somebody else, ended by itself or earlier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from kit.errors import FailedPrecondition, InvalidArgument
from services.cases.model.limit import Stand
from services.cases.model.states import SUSPENSION_MOVES


@dataclass(frozen=True, slots=True)
class Suspension:
    """`days`: working days that were asked for. `begins` and `ends`: when the clocks stood, as planned and in the end as it was."""

    id: UUID
    case_id: UUID
    state: str
    ground: str
    days: int
    note: bytes | None
    media_ids: Sequence[str]
    requested_by: str
    requested_at: datetime
    decided_by: str = ""
    decided_at: datetime | None = None
    decision_note: bytes | None = None
    begins: datetime | None = None
    ends: datetime | None = None
    ended_by: str = ""
    version: int = 1

    @property
    def stand(self) -> Stand | None:
        return Stand(self.begins, self.ends, self.ground) if self.begins and self.ends else None

    def approve(self, by: str, at: datetime, ends: datetime, note: bytes | None) -> Suspension:
        return SUSPENSION_MOVES.apply(
            self, "approve suspension", decided_by=by, decided_at=at, decision_note=note, begins=at, ends=ends
        )

    def refuse(self, by: str, at: datetime, note: bytes | None) -> Suspension:
        return SUSPENSION_MOVES.apply(self, "refuse suspension", decided_by=by, decided_at=at, decision_note=note)

    def end(self, action: str, by: str, at: datetime) -> Suspension:
        """`action`: "resume" or "conclude". What ends late has stood until its planned end and no longer."""
        if self.ends is None:
            return SUSPENSION_MOVES.apply(self, action, ended_by=by)
        return SUSPENSION_MOVES.apply(self, action, ended_by=by, ends=min(at, self.ends))


@dataclass(frozen=True, slots=True)
class Allowance:
    """How much a case may stand: by the ground at once, in all, and how often. Working days."""

    ground_days: int
    days: int
    times: int

    def check(self, asked: int, used: int, times: int) -> None:
        """InvalidArgument(SUSPENSION_TOO_LONG) beyond the ground's most; FailedPrecondition SUSPENSIONS_USED_UP, SUSPENSION_DAYS_USED_UP with what is left."""
        if times >= self.times:
            raise FailedPrecondition("SUSPENSIONS_USED_UP", most=self.times)
        if asked > self.ground_days:
            raise InvalidArgument("SUSPENSION_TOO_LONG", field="days", most=self.ground_days)
        if used + asked > self.days:
            raise FailedPrecondition(
                "SUSPENSION_DAYS_USED_UP", field="days", most=self.days, used=used, left=max(0, self.days - used)
            )

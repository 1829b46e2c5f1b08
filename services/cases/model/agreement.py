"""What the parties agreed on, and whether it is performed: the centre supervises that (人民调解法第三十一条)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from uuid import UUID

from kit.errors import FailedPrecondition, InvalidArgument
from kit.moves import Moves

NOT_DUE, PERFORMED, PARTLY_PERFORMED, IN_DEFAULT = "not_due", "performed", "partly_performed", "in_default"

#: Nothing is wrong and something is still to be done.
UNPERFORMED = (NOT_DUE, PARTLY_PERFORMED)

PERFORMANCE_MOVES = Moves(
    (NOT_DUE, "record performed", PERFORMED),
    (NOT_DUE, "record partly performed", PARTLY_PERFORMED),
    (NOT_DUE, "record in default", IN_DEFAULT),
    (PARTLY_PERFORMED, "record performed", PERFORMED),
    (PARTLY_PERFORMED, "record partly performed", PARTLY_PERFORMED),
    (PARTLY_PERFORMED, "record in default", IN_DEFAULT),
    (IN_DEFAULT, "record performed", PERFORMED),
    (IN_DEFAULT, "record partly performed", PARTLY_PERFORMED),
    (PERFORMED, "record in default", IN_DEFAULT),  # found later
    about="performance",
)


@dataclass(frozen=True, slots=True)
class Agreement:
    """An agreement of a conclusion. A reopened case keeps it, and has another with its next conclusion.

    form         "written" or "oral"
    terms, note  sealed: what was agreed, and what was found of its performance
    perform_by   the date of performance, or of the rest; None: it was performed on the spot
    """

    id: UUID
    case_id: UUID
    form: str
    terms: bytes
    agreed_at: datetime
    perform_by: date | None
    state: str
    recorded_by: str = ""
    recorded_at: datetime | None = None
    note: bytes | None = None
    media_ids: Sequence[str] = ()
    version: int = 1

    def record(
        self,
        state: str,
        rest_by: date | None,
        note: bytes | None,
        media_ids: Sequence[str],
        by: str,
        at: datetime,
        today: date,
    ) -> Agreement:
        """What was found. `rest_by`: until when the rest is to be done, with a part alone.

        FailedPrecondition: MOVE_NOT_ALLOWED for what is recorded already, PERFORMANCE_NOT_DUE for a default before its date is over.
        """
        recorded = PERFORMANCE_MOVES.apply(
            self,
            f"record {state.replace('_', ' ')}",
            perform_by=rest_by or self.perform_by,
            recorded_by=by,
            recorded_at=at,
            note=note,
            media_ids=media_ids,
        )
        if (state == PARTLY_PERFORMED) != (rest_by is not None):
            raise InvalidArgument("REST_BY_MISSING" if rest_by is None else "REST_BY_WITHOUT_REST", field="perform_by")
        if state == IN_DEFAULT and self.perform_by and today <= self.perform_by:
            raise FailedPrecondition("PERFORMANCE_NOT_DUE", due=self.perform_by)
        return recorded


def check_performance_day(day: date, today: date, most_days: int, field: str) -> None:
    """InvalidArgument(PERFORM_BY_RANGE) for a date of performance that is over, or further away than any is."""
    if not today <= day <= today + timedelta(days=most_days):
        raise InvalidArgument("PERFORM_BY_RANGE", field=field, days=most_days)

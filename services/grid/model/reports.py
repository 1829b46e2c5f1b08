"""What people in the grids report, from the first sight to the end. No I/O, no clock, no protobuf.

A report ends in one of four ways: solved on the spot, invalid, merged into another, or handed over to somebody who ends it. It closes when whoever
reported it knows: at once where that is the same person, otherwise when she acknowledges it or some days have passed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from kit.clock import BUSINESS_ZONE, CLOCK_SKEW
from kit.errors import FailedPrecondition, InvalidArgument, PermissionDenied
from kit.moves import Moves
from services.grid.model.divisions import Ancestors
from services.grid.model.points import Point

SUBMITTED, VERIFIED, HANDLING = "submitted", "verified", "handling"
SOLVED, HANDED_OVER, INVALID, MERGED, CLOSED = "solved", "handed_over", "invalid", "merged", "closed"

OPEN = (SUBMITTED, VERIFIED, HANDLING, HANDED_OVER)

MOVES = Moves(
    (SUBMITTED, "verify", VERIFIED),
    (SUBMITTED, "invalidate", INVALID),
    (VERIFIED, "invalidate", INVALID),
    (HANDLING, "invalidate", INVALID),
    (SUBMITTED, "merge", MERGED),
    (VERIFIED, "merge", MERGED),
    (HANDLING, "merge", MERGED),
    (VERIFIED, "handle", HANDLING),
    (HANDLING, "solve", SOLVED),
    (HANDLING, "hand over", HANDED_OVER),
    (HANDED_OVER, "take over", HANDLING),  # another grid or the community goes on with it
    (HANDED_OVER, "give back", HANDLING),  # refused, or not answered in time
    (SOLVED, "close", CLOSED),
    (HANDED_OVER, "close", CLOSED),
    (INVALID, "close", CLOSED),
    (MERGED, "close", CLOSED),
    about="report",
)

BEFORE, AFTER = "before", "after"

TO_COMMUNITY, TO_CENTRE, TO_GRID, TO_EMERGENCY = "community", "centre", "grid", "emergency"
OFFERED, ACCEPTED, REFUSED, LAPSED = "offered", "accepted", "refused", "lapsed"

#: Most photos of one report.
MOST_PHOTOS = 40


@dataclass(frozen=True, slots=True)
class Photo:
    """A photo of a report. `media_id`: SHA-256 of its content; `phase`: before or after it was dealt with."""

    id: UUID
    report_id: UUID
    media_id: str
    phase: str
    captured_at: datetime | None
    added_by: str
    added_at: datetime
    version: int = 1


@dataclass(frozen=True, slots=True)
class Handover:
    """An offer of a report to somebody who can do more, and the answer. `note` and `answer_reason` are sealed.

    `due_at`: when the answer is due; None for an emergency number, which answers by telephone. `rule_version`: of the limit it follows.
    `case_*`: what became of it at a centre, as last heard. `answer_ground`, its words and `answer_channel`: why a centre did not accept it, and
    the right channel that it named.
    """

    id: UUID
    report_id: UUID
    target: str
    department_id: UUID | None
    grid_id: UUID | None
    grid_code: str
    emergency_number: str
    reason: str
    note: bytes
    state: str
    handed_by: str
    handed_at: datetime
    due_at: datetime | None
    rule_version: str
    overdue: bool = False
    answered_by: str = ""
    answered_at: datetime | None = None
    answer_reason: bytes = b""
    case_id: UUID | None = None
    case_code: str = ""
    case_state: str = ""
    case_outcome: str = ""
    case_epoch: int = 0
    case_version: int = 0
    answer_ground: str = ""
    answer_ground_zh: str = ""
    answer_ground_en: str = ""
    answer_channel: str = ""
    version: int = 1

    def check_offered(self) -> None:
        """FailedPrecondition(HANDOVER_ANSWERED) once somebody has answered."""
        if self.state != OFFERED:
            raise FailedPrecondition("HANDOVER_ANSWERED", about="handover", state=self.state)

    def answer(self, state: str, by: str, at: datetime, reason: bytes = b"") -> Handover:
        self.check_offered()
        return replace(self, state=state, answered_by=by, answered_at=at, answer_reason=reason)

    def newer(self, epoch: int, version: int) -> bool:
        """Whether this state of the case is newer than what is known."""
        return (epoch, version) > (self.case_epoch, self.case_version)


@dataclass(frozen=True, slots=True)
class Report:
    """A problem that somebody saw. `content` is sealed: title, description, place in words, why it comes late; `result` is sealed too.

    division      the finest that is known: community, township or county; county, township and community are its ancestors
    grid_id       the grid that deals with it, `department_id` the community that does where no grid is known or it took the report over
    outside       the place lies outside the reporter's own grids
    occurred_at   when it happened; captured_at: when the phone recorded it; received_at: when the platform had it
    handover_id   the last hand-over; sender: who made it; offered_to: the division of who is to answer, while nobody has
    follows       one of the same reporter, place and kind that had ended when this one came
    """

    id: UUID
    kind: str
    level: str
    state: str
    content: bytes
    lat: float | None
    lon: float | None
    division: str
    county: str
    township: str
    community: str
    grid_id: UUID | None
    grid_code: str
    department_id: UUID | None
    reporter: str
    outside: bool
    occurred_at: datetime
    captured_at: datetime
    received_at: datetime
    outcome: str = ""
    handler: str = ""
    verified_at: datetime | None = None
    solved_at: datetime | None = None
    closed_at: datetime | None = None
    result: bytes = b""
    merged_into: UUID | None = None
    handover_id: UUID | None = None
    offered_to: str = ""
    sender: str = ""
    follows: UUID | None = None
    version: int = 1

    @property
    def code(self) -> str:
        """What people read and say: county, day, and the end of the id."""
        return f"{self.county}-{self.received_at.astimezone(BUSINESS_ZONE):%y%m%d}-{self.id.hex[-8:].upper()}"

    @property
    def point(self) -> Point | None:
        return None if self.lat is None or self.lon is None else Point(self.lat, self.lon)

    @property
    def open(self) -> bool:
        return self.state in OPEN

    def check_open(self) -> None:
        if not self.open:
            raise FailedPrecondition("REPORT_ENDED", about="report", state=self.state)

    def check_handed_over(self) -> None:
        if self.state != HANDED_OVER:
            raise FailedPrecondition("NOT_HANDED_OVER")

    def check_offered(self, handover: Handover | None) -> None:
        """Whether its receiver may still answer: FailedPrecondition(NOT_HANDED_OVER | HANDOVER_ANSWERED)."""
        self.check_handed_over()
        if handover is not None:
            handover.check_offered()

    def check_close(self, by: str, handover: Handover | None, responsible: bool) -> None:
        """Who closes it: whoever reported it, once it is solved or invalid; whoever is responsible, where it went to an emergency number; otherwise it
        closes with the answer or with what it was merged into. FailedPrecondition, PermissionDenied."""
        if self.state == HANDED_OVER:
            if handover is not None and handover.target != TO_EMERGENCY:
                raise FailedPrecondition("CLOSES_WITH_ANSWER")
            if not responsible:
                raise PermissionDenied("REPORT_OF_OTHERS")
        if self.state == MERGED:
            raise FailedPrecondition("CLOSES_WITH_MAIN")
        if self.state in (SOLVED, INVALID) and self.reporter != by:
            raise PermissionDenied("REPORT_OF_OTHERS")

    def verify(self, by: str, at: datetime, level: str) -> Report:
        return MOVES.apply(self, "verify", verified_at=at, handler=by, level=level or self.level)

    def handle(self, by: str) -> Report:
        return MOVES.apply(self, "handle", handler=by)

    def in_hand(self, by: str) -> Report:
        """Being dealt with: what is solved or handed over straight after it was verified passes through handling."""
        return self.handle(by) if self.state == VERIFIED else self

    def solve(self, by: str, at: datetime, result: bytes, photos: Sequence[Photo]) -> Report:
        missing = [phase for phase in (BEFORE, AFTER) if not any(p.phase == phase for p in photos)]
        if missing:
            raise FailedPrecondition("PHOTO_MISSING", field="photos", phase=missing[0])
        return MOVES.apply(self, "solve", handler=by, solved_at=at, result=result, outcome="solved")

    def invalidate(self, by: str, reason: bytes) -> Report:
        return MOVES.apply(self, "invalidate", handler=by, result=reason, outcome="invalid")

    def merge(self, into: Report, at: datetime) -> Report:
        """The same problem as another report of the county. Closes with it, at once where that one is closed already."""
        if into.id == self.id:
            raise InvalidArgument("MERGE_INTO_ITSELF", field="into")
        if into.merged_into is not None or into.outcome == "invalid" or into.county != self.county:
            raise FailedPrecondition("MERGE_TARGET", field="into")
        merged = MOVES.apply(self, "merge", merged_into=into.id, outcome="merged")
        return merged.close(at) if into.state == CLOSED else merged

    def hand_over(self, by: str, handover_id: UUID, offered_to: str) -> Report:
        """`offered_to`: the division of the community or grid that is to answer; "" for a centre or an emergency number."""
        return MOVES.apply(self, "hand over", handler=by, sender=by, handover_id=handover_id, offered_to=offered_to)

    def take_over(self, by: str, grid: tuple[UUID, str] | None, department_id: UUID | None) -> Report:
        """Another grid (id and code) or the community goes on with it. With another grid it moves to that grid's community."""
        if grid is None:
            return MOVES.apply(self, "take over", handler=by, department_id=department_id, offered_to="")
        at = Ancestors.of(grid[1])
        return MOVES.apply(
            self, "take over", handler=by, grid_id=grid[0], grid_code=grid[1], department_id=None, division=at.community,
            county=at.county, township=at.township, community=at.community, offered_to="",
        )  # fmt: skip

    def give_back(self) -> Report:
        return MOVES.apply(self, "give back", offered_to="")

    def close(self, at: datetime, *, outcome: str = "", result: bytes | None = None) -> Report:
        kept = self.result if result is None else result
        return MOVES.apply(self, "close", closed_at=at, outcome=outcome or self.outcome, result=kept)


def check_times(occurred: datetime, captured: datetime, now: datetime, past: timedelta, late_reason: str) -> None:
    """Nothing comes from the future, nothing was recorded before it happened, and what is old says why it comes so late."""
    for name, moment in (("captured_at", captured), ("occurred_at", occurred)):
        if moment > now + CLOCK_SKEW:
            raise InvalidArgument("TIME_IN_FUTURE", field=name)
    if occurred > captured + CLOCK_SKEW:
        raise InvalidArgument("OCCURRED_AFTER_CAPTURED", field="occurred_at")
    if occurred < now - past and not late_reason:
        raise InvalidArgument("LATE_REASON_MISSING", field="late_reason", hours=int(past.total_seconds() // 3600))


def same_place(one: Point | None, one_words: str, other: Point | None, other_words: str, metres: float) -> bool:
    """Points decide where both are known, which may lie so many metres apart; otherwise the same words do, and no words are no place."""
    if one is not None and other is not None:
        return one.metres_to(other) <= metres
    return _plain(one_words) == _plain(other_words) != ""


def _plain(words: str) -> str:
    return "".join(character for character in words.lower() if character.isalnum())

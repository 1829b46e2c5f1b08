"""What may happen to a case, its tasks and its parties. No I/O, no clock, no protobuf.

The centre owns the procedure, the departments the substance: a department answers a task, and only the centre ends a case.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any
from uuid import UUID

from kit.errors import FailedPrecondition, InvalidArgument
from kit.moves import Moves
from kit.statutory import Deadline
from services.cases.words import Category, Kind, Outcome

# -- the case's state machine -------------------------------------------------------------------------------------------------

REGISTERED, NOT_ACCEPTED, TRANSFERRED, ACCEPTED = "registered", "not_accepted", "transferred", "accepted"
HANDLING, RESULT_SUBMITTED, CENTRE_REVIEW, FOLLOW_UP, CLOSED = (
    "handling",
    "result_submitted",
    "centre_review",
    "follow_up",
    "closed",
)

CASE_MOVES = Moves(
    (REGISTERED, "accept", ACCEPTED),
    (REGISTERED, "refuse", NOT_ACCEPTED),
    (REGISTERED, "transfer", TRANSFERRED),
    (ACCEPTED, "dispatch", HANDLING),
    (HANDLING, "dispatch", HANDLING),
    (HANDLING, "submit result", RESULT_SUBMITTED),
    (RESULT_SUBMITTED, "approve", CENTRE_REVIEW),
    (RESULT_SUBMITTED, "send back", HANDLING),
    (CENTRE_REVIEW, "send back", HANDLING),
    (ACCEPTED, "conclude", FOLLOW_UP),
    (HANDLING, "conclude", FOLLOW_UP),
    (CENTRE_REVIEW, "conclude", FOLLOW_UP),
    (FOLLOW_UP, "follow up", FOLLOW_UP),
    (FOLLOW_UP, "close", CLOSED),
    (FOLLOW_UP, "reopen", HANDLING),
)


#: The clock of the case runs: of the decision on acceptance, then of the handling.
RUNNING = (REGISTERED, ACCEPTED, HANDLING, RESULT_SUBMITTED, CENTRE_REVIEW)

# -- a task's -------------------------------------------------------------------------------------------------------------------

DISPATCHED, SIGNED_IN, REWORK = "dispatched", "signed_in", "rework"

TASK_MOVES = Moves(
    (DISPATCHED, "sign in", SIGNED_IN),
    (SIGNED_IN, "start", HANDLING),
    (REWORK, "start", HANDLING),
    (SIGNED_IN, "submit", RESULT_SUBMITTED),
    (HANDLING, "submit", RESULT_SUBMITTED),
    (REWORK, "submit", RESULT_SUBMITTED),
    (RESULT_SUBMITTED, "accept", ACCEPTED),
    (RESULT_SUBMITTED, "send back", REWORK),
    (ACCEPTED, "send back", REWORK),
    (HANDLING, "conclude", ACCEPTED),  # a desk of the centre: its task ends with the case's conclusion
    (REWORK, "conclude", ACCEPTED),
)

#: What the clocks have told: nobody, those who work on it, their superior, and the superior's superior.
NOBODY, REMINDED, SUPERIOR, DIRECTOR = 0, 1, 2, 3


@dataclass(frozen=True, slots=True)
class Limit:
    """A due time with the facts that it follows from. `due_at` is a cache of them."""

    rule: str
    version: str
    amount: int
    start: datetime
    due_at: datetime

    @classmethod
    def of(cls, deadline: Deadline) -> Limit:
        return cls(deadline.rule.name, deadline.rule.version, deadline.rule.amount, deadline.start, deadline.due_at)

    def columns(self) -> dict[str, Any]:
        """As the columns of a row, which a new limit resets: nobody was told of this one yet."""
        return {
            "limit_rule": self.rule,
            "limit_version": self.version,
            "limit_amount": self.amount,
            "limit_from": self.start,
            "due_at": self.due_at,
            "told": NOBODY,
        }


@dataclass(frozen=True, slots=True)
class Classification:
    """What a case was found to be. Empty texts: not said; `restricted` None: as the category says."""

    category: str = ""
    scale: str = ""
    risk: str = ""
    complexity: str = ""
    restricted: bool | None = None


@dataclass(frozen=True, slots=True)
class CaseFile:
    """A case.

    content      sealed title, description and place
    round        how many limits it has had: a notice is sent once per limit
    reporter     account of the grid worker whose report it came from
    departments  ids of the departments that were given a task, so that a row alone says whom it concerns
    """

    id: UUID
    code: str
    kind: str
    source: str
    state: str
    division: str
    county: str
    township: str
    community: str
    centre: str
    content: bytes
    registered_by: str
    registered_at: datetime
    limit_rule: str
    limit_version: str
    limit_amount: int
    limit_from: datetime
    due_at: datetime
    category: str = ""
    scale: str = ""
    risk: str = ""
    complexity: str = ""
    restricted: bool = False
    media_ids: Sequence[str] = ()
    occurred_at: datetime | None = None
    told: int = NOBODY
    round: int = 1
    accepted_at: datetime | None = None
    overdue_since: datetime | None = None
    ground: str = ""
    channel: str = ""
    transferred_to: str = ""
    outcome: str = ""
    outcome_version: str = ""
    outcome_note: bytes | None = None
    counts_concluded: bool = False
    counts_resolved: bool = False
    concluded_at: datetime | None = None
    resolved_at: datetime | None = None
    closed_at: datetime | None = None
    reopened_at: datetime | None = None
    reopened_count: int = 0
    report_id: UUID | None = None
    handover_id: UUID | None = None
    reporter: str = ""
    departments: Sequence[str] = ()
    version: int = 1

    @property
    def running(self) -> bool:
        return self.state in RUNNING

    # -- front --

    def accept(self, at: datetime, limit: Limit) -> CaseFile:
        return CASE_MOVES.apply(self, "accept", accepted_at=at, **limit.columns())

    def refuse(self, ground: str, channel: str, at: datetime) -> CaseFile:
        return CASE_MOVES.apply(self, "refuse", ground=ground, channel=channel, closed_at=at)

    def transfer(self, number: str, at: datetime) -> CaseFile:
        return CASE_MOVES.apply(self, "transfer", transferred_to=number, closed_at=at)

    def classify(self, said: Classification, category: Category | None) -> CaseFile:
        """What was said replaces what was known. `category`: the entry of the category said, if one was."""
        if not self.running:
            raise FailedPrecondition("MOVE_NOT_ALLOWED", state=self.state, action="classify")
        restricted = said.restricted
        if restricted is None:
            restricted = self.restricted or (category is not None and category.restricted)
        return replace(
            self,
            category=said.category or self.category,
            scale=said.scale or self.scale,
            risk=said.risk or self.risk,
            complexity=said.complexity or self.complexity,
            restricted=restricted,
        )

    def relimited(self, limit: Limit) -> CaseFile:
        """Another limit for the same work, because it was classified anew."""
        return replace(self, round=self.round + 1, **limit.columns())

    # -- handling --

    def dispatch(self, kind: Kind, departments: Sequence[str]) -> CaseFile:
        dispatched = CASE_MOVES.apply(self, "dispatch", departments=sorted({*self.departments, *departments}))
        if kind.classified and not self.category:
            raise FailedPrecondition("NOT_CLASSIFIED")
        return dispatched

    def submit_result(self) -> CaseFile:
        return CASE_MOVES.apply(self, "submit result")

    def approve(self) -> CaseFile:
        return CASE_MOVES.apply(self, "approve")

    def send_back(self) -> CaseFile:
        return CASE_MOVES.apply(self, "send back")

    # -- conclusion and after --

    def conclude(
        self, outcome: Outcome, note: bytes | None, at: datetime, kind: Kind, tasks: Sequence[Task], parties: int
    ) -> CaseFile:
        """FailedPrecondition: TASKS_OPEN while a department works, PARTIES_MISSING for a dispute with less than two."""
        concluded = CASE_MOVES.apply(
            self,
            "conclude",
            outcome=outcome.code,
            outcome_version=outcome.version,
            outcome_note=note,
            counts_concluded=outcome.counts_concluded,
            counts_resolved=outcome.counts_resolved,
            concluded_at=at,
            resolved_at=at if outcome.counts_resolved else None,
        )
        if waiting := [task for task in tasks if not task.desk and task.state != ACCEPTED]:
            raise FailedPrecondition("TASKS_OPEN", count=len(waiting))
        if kind.classified and not self.category:
            raise FailedPrecondition("NOT_CLASSIFIED")
        if parties < kind.parties:
            raise FailedPrecondition("PARTIES_MISSING", needed=kind.parties, present=parties)
        return concluded

    def follow_up(self) -> CaseFile:
        return CASE_MOVES.apply(self, "follow up")

    def close(self, at: datetime) -> CaseFile:
        return CASE_MOVES.apply(self, "close", closed_at=at)

    def reopen(self, at: datetime, limit: Limit) -> CaseFile:
        """Open again: neither concluded nor resolved until it is so again."""
        return CASE_MOVES.apply(
            self,
            "reopen",
            outcome="",
            outcome_version="",
            outcome_note=None,
            counts_concluded=False,
            counts_resolved=False,
            concluded_at=None,
            resolved_at=None,
            reopened_at=at,
            reopened_count=self.reopened_count + 1,
            round=self.round + 1,
            **limit.columns(),
        )

    def tell(self, step: int, at: datetime) -> CaseFile:
        """The clock's next step was told. Past its handling limit the case is overdue, from the limit on."""
        late = step >= SUPERIOR and self.accepted_at is not None
        return replace(self, told=step, overdue_since=self.overdue_since or self.due_at if late else self.overdue_since)


@dataclass(frozen=True, slots=True)
class Task:
    """A department's part of a case, or a desk's. `department`: a department id; the centre's own for a desk."""

    id: UUID
    case_id: UUID
    centre: str
    department: str
    department_name: str
    desk: str
    lead: bool
    state: str
    dispatched_at: datetime
    limit_rule: str
    limit_version: str
    limit_amount: int
    limit_from: datetime
    due_at: datetime
    demand: bytes | None = None
    result: bytes | None = None
    media_ids: Sequence[str] = ()
    told: int = NOBODY
    round: int = 1
    signed_in_at: datetime | None = None
    signed_in_by: str = ""
    submitted_at: datetime | None = None
    accepted_at: datetime | None = None
    overdue_since: datetime | None = None
    rework_count: int = 0
    version: int = 1

    @property
    def answered(self) -> bool:
        return self.state in (RESULT_SUBMITTED, ACCEPTED)

    @property
    def waits_for_department(self) -> bool:
        return not self.desk and not self.answered

    def sign_in(self, account: str, at: datetime) -> Task:
        return TASK_MOVES.apply(self, "sign in", signed_in_by=account, signed_in_at=at)

    def start(self) -> Task:
        return TASK_MOVES.apply(self, "start")

    def submit(self, result: bytes, media_ids: Sequence[str], at: datetime, others: Sequence[Task]) -> Task:
        """FailedPrecondition(CO_TASKS_OPEN) for the lead while another department has not answered."""
        waiting = [task for task in others if task.waits_for_department and task.id != self.id]
        if self.lead and waiting:
            raise FailedPrecondition("CO_TASKS_OPEN", count=len(waiting))
        return TASK_MOVES.apply(self, "submit", result=result, media_ids=media_ids, submitted_at=at)

    def accept(self, at: datetime) -> Task:
        return TASK_MOVES.apply(self, "accept", accepted_at=at)

    def send_back(self, limit: Limit) -> Task:
        return TASK_MOVES.apply(
            self,
            "send back",
            accepted_at=None,
            rework_count=self.rework_count + 1,
            round=self.round + 1,
            **limit.columns(),
        )

    def conclude(self, at: datetime) -> Task:
        return TASK_MOVES.apply(self, "conclude", accepted_at=at)

    def tell(self, step: int) -> Task:
        return replace(
            self, told=step, overdue_since=self.overdue_since or self.due_at if step >= SUPERIOR else self.overdue_since
        )


@dataclass(frozen=True, slots=True)
class Assignment:
    """What the dispatcher says of one department or desk. `limit_days` 0: as the rule says."""

    department: str
    desk: str
    lead: bool
    limit_days: int
    demand: str


def check_assignments(new: Sequence[Assignment], present: Sequence[Task]) -> None:
    """One lead in all, nobody twice, and each names either a department or a desk."""
    for n, one in enumerate(new):
        if bool(one.department) == bool(one.desk):
            raise InvalidArgument("ASSIGNEE_ONE_OF", field=f"assignments[{n}].department_id")
    holders = [(task.department, "") if not task.desk else ("", task.desk) for task in present]
    for n, one in enumerate(new):
        if (one.department, one.desk) in holders:
            raise FailedPrecondition("ALREADY_ASSIGNED", field=f"assignments[{n}]")
        holders.append((one.department, one.desk))
    leads = sum(one.lead for one in new) + sum(task.lead for task in present)
    if leads != 1:
        raise FailedPrecondition("LEAD_MISSING" if leads == 0 else "LEAD_TWICE", field="assignments")


def all_answered(tasks: Sequence[Task]) -> bool:
    """Every department has answered, the lead among them; the desks answer with the conclusion."""
    return not any(task.waits_for_department for task in tasks)


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


def after_follow_up(case: CaseFile, parties: Sequence[Party]) -> str:
    """What the answers so far lead to: "reopen", "close" or "" (ask on).

    An unsolved answer reopens what counts as resolved. Where the outcome itself says that the matter was not resolved (failed and the channel
    told, a party refused …) the answers are recorded and the case closes.
    """
    if case.counts_resolved and any(party.solved == "no" for party in parties):
        return "reopen"
    return "close" if all(party.settled for party in parties) else ""


@dataclass(frozen=True, slots=True)
class Centre:
    """A governance centre. `id`: its department id."""

    id: str
    name: str
    level: str
    division: str
    superior: str


# -- codes ------------------------------------------------------------------------------------------------------------------------

#: Numbers of a day; they need not be without gaps, only each different.
NUMBERS_PER_DAY = 1_000_000


def case_code(county: str, day: date, number: int) -> str:
    """A case's code for life (一案一码): county, day, number of the day, check digit: 150826-260302-000017-4."""
    body = f"{county}{day:%y%m%d}{number % NUMBERS_PER_DAY:06d}"
    return f"{body[:6]}-{body[6:12]}-{body[12:]}-{check_digit(body)}"


def check_digit(digits: str) -> str:
    """ISO/IEC 7064 MOD 11,10: finds every single wrong digit and nearly every swap."""
    rest = 10
    for digit in digits:
        rest = (rest + int(digit)) % 10 or 10
        rest = rest * 2 % 11
    return str((11 - rest) % 10)


def read_code(typed: str) -> str | None:
    """The code as it is kept, from what somebody typed; None for what can be no code."""
    digits = "".join(c for c in typed if c not in "-－—– \u3000")
    if len(digits) != 19 or not (digits.isascii() and digits.isdigit()) or check_digit(digits[:18]) != digits[18]:
        return None
    return f"{digits[:6]}-{digits[6:12]}-{digits[12:18]}-{digits[18]}"

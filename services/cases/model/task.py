"""A task: a department's part of a case, or a desk's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from kit.errors import FailedPrecondition, InvalidArgument
from services.cases.model.limit import NOBODY, SUPERIOR, Limit, Stand
from services.cases.model.states import ACCEPTED, OVER, RESULT_SUBMITTED, RETURN_PENDING, TASK_MOVES

#: A department returns once to the dispatcher; overruled, or given it again, once more: then the director has the last word.
MOST_RETURNS = 2


@dataclass(frozen=True, slots=True)
class Task:
    """A department's part of a case, or a desk's.

    department     a department id; the centre's own for a desk
    refusals       how often this part of the case was returned so far, also by those who had it before
    designated     the director named the department (指定承办): it returns nothing any more
    asks           how often more time was asked for; `asked_days`: what waits for a decision now
    extended_days  working days that were granted on the present limit, by `extended_by` under the parameters of `extended_version`
    ended_note     sealed: why it was reassigned, cancelled or waived
    follows        the task that it took the place of
    """

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
    department_name_en: str = ""
    refusals: int = 0
    designated: bool = False
    asks: int = 0
    asked_days: int = 0
    extended_days: int = 0
    extended_by: str = ""
    extended_version: str = ""
    ended_at: datetime | None = None
    ended_note: bytes | None = None
    follows: UUID | None = None
    pauses: Sequence[str] = ()

    @property
    def answered(self) -> bool:
        return self.state in (RESULT_SUBMITTED, ACCEPTED)

    @property
    def over(self) -> bool:
        return self.state in OVER

    @property
    def running(self) -> bool:
        """Its clock runs."""
        return not self.answered and not self.over

    @property
    def waits_for_department(self) -> bool:
        return not self.desk and self.running

    def sign_in(self, account: str, at: datetime) -> Task:
        return TASK_MOVES.apply(self, "sign in", signed_in_by=account, signed_in_at=at)

    def start(self) -> Task:
        return TASK_MOVES.apply(self, "start")

    def submit(self, result: bytes, media_ids: Sequence[str], at: datetime, others: Sequence[Task]) -> Task:
        """FailedPrecondition(CO_TASKS_OPEN) for the lead while another department has not answered."""
        submitted = TASK_MOVES.apply(self, "submit", result=result, media_ids=media_ids, submitted_at=at, asked_days=0)
        self.check_submission(others)
        return submitted

    def check_submission(self, others: Sequence[Task]) -> None:
        """What a result needs beside the task's own state."""
        waiting = [task for task in others if task.waits_for_department and task.id != self.id]
        if self.lead and waiting:
            raise FailedPrecondition("CO_TASKS_OPEN", count=len(waiting))

    def accept(self, at: datetime) -> Task:
        return TASK_MOVES.apply(self, "accept", accepted_at=at)

    def send_back(self, limit: Limit) -> Task:
        return TASK_MOVES.apply(
            self,
            "send back",
            accepted_at=None,
            rework_count=self.rework_count + 1,
            round=self.round + 1,
            **_anew(limit),
        )

    def conclude(self, at: datetime) -> Task:
        return TASK_MOVES.apply(self, "conclude", accepted_at=at)

    # -- objections -----------------------------------------------------------------------------------------------------

    def give_back(self, before: int) -> Task:
        """`before`: how often its department returned something in this case. FailedPrecondition: TASK_DESIGNATED, RETURNED_ALREADY."""
        returned = TASK_MOVES.apply(self, "return", refusals=self.refusals + 1)
        self.check_return(before)
        return returned

    def check_return(self, before: int) -> None:
        """What a return needs beside the task's state."""
        if self.designated:
            raise FailedPrecondition("TASK_DESIGNATED")
        if before >= MOST_RETURNS:
            raise FailedPrecondition("RETURNED_ALREADY")

    @property
    def for_director(self) -> bool:
        """What was returned a second time, by whichever department, the director alone decides on."""
        return self.refusals > 1

    def check_for(self, director: bool) -> None:
        """FailedPrecondition: RETURN_FOR_DIRECTOR, RETURN_FOR_DISPATCHER, where somebody else decides on the return."""
        if self.for_director != director:
            raise FailedPrecondition("RETURN_FOR_DIRECTOR" if self.for_director else "RETURN_FOR_DISPATCHER")

    def overrule(self) -> Task:
        return TASK_MOVES.apply(self, "overrule")

    def designate(self) -> Task:
        """The department keeps it, by the director's word."""
        return TASK_MOVES.apply(self, "designate", designated=True)

    def bound(self) -> Task:
        """A new task that the director's word gave to its department."""
        return replace(self, designated=True)

    def pass_on(self, note: bytes | None, at: datetime) -> Task:
        """The return was upheld: another department has it."""
        return self._ended("pass on", note, at)

    def call_off(self, note: bytes | None, at: datetime) -> Task:
        """The return was upheld, and nobody needs to do it. FailedPrecondition(LEAD_NEEDED) for the lead."""
        return self._not_lead("call off")._ended("call off", note, at)

    def ask_extension(self, days: int, granted: Sequence[int], most: int, most_days: int, at: datetime) -> Task:
        """`granted`: the days that it was given before. FailedPrecondition: EXTENSION_LATE, EXTENSION_PENDING, EXTENSIONS_SPENT, EXTENSION_LONG."""
        asked = TASK_MOVES.apply(self, "ask extension", asks=self.asks + 1, asked_days=days)
        self.check_extension(at)
        if len(granted) >= most:
            raise FailedPrecondition("EXTENSIONS_SPENT", most=most)
        if (left := most_days - sum(granted)) < days:
            raise FailedPrecondition("EXTENSION_LONG", field="days", left=max(left, 0), most=most_days)
        return asked

    def check_extension(self, at: datetime) -> None:
        """What a request for more time needs, beside the state and what may be granted in all."""
        if at > self.due_at:
            raise FailedPrecondition("EXTENSION_LATE")
        if self.asked_days:
            raise FailedPrecondition("EXTENSION_PENDING")

    def check_asked(self) -> None:
        if not self.asked_days:
            raise FailedPrecondition("EXTENSION_NOT_ASKED")

    def extend(self, by: str, version: str) -> Task:
        """The days that were asked for are granted: the same limit, longer. Its due time follows from that."""
        days = self.extended_days + self.asked_days
        return self._decided(extended_days=days, extended_by=by, extended_version=version)

    def refuse_extension(self) -> Task:
        return self._decided()

    def _decided(self, **changes: Any) -> Task:
        decided = TASK_MOVES.apply(self, "decide extension", asked_days=0, **changes)
        self.check_asked()
        return decided

    def due_later(self, due_at: datetime) -> Task:
        """A new round: nobody was told of this limit yet. Whoever asked in time was not late, however long the decision took."""
        late = None if self.overdue_since == self.due_at else self.overdue_since
        return replace(self, due_at=due_at, told=NOBODY, round=self.round + 1, overdue_since=late)

    # -- the dispatcher's changes of mind -----------------------------------------------------------------------------------

    def reassign(self, note: bytes | None, at: datetime) -> Task:
        return self._not_lead("reassign")._ended("reassign", note, at)

    def cancel(self, note: bytes | None, at: datetime) -> Task:
        """FailedPrecondition(LEAD_NEEDED) for the lead, which is also who is left when all others are gone."""
        return self._not_lead("cancel")._ended("cancel", note, at)

    def waive(self, note: bytes | None, at: datetime) -> Task:
        return self._not_lead("waive")._ended("waive", note, at)

    def take_lead(self, limit: Limit) -> Task:
        """Under a limit of its own where it had answered already."""
        self.check_decided()
        if not self.answered:
            return replace(self, lead=True)
        return TASK_MOVES.apply(
            self, "take the lead", lead=True, accepted_at=None, round=self.round + 1, **_anew(limit)
        )

    def yield_lead(self) -> Task:
        self.check_decided()
        return replace(self, lead=False)

    def stands(self, now: datetime) -> bool:
        """Whether its clock stands, because its case is suspended."""
        return bool(self.pauses) and now < Stand.of(self.pauses[-1]).ends

    def fall_away(self, note: bytes | None, at: datetime) -> Task:
        """With the conclusion of a suspended case: what was answered is taken, the rest is nobody's any more."""
        if self.state == RESULT_SUBMITTED:
            return self.accept(at)
        return self._ended("fall away", note, at) if self.running else self

    def check_decided(self) -> None:
        """FailedPrecondition(RETURN_UNDECIDED) while its return waits."""
        if self.state == RETURN_PENDING:
            raise FailedPrecondition("RETURN_UNDECIDED")

    def check_not_lead(self) -> None:
        if self.lead:
            raise FailedPrecondition("LEAD_NEEDED")

    def _not_lead(self, action: str) -> Task:
        if TASK_MOVES.allows(self.state, action):
            self.check_not_lead()
        return self

    def _ended(self, action: str, note: bytes | None, at: datetime) -> Task:
        """What is over leads nothing, and asks for nothing."""
        return TASK_MOVES.apply(self, action, lead=False, asked_days=0, ended_note=note, ended_at=at)

    def tell(self, step: int) -> Task:
        return replace(
            self, told=step, overdue_since=self.overdue_since or self.due_at if step >= SUPERIOR else self.overdue_since
        )


def _anew(limit: Limit) -> dict[str, Any]:
    """The columns of another limit, on which nothing was granted yet."""
    return {**limit.columns(), "asked_days": 0, "extended_days": 0, "extended_by": "", "extended_version": ""}


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
    live = [task for task in present if not task.over]
    taken = [(task.department, "") if not task.desk else ("", task.desk) for task in live]
    for n, one in enumerate(new):
        if (one.department, one.desk) in taken:
            raise FailedPrecondition("ALREADY_ASSIGNED", field=f"assignments[{n}]")
        taken.append((one.department, one.desk))
    leads = sum(one.lead for one in new) + sum(task.lead for task in live)
    if leads != 1:
        raise FailedPrecondition("LEAD_MISSING" if leads == 0 else "LEAD_TWICE", field="assignments")


def check_free(department: str, present: Sequence[Task]) -> None:
    """FailedPrecondition(ALREADY_ASSIGNED) for a department that works on the case."""
    if department in holders(present):
        raise FailedPrecondition("ALREADY_ASSIGNED", field="department_id")


def holders(tasks: Sequence[Task]) -> list[str]:
    """The departments that have a part in the case, by their tasks."""
    return sorted({task.department for task in tasks if not task.desk and not task.over})


def returned_by(department: str, tasks: Sequence[Task]) -> int:
    """How often the department returned a task of this case. A task that takes another's place begins with the refusals of that one."""
    before = {task.id: task.refusals for task in tasks}
    own = [task for task in tasks if task.department == department and not task.desk]
    return sum(task.refusals - (before.get(task.follows, 0) if task.follows else 0) for task in own)


def all_answered(tasks: Sequence[Task]) -> bool:
    """Every department has answered, the lead among them; the desks answer with the conclusion."""
    return not any(task.waits_for_department for task in tasks)

"""A task: a department's part of a case, or a desk's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from kit.errors import FailedPrecondition, InvalidArgument
from services.cases.model.limit import NOBODY, SUPERIOR, Limit
from services.cases.model.states import ACCEPTED, RESULT_SUBMITTED, TASK_MOVES


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
    department_name_en: str = ""

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

"""The limits of cases, tasks and supervision orders, and the clocks that tell of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

from hetao.common.v1 import common_pb2
from kit.clock import business_date
from kit.deadlines import shown
from kit.rows import altered
from kit.statutory import Deadline, Deadlines, Explanation, Extension, Pause
from kit.statutory.rules import WORKING_DAYS
from kit.unit import Unit
from services.cases import model
from services.cases.model import CaseFile, Limit, Stand, Supervision, Supplement, Task
from services.cases.words import Words

#: One timer per running clock; each firing does the next step and sets the one after.
CASE_CLOCK, TASK_CLOCK, SUPPLEMENT_CLOCK = "cases.case", "cases.task", "cases.supplement"
#: One timer per suspension, which ends it, and one per supervision order that waits for its reply.
SUSPENSION_CLOCK, SUPERVISION_CLOCK = "cases.suspension", "cases.supervision"

#: Whatever has a limit of its own.
Limited = CaseFile | Task | Supplement | Supervision


Row = TypeVar("Row", CaseFile, Task)


class Limits:
    """By the rules of data/rules. Keeps the explanations of the last limits in memory, nothing else."""

    def __init__(self, deadlines: Deadlines, words: Words):
        self.deadlines, self.words = deadlines, words
        self._explained: dict[tuple[Any, ...], Explanation] = {}

    def new(self, rule_name: str, start: datetime, amount: int = 0, pauses: Sequence[str] = ()) -> Limit:
        """By the rule in force; `amount` where somebody set it; `pauses`: in which the clock has stood since the start."""
        rule = self.deadlines.rule(rule_name, business_date(start))
        rule = replace(rule, amount=amount) if amount else rule
        return Limit.of(self.deadlines.due(rule, start, self.stands(pauses)), pauses)

    def deadline(self, row: Limited) -> Deadline:
        """A limit that is running, with the version of its rule that it started with, and all that it stood."""
        rule = self.deadlines.rule(row.limit_rule, business_date(row.limit_from), row.limit_version)
        if rule.amount != row.limit_amount:
            rule = replace(rule, amount=row.limit_amount)
        return self.deadlines.due(rule, row.limit_from, self.pauses(row), _extensions(row))

    def pauses(self, row: Limited) -> tuple[Pause, ...]:
        """What the clock stood. Before acceptance: while the applicant was asked for papers; later: while the case was suspended."""
        if not isinstance(row, CaseFile) or row.accepted_at is not None or not row.waits:
            return self.stands(row.pauses)
        rule = self.deadlines.rule("cases.supplement", business_date(row.waits[0]))
        source = f"{rule.source} {rule.article}".strip()
        spans = zip(row.waits[::2], row.waits[1::2], strict=True)
        return tuple(Pause(begins, ends, "等待申请人补正材料", source, PAPERS_AWAITED) for begins, ends in spans)

    def stands(self, texts: Sequence[str]) -> tuple[Pause, ...]:
        """The times of suspension, with the words of their grounds as they were then."""
        pauses = []
        for stand in map(Stand.of, texts):
            ground = self.words.suspension_grounds.get(stand.ground, business_date(stand.begins))
            words = (ground.zh, ground.source, ground.en, ground.source_en)
            pauses.append(Pause(stand.begins, stand.ends, *words, zh="挂起", en="suspended"))
        return tuple(pauses)

    def stand(self, row: Row, stand: Stand) -> Row:
        """Its clock stands: the limit is moved by that. A stand that the row has already is replaced, when it ends otherwise than planned."""
        others: list[str] = [text for text in row.pauses if Stand.of(text).begins != stand.begins]
        paused = altered(row, pauses=[*others, stand.text])
        return altered(paused, due_at=self.deadline(paused).due_at)

    def stood(self, case: CaseFile) -> CaseFile:
        """The case with its limit counted anew, after its clock stood or runs again."""
        return case.due(self.deadline(case).due_at)

    def shown(self, row: Limited, now: datetime) -> common_pb2.Deadline:
        """A limit as people read it now. The same facts are explained once; an explanation names its start to the minute."""
        due = self.deadline(row)
        start = row.limit_from.replace(second=0, microsecond=0)
        key = row.limit_rule, row.limit_version, row.limit_amount, start, due.due_at, due.pauses, due.extensions
        why = self._explained.get(key)
        if why is None:
            if len(self._explained) >= 1000:
                self._explained.clear()
            why = self._explained[key] = due.explanation
        return shown(due, now, why)

    def next_moment(self, row: Limited) -> datetime | None:
        """When the clock has to tell somebody next: before the limit those who work, after it their superior, later the director."""
        parameters = self.words.parameters(business_date(row.limit_from))
        if row.told == model.NOBODY:
            return self.deadline(row).moment(parameters.remind_left)
        if row.told == model.REMINDED:
            return row.due_at
        accepted = isinstance(row, CaseFile) and row.accepted_at is not None
        if row.told == model.SUPERIOR and (isinstance(row, Task) or accepted):
            rule = self.deadlines.rule(row.limit_rule, business_date(row.limit_from), row.limit_version)
            grace = replace(rule, amount=parameters.director_after, unit=WORKING_DAYS, ends="day")
            return self.deadlines.due(grace, row.due_at, self.stands(row.pauses)).due_at
        return None

    def set_clock(self, unit: Unit, row: Limited) -> None:
        """Sets the timer of a clock to its next step, or takes it away when nothing is to be told any more."""
        kind = CLOCKS[type(row)]
        moment = self.next_moment(row)
        if moment is None:
            unit.cancel(kind, row.id)
        else:
            unit.schedule(kind, row.id, at=moment)


CLOCKS = {CaseFile: CASE_CLOCK, Task: TASK_CLOCK, Supplement: SUPPLEMENT_CLOCK}

PAPERS_AWAITED = "the applicant was asked for papers"


def _extensions(row: Limited) -> tuple[Extension, ...]:
    """What a department was granted beyond the limit of its task, in one."""
    if not isinstance(row, Task) or not row.extended_days:
        return ()
    source = f"data/rules/cases.toml {row.extended_version}"
    ground, ground_en = "承办部门期满前申请", "the department asked before expiry"
    return (Extension(row.extended_days, row.extended_by, ground, source, ground_en),)

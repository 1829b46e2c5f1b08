"""The limits of cases and tasks, and the clocks that tell of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from kit.clock import business_date
from kit.statutory import Deadline, Deadlines, Extension, Pause
from kit.unit import Unit
from services.cases import model
from services.cases.model import CaseFile, Limit, Supplement, Task
from services.cases.words import Words

#: One timer per running clock; each firing does the next step and sets the one after.
CASE_CLOCK, TASK_CLOCK, SUPPLEMENT_CLOCK = "cases.case", "cases.task", "cases.supplement"

#: Whatever has a limit of its own.
Limited = CaseFile | Task | Supplement


@dataclass(frozen=True, slots=True)
class ShownDeadline:
    """A limit with its explanation in both languages."""

    due_at: datetime
    provisional: bool
    zh: str
    en: str


class Limits:
    """By the rules of data/rules. Keeps the explanations of the last limits in memory, nothing else."""

    def __init__(self, deadlines: Deadlines, words: Words):
        self.deadlines, self.words = deadlines, words
        self._explained: dict[tuple[Any, ...], ShownDeadline] = {}

    def new(self, rule_name: str, start: datetime, amount: int = 0) -> Limit:
        """By the rule in force; `amount` where somebody set it."""
        rule = self.deadlines.rule(rule_name, business_date(start))
        return Limit.of(self.deadlines.due(replace(rule, amount=amount) if amount else rule, start))

    def deadline(self, row: Limited) -> Deadline:
        """A limit that is running, with the version of its rule that it started with, and all that it stood."""
        rule = self.deadlines.rule(row.limit_rule, business_date(row.limit_from), row.limit_version)
        if rule.amount != row.limit_amount:
            rule = replace(rule, amount=row.limit_amount)
        return self.deadlines.due(rule, row.limit_from, self.pauses(row), _extensions(row))

    def pauses(self, row: Limited) -> tuple[Pause, ...]:
        """What the clock stands. Before acceptance: while the applicant was asked for papers."""
        if not isinstance(row, CaseFile) or row.accepted_at is not None or not row.waits:
            return ()
        rule = self.deadlines.rule("cases.supplement", business_date(row.waits[0]))
        source = f"{rule.source} {rule.article}".strip()
        spans = zip(row.waits[::2], row.waits[1::2], strict=True)
        return tuple(Pause(begins, ends, "等待申请人补正材料", source, PAPERS_AWAITED) for begins, ends in spans)

    def stood(self, case: CaseFile) -> CaseFile:
        """The case with its limit counted anew, after its clock stood or runs again."""
        return case.due(self.deadline(case).due_at)

    def explained(self, row: Limited) -> ShownDeadline:
        """A running limit as people read it. The same facts are explained once; an explanation names its start to the minute."""
        start = row.limit_from.replace(second=0, microsecond=0)
        key = (
            row.limit_rule,
            row.limit_version,
            row.limit_amount,
            start,
            row.due_at,
            self.pauses(row),
            *_extensions(row),
        )
        shown = self._explained.get(key)
        if shown is None:
            due = self.deadline(row)
            text = due.explanation
            if len(self._explained) >= 1000:
                self._explained.clear()
            shown = self._explained[key] = ShownDeadline(due.due_at, due.provisional, text.zh, text.en)
        return shown

    def next_moment(self, row: Limited) -> datetime | None:
        """When the clock has to tell somebody next: before the limit those who work, after it their superior, later the director."""
        parameters = self.words.parameters(business_date(row.limit_from))
        if row.told == model.NOBODY:
            return self.deadline(row).moment(parameters.remind_left)
        if row.told == model.REMINDED:
            return row.due_at
        if row.told == model.SUPERIOR and isinstance(row, Task):
            later = self.deadlines.add_working_days(business_date(row.due_at), parameters.director_after)
            return self.deadlines.calendar.day_end(later)
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

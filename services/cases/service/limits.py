"""The limits of cases and tasks, and the clocks that tell of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from kit.clock import business_date
from kit.statutory import Deadline, Deadlines, Extension
from kit.unit import Unit
from services.cases import model
from services.cases.model import CaseFile, Limit, Task
from services.cases.words import Words

#: One timer per running clock; each firing does the next step and sets the one after.
CASE_CLOCK, TASK_CLOCK = "cases.case", "cases.task"


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

    def deadline(self, row: CaseFile | Task) -> Deadline:
        """A limit that is running, with the version of its rule that it started with."""
        rule = self.deadlines.rule(row.limit_rule, business_date(row.limit_from), row.limit_version)
        if rule.amount != row.limit_amount:
            rule = replace(rule, amount=row.limit_amount)
        return self.deadlines.due(rule, row.limit_from, extensions=_extensions(row))

    def explained(self, row: CaseFile | Task) -> ShownDeadline:
        """A running limit as people read it. The same facts are explained once; an explanation names its start to the minute."""
        start = row.limit_from.replace(second=0, microsecond=0)
        key = row.limit_rule, row.limit_version, row.limit_amount, start, row.due_at, *_extensions(row)
        shown = self._explained.get(key)
        if shown is None:
            due = self.deadline(row)
            text = due.explanation
            if len(self._explained) >= 1000:
                self._explained.clear()
            shown = self._explained[key] = ShownDeadline(due.due_at, due.provisional, text.zh, text.en)
        return shown

    def next_moment(self, row: CaseFile | Task) -> datetime | None:
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

    def set_clock(self, unit: Unit, row: CaseFile | Task) -> None:
        """Sets the timer of a clock to its next step, or takes it away when nothing is to be told any more."""
        kind = TASK_CLOCK if isinstance(row, Task) else CASE_CLOCK
        moment = self.next_moment(row)
        if moment is None:
            unit.cancel(kind, row.id)
        else:
            unit.schedule(kind, row.id, at=moment)


def _extensions(row: CaseFile | Task) -> tuple[Extension, ...]:
    """What a department was granted beyond the limit of its task, in one."""
    if not isinstance(row, Task) or not row.extended_days:
        return ()
    source = f"data/rules/cases.toml {row.extended_version}"
    ground, ground_en = "承办部门期满前申请", "the department asked before expiry"
    return (Extension(row.extended_days, row.extended_by, ground, source, ground_en),)

"""What all parts of the chain use: words, limits, clocks, the timeline, and the saving of a case with all that goes with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

import orjson

from kit.clock import BUSINESS_ZONE, business_date
from kit.config import DATA
from kit.errors import NotFound, PermissionDenied
from kit.module import Runtime
from kit.statutory import Deadline
from kit.unit import Unit
from services.cases import model
from services.cases.model import CaseFile, Centre, Limit, Task
from services.cases.service import telling
from services.cases.store import cases as store
from services.cases.store.cases import Folder, Step
from services.cases.words import Word, Words

#: One timer per running clock; each firing does the next step and sets the one after.
CASE_CLOCK, TASK_CLOCK = "cases.case", "cases.task"


@dataclass(frozen=True, slots=True)
class ShownDeadline:
    """A limit with its explanation in both languages."""

    due_at: datetime
    provisional: bool
    zh: str
    en: str


class Chain:
    """Shared by the use cases of the service. Keeps reference data and a block of case numbers in memory, nothing else."""

    def __init__(self, runtime: Runtime):
        self.runtime, self.deadlines = runtime, runtime.deadlines
        self.words = Words(DATA)
        self._centres: dict[str, Centre] = {}
        self._coverage: dict[str, str] = {}
        self._number = self._numbers_end = 0
        self._explained: dict[tuple[str, str, int, datetime], ShownDeadline] = {}

    # -- reference data -----------------------------------------------------------------------------------------------

    async def centres(self, unit: Unit) -> dict[str, Centre]:
        if not self._centres:
            self._coverage = await store.coverage(unit)
            self._centres = {centre.id: centre for centre in await store.centres(unit)}
        return self._centres

    async def centre_for(self, unit: Unit, division: str) -> Centre | None:
        """The responsible centre of a division; None for a division that does not exist."""
        centres = await self.centres(unit)
        return centres.get(self._coverage.get(division, ""))

    def forget_reference(self) -> None:
        """The reference data were loaded anew."""
        self._centres, self._coverage = {}, {}

    async def number(self, unit: Unit) -> int:
        """A number for a code. Gaps do not matter; a repetition would break the unique code."""
        if self._number == self._numbers_end:
            first = await store.next_numbers(unit)
            self._number, self._numbers_end = first, first + 50
        self._number += 1
        return self._number - 1

    # -- limits and clocks --------------------------------------------------------------------------------------------

    def limit(self, rule_name: str, start: datetime, amount: int = 0) -> Limit:
        """A new limit by the rule in force; `amount` where somebody set it."""
        rule = self.deadlines.rule(rule_name, business_date(start))
        return Limit.of(self.deadlines.due(replace(rule, amount=amount) if amount else rule, start))

    def deadline(self, row: CaseFile | Task) -> Deadline:
        """A limit that is running, with the version of its rule that it started with."""
        rule = self.deadlines.rule(row.limit_rule, business_date(row.limit_from), row.limit_version)
        return self.deadlines.due(replace(rule, amount=row.limit_amount), row.limit_from)

    def explained(self, row: CaseFile | Task) -> ShownDeadline:
        """A running limit as people read it. The same facts are explained once: the tasks of one dispatch share theirs."""
        key = row.limit_rule, row.limit_version, row.limit_amount, row.limit_from
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

    # -- a case and what goes with every change of it ------------------------------------------------------------------

    async def own(self, unit: Unit, case_id: UUID, etag: str) -> Folder:
        """The case for a change by the responsible centre. PermissionDenied(CENTRE_NOT_RESPONSIBLE) for others who see it."""
        found = await store.folder(unit, case_id)
        if not unit.principal.system and found.case.centre not in unit.principal.departments:
            raise PermissionDenied("CENTRE_NOT_RESPONSIBLE")
        unit.match(etag, found.case)
        return found

    async def task_for_work(self, unit: Unit, case_id: UUID, task_id: UUID, etag: str) -> tuple[Folder, Task]:
        """The case and the task that the caller's department was given. NotFound for anybody else's."""
        found = await store.folder(unit, case_id)
        for task in found.tasks:
            if task.id == task_id and task.department in unit.principal.departments and not task.desk:
                unit.match(etag, task)
                return found, task
        raise NotFound("NOT_FOUND", resource="task")

    async def save(self, unit: Unit, case: CaseFile, what: str, *steps: Step) -> CaseFile:
        """The case with its version raised, its timeline and its event."""
        saved = await store.CASES.save(unit, case)
        store.add_steps(unit, case.id, steps)
        unit.emit(telling.case_changed(saved, what, self.runtime.epoch))
        return saved

    def named(self, name: str, code: str) -> dict[str, str]:
        """A word of the proto's enums for a sentence in two languages, from data/texts."""
        zh, en = self.runtime.texts.of(f"{name}.{code}", {})
        return {f"{name}_zh": zh, f"{name}_en": en}

    # -- sealed texts and words -----------------------------------------------------------------------------------------

    def seal_note(self, unit: Unit, case_id: UUID, note: str) -> bytes | None:
        return unit.seal("cases.note", case_id, note) if note else None

    def open_note(self, unit: Unit, case_id: UUID, sealed: bytes | None) -> str:
        return unit.open("cases.note", case_id, sealed) if sealed else ""

    def seal_content(self, unit: Unit, case_id: UUID, content: dict[str, str]) -> bytes:
        return unit.seal("cases.content", case_id, orjson.dumps(content).decode())

    def open_content(self, unit: Unit, case: CaseFile) -> dict[str, str]:
        content: dict[str, str] = orjson.loads(unit.open("cases.content", case.id, case.content))
        return content


def both(name: str, word: Word | None) -> dict[str, str]:
    """A word for a sentence in two languages: {name}_zh and {name}_en."""
    return {f"{name}_zh": word.zh if word else "", f"{name}_en": word.en if word else ""}


def day(moment: datetime) -> str:
    """A moment's day where the work is done, as sentences and messages show it."""
    return business_date(moment).isoformat()


def minute(moment: datetime) -> str:
    return f"{moment.astimezone(BUSINESS_ZONE):%Y-%m-%d %H:%M}"


def step(
    what: str, params: Mapping[str, object] | None = None, *, told_parties: bool = False, note: bytes | None = None
) -> Step:
    """A step of the timeline. `params` fill its sentence; `told_parties`: the parties see it in their progress."""
    return Step(what, {name: str(value) for name, value in (params or {}).items()}, told_parties, note)


def days_before(now: datetime, days: int) -> datetime:
    return now - timedelta(days=days)

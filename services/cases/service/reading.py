"""What callers see: cases with their parts, lists, the timeline, disclosures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

import orjson

from hetao.common.v1 import common_pb2
from kit.errors import InvalidArgument, NotFound, PermissionDenied
from kit.identity import Principal
from kit.masking import mask_id_number, mask_name, mask_phone
from kit.paging import FIRST_ID, FIRST_MOMENT, LAST_ID, Page
from kit.unit import Unit
from services.cases.model import Agreement, CaseFile, Centre, Party, Supplement, Task, TaskExtension, TaskReturn
from services.cases.service.chain import Chain
from services.cases.service.finding import PARTY_INDEX, number_form, phone_form
from services.cases.service.sealed import open_content, open_note
from services.cases.service.steps import filled, step
from services.cases.store import cases as store
from services.cases.store import lists
from services.cases.store.cases import FULL, Disclosure, Folder, Search, view
from services.cases.store.lists import Filters, Scope

S = TypeVar("S", TaskReturn, TaskExtension)

#: Which column holds a division of so many digits.
LEVELS = {4: "city", 6: "county", 9: "township", 12: "community"}

#: Cases of one person that a search looks at, and that it shows.
MOST_LOOKED_AT, MOST_FOUND = 200, 50


@dataclass(frozen=True, slots=True)
class Objection(Generic[S]):
    """A return or a request for more time: what the department said, and what whoever decided said."""

    row: S
    asked: str
    answer: str


@dataclass(frozen=True, slots=True)
class OpenedTask:
    """A task with what was written in it. `ended_note`: why it is over without a result; `actions`: what the caller may do with it, where the other
    tasks of its case are known."""

    task: Task
    demand: str = ""
    result: str = ""
    ended_note: str = ""
    returns: Sequence[Objection[TaskReturn]] = ()
    extensions: Sequence[Objection[TaskExtension]] = ()
    actions: Sequence[common_pb2.AllowedAction] = ()


@dataclass(frozen=True, slots=True)
class Whole:
    """A case as one caller sees it. `full`: with its content; otherwise parties and tasks are empty and stay so. `actions`: what the caller may do,
    told where the parts are known."""

    case: CaseFile
    centre: Centre
    full: bool
    content: dict[str, str]
    outcome_note: str
    parties: Sequence[tuple[Party, dict[str, str]]]
    tasks: Sequence[OpenedTask]
    supplement: tuple[Supplement, str] | None = None
    actions: Sequence[common_pb2.AllowedAction] = ()
    agreement: tuple[Agreement, str, str] | None = None
    explanation: str = ""


@dataclass(frozen=True, slots=True)
class Listed:
    """A page of cases. `total`: how many there are, where it was asked for; `more`: at least so many."""

    rows: Sequence[Whole]
    token: str
    total: int
    more: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a timeline."""

    at: datetime
    what: str
    zh: str
    en: str
    actor: str
    note: str


class Reading:
    def __init__(self, chain: Chain):
        self.chain = chain

    async def get(self, unit: Unit, id_or_code: str) -> Whole:
        return await self.whole(unit, await store.folder_seen(unit, id_or_code))

    async def whole(self, unit: Unit, found: Folder) -> Whole:
        """The case with its parties, masked, and its tasks."""
        case = found.case
        if view(unit.principal, case) != FULL:
            return await self.alone(unit, case)
        return Whole(
            case,
            (await self.chain.centres.all(unit))[case.centre],
            True,
            open_content(unit, case),
            open_note(unit, case.id, case.outcome_note),
            [(party, self.masked(unit, party)) for party in found.parties],
            await self.opened(unit, found.tasks, found.tasks),
            await self.supplement(unit, case),
            self.chain.actions.of_case(unit, case, found.tasks, found.parties),
            self.agreed(unit, found.agreement) if found.agreement else None,
            open_note(unit, case.id, case.explanation),
        )

    async def supplement(self, unit: Unit, case: CaseFile) -> tuple[Supplement, str] | None:
        """What the applicant was last asked for, with its words."""
        last = await store.supplement(unit, case.id) if case.supplements else None
        if last is None:
            return None
        return last, unit.open("cases.supplement", last.id, last.words) if last.words else ""

    async def alone(self, unit: Unit, case: CaseFile) -> Whole:
        """The case without its parts, as lists show it."""
        full = view(unit.principal, case) == FULL
        centre = (await self.chain.centres.all(unit))[case.centre]
        return Whole(case, centre, full, open_content(unit, case) if full else {}, "", (), ())

    async def page(
        self, unit: Unit, request: Any, filters: Filters, division: str, centre: str, *, by_limit: bool, counted: bool
    ) -> Listed:
        """A page of cases, the newest or those with the nearest limit first; `counted`: with how many there are."""
        named = (await self.chain.centres.all(unit)).get(centre)
        if centre and named is None:
            raise NotFound("NOT_FOUND", field="centre", resource="centre")
        scope = list_scope(unit.principal, division, named)
        page = Page.of(unit, request)
        if by_limit:
            after: Any = page.after or (FIRST_MOMENT, FIRST_ID)
            found = await lists.page_by_limit(unit, scope, filters, after, page.limit)
            rows, token = page.cut(found, key=lambda case: (case.due_at, case.id))
        else:
            (before,) = page.after or (LAST_ID,)
            found = await lists.page_of_cases(unit, scope, filters, before, page.limit)
            rows, token = page.cut(found, key=lambda case: (case.id,))
        total, all_of_them = await lists.count_of_cases(unit, scope, filters) if counted else (0, True)
        return Listed([await self.alone(unit, case) for case in rows], token, total, not all_of_them)

    async def by_party(self, unit: Unit, phone: str, id_number: str) -> tuple[list[Whole], bool]:
        """Cases of whoever has this telephone or number, as far as the caller may see all of them, the newest first; and whether there are more. What was
        looked for is in no log and no audit, that somebody looked is. InvalidArgument(SEARCH_ONE_OF | PHONE_INVALID | ID_NUMBER_INVALID).
        """
        if bool(phone) == bool(id_number):
            raise InvalidArgument("SEARCH_ONE_OF", field="phone")
        by, text = (
            ("phone", phone_form(phone, "phone")) if phone else ("id_number", number_form(id_number, "id_number"))
        )
        keys = unit.runtime.keys.indexes(PARTY_INDEX, text)
        found = await store.cases_of_party(unit, keys, MOST_LOOKED_AT)
        seen = [case for case in found if view(unit.principal, case) == FULL]
        shown = seen[:MOST_FOUND]
        await store.SEARCHES.add(unit, Search(unit.new_id(), unit.principal.account, unit.now, by, len(shown)))
        return [await self.alone(unit, case) for case in shown], len(seen) > len(shown)

    async def tasks(self, unit: Unit, request: Any, state: str) -> tuple[list[OpenedTask], str]:
        """The tasks of the caller's own department. Of one that is over it sees that and why, and nothing of the matter any more."""
        page = Page.of(unit, request)
        after: Any = page.after or (FIRST_MOMENT, FIRST_ID)
        found = await lists.page_of_tasks(unit, unit.principal.department, state, after, page.limit)
        rows, token = page.cut(found, key=lambda task: (task.due_at, task.id))
        shown = await self.opened(unit, rows)
        return [replace(one, demand="", result="") if one.task.over else one for one in shown], token

    async def timeline(self, unit: Unit, case_id: UUID, request: Any) -> tuple[list[Entry], str]:
        """NotFound also for those who may know the stage alone: a timeline tells more."""
        case = await store.CASES.get(unit, case_id)
        if view(unit.principal, case) != FULL:
            raise NotFound("NOT_FOUND", resource="case_file")
        page = Page.of(unit, request)
        (after,) = page.after or (0,)
        rows, token = page.cut(await store.timeline(unit, case.id, after, page.limit), key=lambda row: (row["id"],))
        return [self.entry(unit, case.id, row) for row in rows], token

    async def reveal(self, unit: Unit, case_id: UUID, party_id: UUID, reason: str) -> tuple[Party, dict[str, str]]:
        """A party unmasked, for the responsible centre and the departments that work on the case. The reason stands in the audit."""
        found = await store.folder_locked(unit, case_id)
        case = found.case
        if not case.concerns(unit.principal.departments):
            raise PermissionDenied("CENTRE_NOT_RESPONSIBLE")
        party = next((one for one in found.parties if one.id == party_id), None)
        if party is None:
            raise NotFound("NOT_FOUND", resource="party", field="party_id")
        unit.note(purpose=reason)
        made = unit.new_id()
        await store.DISCLOSURES.add(unit, Disclosure(made, case.id, party.id, unit.principal.account, unit.now))
        store.add_steps(unit, case.id, [step("reveal", self.chain.named("role", party.role))])
        return party, self.identity(unit, party)

    # -- opening ----------------------------------------------------------------------------------------------------------

    def identity(self, unit: Unit, party: Party) -> dict[str, str]:
        identity: dict[str, str] = orjson.loads(unit.open("cases.party", party.id, party.identity))
        return identity

    def masked(self, unit: Unit, party: Party) -> dict[str, str]:
        return masked(party, self.identity(unit, party))

    async def opened(self, unit: Unit, tasks: Sequence[Task], others: Sequence[Task] = ()) -> list[OpenedTask]:
        """Tasks with their texts, and with what departments said against them. Most have nothing of that, and are not asked for it. `others`: all tasks
        of their case; without them nothing is said of what may be done."""
        returned = [task.case_id for task in tasks if task.refusals]
        asking = [task.case_id for task in tasks if task.asks]
        returns = await store.returns(unit, returned) if returned else []
        extensions = await store.extensions(unit, asking) if asking else []
        return [
            OpenedTask(
                task,
                self._text(unit, task, task.demand),
                self._text(unit, task, task.result),
                self._text(unit, task, task.ended_note),
                [self._said(unit, one, one.note, one.reason) for one in returns if one.task_id == task.id],
                [self._said(unit, one, one.reason, one.note) for one in extensions if one.task_id == task.id],
                self.chain.actions.of_task(unit, task, others) if others else (),
            )
            for task in tasks
        ]

    async def one(self, unit: Unit, task: Task) -> OpenedTask:
        """A task after a change, in the unit that read its case with all its tasks."""
        others = [other for other in store.TASKS.remembered(unit) if other.case_id == task.case_id]
        return (await self.opened(unit, [task], others))[0]

    def _text(self, unit: Unit, task: Task, sealed: bytes | None) -> str:
        return unit.open("cases.task", task.id, sealed) if sealed else ""

    def _said(self, unit: Unit, row: S, asked: bytes | None, answer: bytes | None) -> Objection[S]:
        return Objection(row, open_note(unit, row.case_id, asked), open_note(unit, row.case_id, answer))

    def agreed(self, unit: Unit, agreement: Agreement) -> tuple[Agreement, str, str]:
        """An agreement with its terms, and what was noted of its performance."""
        terms, note = (
            unit.open("cases.agreement", agreement.id, text) if text else ""
            for text in (agreement.terms, agreement.note)
        )
        return agreement, terms, note

    def entry(self, unit: Unit, case_id: UUID, row: Any) -> Entry:
        zh, en = self.sentence(row["what"], row["params"])
        return Entry(row["at"], row["what"], zh, en, row["actor"], open_note(unit, case_id, row["note"]))

    def sentence(self, what: str, params: str) -> tuple[str, str]:
        """A step as people read it, Chinese and English. What the grid did before comes as a sentence of its own."""
        values: dict[str, str] = orjson.loads(params)
        return self.chain.runtime.texts.of(f"timeline.{what}", filled(values))


def masked(party: Party, identity: dict[str, str]) -> dict[str, str]:
    """A party as answers show it. The name of an organisation is public."""
    name = identity["name"]
    return {
        "name": mask_name(name) if party.type == "natural_person" else name,
        "id_number": mask_id_number(identity["id_number"]),
        "phone": mask_phone(identity["phone"]),
    }


def list_scope(principal: Principal, division: str, centre: Centre | None) -> Scope:
    """What a list keeps to. Filters narrow what the caller's posts cover and never widen it: NotFound for a division or a centre beyond.

    People of a centre see what their centres are responsible for; leaders what lies in their division; a director is both, and begins with
    the former.
    """
    if division and not principal.covers(division) and not principal.system:
        raise NotFound("NOT_FOUND", field="division", resource="division")
    own = principal.departments if principal.may("cases.scope.centre") else ()
    wanted = (centre.id,) if centre else ()
    if own and not division and (centre is None or centre.id in own):
        return Scope("centre", wanted or own)
    if principal.may("cases.scope.division"):
        if centre and not division and principal.covers(centre.division):
            return Scope("centre", wanted)
        division = division or _only(principal.divisions)
        return Scope(LEVELS[len(division)], (division,), centres=wanted)
    if own:
        if not division or (centre and centre.id not in own):
            raise NotFound("NOT_FOUND", field="centre", resource="centre")
        return Scope(LEVELS[len(division)], (division,), centres=wanted or own)
    if principal.may("cases.scope.department"):
        return Scope("department", principal.departments, division, wanted)
    return Scope("reporter", (principal.account,), division, wanted)


def _only(divisions: Sequence[str]) -> str:
    if len(divisions) != 1:
        raise InvalidArgument("DIVISION_NEEDED", field="division")
    return divisions[0]

"""Every statement of the service, and who may see which row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from kit.errors import NotFound
from kit.gathered import Insert
from kit.identity import Principal
from kit.table import Table
from kit.unit import Unit
from services.cases import model
from services.cases.model import Agreement, CaseFile, Centre, Party, Supplement, Task, TaskExtension, TaskReturn

#: What a caller may know of a case: all of it (parties masked), where it stands, or not even that it exists.
FULL, STAGE, NOTHING = "full", "stage", ""


def view(principal: Principal, case: CaseFile) -> str:
    """What the principal may know of the case: division ∧ (centre ∨ department ∨ leader ∨ reporter) ∧ sensitivity."""
    if principal.system:
        return FULL
    if not principal.covers(case.division):
        # The worker whose report it was keeps seeing its stage, though her grid is narrower than a case that was placed by street.
        return STAGE if _reported(principal, case) else NOTHING
    if case.centre in principal.departments and principal.may("cases.scope.centre"):
        return FULL
    if not set(principal.departments).isdisjoint(case.departments) and principal.may("cases.scope.department"):
        return FULL
    if principal.may("cases.scope.division"):
        return STAGE if case.restricted else FULL
    return STAGE if _reported(principal, case) else NOTHING


def _reported(principal: Principal, case: CaseFile) -> bool:
    return bool(case.reporter) and case.reporter == principal.account and principal.may("cases.scope.reported")


@dataclass(frozen=True, slots=True)
class Disclosure:
    """A party was unmasked for somebody; the reason stands in the audit."""

    id: UUID
    case_id: UUID
    party_id: UUID
    account: str
    at: datetime
    version: int = 1


@dataclass(frozen=True, slots=True)
class Step:
    """Something that happened to a case. `params`: what its sentence is filled with; `told_parties`: the parties see it too."""

    what: str
    params: dict[str, str]
    told_parties: bool = False
    note: bytes | None = None
    at: datetime | None = None
    actor: str | None = None


#: The timeline.
STEPS = Insert("step", "case_id, at, what, actor, told_parties, params, note")
#: What parties are found by.
PARTY_KEYS = Insert("party_key", "key, case_id, party_id", "on conflict do nothing")
#: Pairs of parties.
PAIRS = Insert("party_pair", "key, seen_at, case_id")


@dataclass(frozen=True, slots=True)
class Search:
    """Somebody looked for cases by a telephone or an identity number. What was looked for is not kept; the audit counts the searches and their finds."""

    id: UUID
    account: str
    at: datetime
    by: str
    found: int
    version: int = 1


CASES = Table("case_file", CaseFile, visible=lambda unit, case: view(unit.principal, case) != NOTHING)
#: Parts are reached through their case, which decides who may see them.
TASKS = Table("task", Task)
PARTIES = Table("party", Party)
AGREEMENTS = Table("agreement", Agreement)
DISCLOSURES = Table("disclosure", Disclosure)
RETURNS = Table("task_return", TaskReturn)
EXTENSIONS = Table("task_extension", TaskExtension)
SUPPLEMENTS = Table("supplement", Supplement)
SEARCHES = Table("party_search", Search)

#: A case's tasks, parties and latest agreement as three arrays of rows, to stand in a select list. `{0}`: the case's id.
PARTS = (
    f"array(select row({TASKS.columns}) from task where case_id = {{0}} order by id limit 100), "
    f"array(select row({PARTIES.columns}) from party where case_id = {{0}} order by id limit 100), "
    f"array(select row({AGREEMENTS.columns}) from agreement where case_id = {{0}} order by id desc limit 1)"
)
N_PARTS = 3


@dataclass(frozen=True, slots=True)
class Folder:
    """A case with its parts. `agreement`: of the present conclusion, where its outcome is one."""

    case: CaseFile
    tasks: Sequence[Task] = ()
    parties: Sequence[Party] = ()
    agreement: Agreement | None = None


def _states(states: Sequence[str]) -> str:
    return "(" + ", ".join(f"'{state}'" for state in states) + ")"


OPEN_TASKS = f"state in {_states(model.OPEN)}"


async def folder(unit: Unit, case_id: UUID) -> Folder:
    """The case and its parts for a change; whoever asks saves the case.

    At the first try it is one round trip that locks nothing. If the case is changed meanwhile, the unit is done again, and now the case is
    locked first, so that its parts are read as they are under the lock.
    """
    if not unit.patient:
        found = await folder_seen(unit, str(case_id))
        unit.unlocked(CASES.name, case_id)
        return found
    return await folder_locked(unit, case_id)


async def folder_locked(unit: Unit, case_id: UUID) -> Folder:
    case = await CASES.get(unit, case_id)
    (row,) = await unit.fetch(f"select {PARTS.format('$1')}", case_id)
    return _folder(unit, case, row)


async def folder_seen(unit: Unit, id_or_code: str) -> Folder:
    """The case, by its id or its code, and its parts as they are now, in one round trip; NotFound."""
    by_id = len(id_or_code) == 36
    rows = await unit.peek(
        f"select {PARTS.format('case_file.id')}, {CASES.columns} from case_file where {'id' if by_id else 'code'} = $1",
        UUID(id_or_code) if by_id else id_or_code,
    )
    case = CASES.load(unit, tuple(rows[0])[N_PARTS:]) if rows else None
    if case is None or view(unit.principal, case) == NOTHING:
        raise NotFound("NOT_FOUND", resource="case_file")
    return _folder(unit, case, rows[0])


def _folder(unit: Unit, case: CaseFile, row: Any) -> Folder:
    # A reopened case has no agreement, whatever its earlier conclusion had.
    agreements = [AGREEMENTS.load(unit, one) for one in row[2] if case.performance]
    return Folder(
        case,
        [TASKS.load(unit, task) for task in row[0]],
        [PARTIES.load(unit, party) for party in row[1]],
        agreements[0] if agreements else None,
    )


async def folder_told(unit: Unit, case_id: UUID) -> Folder:
    """For the system that brought the case, which may know of it without seeing it."""
    (row,) = await unit.fetch(f"select {PARTS.format('$1')}, {CASES.columns} from case_file where id = $1", case_id)
    return _folder(unit, CASES.load(unit, tuple(row)[N_PARTS:]), row)


async def supplement(unit: Unit, case_id: UUID) -> Supplement | None:
    """What the applicant was asked for, the last time that she was."""
    found = await SUPPLEMENTS.list(unit, "case_id = $1 order by number desc limit 1", case_id)
    return found[0] if found else None


async def tasks_of(unit: Unit, case_id: UUID) -> list[Task]:
    """The tasks of a case that is locked."""
    return await TASKS.list(unit, "case_id = $1 order by id limit 100", case_id)


async def case_id_of_task(unit: Unit, task_id: UUID) -> UUID | None:
    """Read first without a lock: the case is locked before its task."""
    found: UUID | None = await unit.fetchval("select case_id from task where id = $1", task_id)
    return found


#: As many as the sequence goes on by.
NUMBERS_AT_ONCE = 50


async def next_numbers(unit: Unit) -> int:
    """The first of so many numbers that nobody else gets."""
    first: int = (await unit.peek("select nextval('case_number')"))[0][0]
    return first


@dataclass(frozen=True, slots=True)
class Scope:
    """What a list of cases keeps to: a column and its values, then a division and centres that narrow it where they are given.

    `column`: one of the table, or "city" with a prefix, or "department" with ids. Only centres and departments may be several.
    """

    column: str
    values: Sequence[str]
    division: str = ""
    centres: Sequence[str] = ()


#: Whose limit runs, as the partial indexes say it.
LIMITED = "state not in ('not_accepted', 'transferred', 'closed', 'follow_up')"

#: Rows that a total looks at. There may be more; then it says so.
COUNTED = 10_000


@dataclass(frozen=True, slots=True)
class Filters:
    """What a list of cases is narrowed to.

    `state`, `kind` and `risk` are names of the model, never text of a caller: a literal state lets the partial indexes of open cases serve.
    `first` and `last`: ids of the bounds of registration, which ids follow; `department`: id of one that was given a task.
    """

    state: str = ""
    kind: str = ""
    risk: str = ""
    category: str = ""
    department: str = ""
    overdue: bool = False
    first: UUID | None = None
    last: UUID | None = None

    def sql(self, arg: Callable[[Any], str]) -> str:
        """Conditions, each with its `and`; `arg` takes a value and tells its parameter."""
        parts = [f"{name} = '{value}'" for name, value in (("kind", self.kind), ("risk", self.risk)) if value]
        if self.state:
            parts.append(f"state = '{self.state}'")
        if self.category:
            parts.append(f"category = {arg(self.category)}")
        if self.department:
            parts.append(f"departments @> array[{arg(self.department)}::text]")
        if self.overdue:
            parts.append("overdue_since is not null")
        if self.first is not None:
            parts.append(f"id >= {arg(self.first)}")
        if self.last is not None:
            parts.append(f"id < {arg(self.last)}")
        return "".join(f" and {part}" for part in parts)


class _Arguments(list[Any]):
    def __call__(self, value: Any) -> str:
        self.append(value)
        return f"${len(self)}"


async def page_of_cases(unit: Unit, scope: Scope, filters: Filters, before: UUID, limit: int) -> list[CaseFile]:
    """Cases of one scope, the newest first."""
    arg = _Arguments()
    value, shown = arg(_value(scope)), arg(before)
    most = arg(limit)
    narrowed = _narrowed(scope, arg) + filters.sql(arg)
    match scope.column:
        case "department":
            given = f"department = any({value}) and case_id < {shown} and state not in {_states(model.OVER)}"
            tasks = f"select case_id from task where {given}"
            where = f"id in ({tasks}) and id < {shown}{narrowed}"
        case "centre" if len(scope.values) > 1:  # a page of each, so that the index gives every one in its order
            each = f"select id from case_file where centre = c.centre and id < {shown}{narrowed} order by id desc limit {most}"
            where = f"id in (select p.id from unnest({value}::text[]) as c (centre) cross join lateral ({each}) as p)"
        case _:
            where = f"{_within(scope, value)} and id < {shown}{narrowed}"
    return await CASES.list(unit, f"{where} order by id desc limit {most}", *arg)


async def page_by_limit(
    unit: Unit, scope: Scope, filters: Filters, after: tuple[datetime, UUID], limit: int
) -> list[CaseFile]:
    """Cases of one scope whose limit runs, the nearest limit first."""
    arg = _Arguments()
    value = arg(_value(scope))
    shown, most = f"({arg(after[0])}, {arg(after[1])})", arg(limit)
    narrowed = f" and {LIMITED} and (due_at, id) > {shown}{_narrowed(scope, arg)}{filters.sql(arg)}"
    order = f"order by due_at, id limit {most}"
    match scope.column:
        case "city":
            each = f"select id from case_file where county = c.division{narrowed} {order}"
            counties = (
                f"centre as c cross join lateral ({each}) as p where c.level = 'county' and c.division >= {value}"
            )
            where = f"id in (select p.id from {counties} and c.division < {value} || 'x')"
        case "centre" if len(scope.values) > 1:
            each = f"select id from case_file where centre = c.centre{narrowed} {order}"
            where = f"id in (select p.id from unnest({value}::text[]) as c (centre) cross join lateral ({each}) as p)"
        case "department":
            where = f"id in (select case_id from task where department = any({value}) and {OPEN_TASKS}){narrowed}"
        case _:
            where = f"{_within(scope, value)}{narrowed}"
    return await CASES.list(unit, f"{where} {order}", *arg)


async def count_of_cases(unit: Unit, scope: Scope, filters: Filters) -> tuple[int, bool]:
    """How many there are of one scope, and whether that is all: no more than COUNTED of the scope are looked at."""
    arg = _Arguments()
    value = arg(_value(scope))
    within = (
        f"id in (select case_id from task where department = any({value}) and state not in {_states(model.OVER)})"
        if scope.column == "department"
        else _within(scope, value)
    )
    narrowed = _narrowed(scope, arg)
    state = f" and state = '{filters.state}'" if filters.state else ""
    matching = filters.sql(arg).removeprefix(" and ") or "true"
    rows = await unit.peek(
        f"select count(*) filter (where {matching}), count(*) "
        f"from (select * from case_file where {within}{narrowed}{state} limit {COUNTED + 1}) as looked_at",
        *arg,
    )
    matching_count, looked_at = rows[0]
    return matching_count, looked_at <= COUNTED


def _value(scope: Scope) -> Any:
    several = scope.column in ("centre", "department") and (scope.column == "department" or len(scope.values) > 1)
    return list(scope.values) if several else scope.values[0]


def _narrowed(scope: Scope, arg: Callable[[Any], str]) -> str:
    """The scope's own division and centres."""
    narrowed = ""
    if scope.division:
        division = arg(scope.division)
        narrowed += f" and division >= {division} and division < {division} || 'x'"
    if scope.centres:
        narrowed += f" and centre = any({arg(list(scope.centres))})"
    return narrowed


def _within(scope: Scope, value: str) -> str:
    """The scope as a condition on the case itself; not of departments."""
    match scope.column:
        case "city":
            # Only the city's leaders come here: nearly every row is theirs, and the order by id is what pages.
            return f"county >= {value} and county < {value} || 'x'"
        case "community":
            return f"township = left({value}, 9) and community = {value}"
        case "centre" if len(scope.values) > 1:
            return f"centre = any({value}::text[])"
        case column:
            return f"{column} = {value}"


async def page_of_tasks(
    unit: Unit, department: str, state: str, after: tuple[datetime, UUID], limit: int
) -> list[Task]:
    """A department's tasks, the nearest limit first; all that are open when `state` is empty."""
    narrowed = OPEN_TASKS + (f" and state = '{state}'" if state else "")
    if state in (model.RESULT_SUBMITTED, model.ACCEPTED, *model.OVER):
        narrowed = f"state = '{state}'"
    where = f"department = $1 and {narrowed} and (due_at, id) > ($2, $3) order by due_at, id limit $4"
    return await TASKS.list(unit, where, department, *after, limit)


async def returns(unit: Unit, cases: Sequence[UUID]) -> list[TaskReturn]:
    """Every return of tasks of the cases, the oldest first."""
    return await RETURNS.list(unit, "case_id = any($1) order by id limit 1000", list(cases))


async def extensions(unit: Unit, cases: Sequence[UUID]) -> list[TaskExtension]:
    """Every request for more time of tasks of the cases, the oldest first."""
    return await EXTENSIONS.list(unit, "case_id = any($1) order by id limit 1000", list(cases))


# -- the timeline -----------------------------------------------------------------------------------------------------------------


def add_steps(unit: Unit, case_id: UUID, steps: Sequence[Step]) -> None:
    """Appends to the timeline of a case."""
    account = unit.principal.account
    unit.insert(
        STEPS,
        *(
            (
                case_id,
                step.at or unit.now,
                step.what,
                account if step.actor is None else step.actor,
                step.told_parties,
                orjson.dumps(step.params).decode(),
                step.note,
            )
            for step in steps
        ),
    )


async def timeline(
    unit: Unit, case_id: UUID, after: int, limit: int, *, parties_only: bool = False
) -> list[asyncpg.Record]:
    only = " and told_parties" if parties_only else ""
    return await unit.fetch(
        f"select id, at, what, actor, params, note from step where case_id = $1 and id > $2{only} order by id limit $3",
        case_id,
        after,
        limit,
    )


# -- duplicates ---------------------------------------------------------------------------------------------------------------------

#: `limit 1` keeps the planner to this order: a plan made over tables that are still small would begin with all cases of the county.
DUPLICATES = f"""
select {CASES.columns}
from (
    select distinct p.case_id from unnest($1::bytea[]) as k
    cross join lateral (
        select case_id from party_pair where key = k and seen_at > $2 order by seen_at desc limit 20
    ) as p
) as near
cross join lateral (select {CASES.columns} from case_file where id = near.case_id limit 1) as c
where county = $3 and (category = $4 or category = '' or $4 = '')
order by id desc limit 50
"""


async def duplicates(unit: Unit, case: CaseFile, pairs: Sequence[bytes], since: datetime) -> list[CaseFile]:
    """Recent cases of the same pairs as this one, which is not written yet; also those that the caller must not see."""
    rows = await unit.peek(DUPLICATES, list(pairs), since, case.county, case.category)
    return [CaseFile(*row) for row in rows]


def add_pairs(unit: Unit, case_id: UUID, pairs: Sequence[bytes]) -> None:
    unit.insert(PAIRS, *((key, unit.now, case_id) for key in pairs))


# -- search by party ---------------------------------------------------------------------------------------------------------------

BY_PARTY = f"""
select {CASES.columns}
from (
    select distinct case_id from party_key where key = any($1) order by case_id desc limit $2
) as near
cross join lateral (select * from case_file where id = near.case_id limit 1) as c
order by id desc
"""


async def cases_of_party(unit: Unit, keys: Sequence[bytes], limit: int) -> list[CaseFile]:
    """Cases of whoever has one of these keys, the newest first; also those that the caller must not see."""
    return [CaseFile(*row) for row in await unit.peek(BY_PARTY, list(keys), limit)]


def add_party_keys(unit: Unit, rows: Iterable[tuple[bytes, UUID, UUID]]) -> None:
    """(key, case, party)"""
    unit.insert(PARTY_KEYS, *rows)


async def parties_without_keys(unit: Unit, limit: int) -> list[Party]:
    """The next parties behind those that were seen to have their keys."""
    sql = f"""
    select {PARTIES.columns} from party
    where id > (select after from party_key_fill where id = 1) order by id limit $1
    """
    return [Party(*row) for row in await unit.fetch(sql, limit)]


async def keys_filled_to(unit: Unit, party_id: UUID) -> None:
    await unit.execute("update party_key_fill set after = $1 where id = 1", party_id)


# -- centres ------------------------------------------------------------------------------------------------------------------------


async def centres(unit: Unit) -> list[Centre]:
    rows = await unit.peek(
        "select id, name, name_en, level, division, superior from centre order by division limit 1000"
    )
    return [Centre(*row) for row in rows]


async def coverage(unit: Unit) -> dict[str, str]:
    """Division → id of the responsible centre. A table of reference data: as long as the list of divisions."""
    rows = await unit.peek("select division, centre from coverage order by division limit 100000")
    return {row["division"]: row["centre"] for row in rows}


async def load_centres(unit: Unit, rows: Iterable[Centre], covers: dict[str, str]) -> None:
    """Makes both tables say what the reference data say; writes nothing where they do already."""
    listed = list(rows)
    await unit.execute(
        "insert into centre (id, name, name_en, level, division, superior) "
        "select c.id, c.name, c.name_en, c.level, c.division, c.superior "
        "from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[]) "
        "as c (id, name, name_en, level, division, superior) on conflict (id) do update set "
        "name = excluded.name, name_en = excluded.name_en, level = excluded.level, division = excluded.division, superior = excluded.superior "
        "where (centre.name, centre.name_en, centre.level, centre.division, centre.superior) "
        "is distinct from (excluded.name, excluded.name_en, excluded.level, excluded.division, excluded.superior)",
        [c.id for c in listed],
        [c.name for c in listed],
        [c.name_en for c in listed],
        [c.level for c in listed],
        [c.division for c in listed],
        [c.superior for c in listed],
    )
    await unit.execute(
        "insert into coverage (division, centre) select d, c from unnest($1::text[], $2::text[]) as v (d, c) "
        "on conflict (division) do update set centre = excluded.centre where coverage.centre <> excluded.centre",
        list(covers),
        list(covers.values()),
    )


# -- departments, as the grid says ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Department:
    id: str
    name: str
    name_en: str
    division: str


async def departments(unit: Unit, ids: Sequence[str]) -> dict[str, Department]:
    """Those of the ids that name active departments."""
    rows = await unit.fetch(
        "select id, name, name_en, division from department where id = any($1) and active", list(ids)
    )
    return {row["id"]: Department(*row) for row in rows}


async def keep_department(unit: Unit, department: Department, active: bool, epoch: int, version: int) -> None:
    await unit.execute(
        "insert into department (id, name, name_en, division, active, epoch, version) values ($1, $2, $3, $4, $5, $6, $7) "
        "on conflict (id) do update set name = excluded.name, name_en = excluded.name_en, division = excluded.division, "
        "active = excluded.active, epoch = excluded.epoch, version = excluded.version "
        "where (department.epoch, department.version) < (excluded.epoch, excluded.version)",
        department.id,
        department.name,
        department.name_en,
        department.division,
        active,
        epoch,
        version,
    )


# -- who works where, as the grid says --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Colleague:
    """An account of a department, or the holder of one of its posts. `id`: of the staff or the post."""

    id: UUID
    account: str
    department: str
    active: bool


async def works_in(unit: Unit, account: str, department: str) -> bool:
    return bool(
        await unit.fetchval(
            "select exists (select from colleague where department = $2 and account = $1 and active)",
            account,
            department,
        )
    )


async def keep_colleague(unit: Unit, who: Colleague, epoch: int, version: int) -> None:
    await unit.execute(
        "insert into colleague (id, account, department, active, epoch, version) values ($1, $2, $3, $4, $5, $6) "
        "on conflict (id) do update set account = excluded.account, department = excluded.department, active = excluded.active, "
        "epoch = excluded.epoch, version = excluded.version "
        "where (colleague.epoch, colleague.version) < (excluded.epoch, excluded.version)",
        who.id,
        who.account,
        who.department,
        who.active,
        epoch,
        version,
    )


# -- the look-up's guard --------------------------------------------------------------------------------------------------------------

COUNT_TRY = """
insert into lookup_guard as g (code, failures, locks, last_at) values ($1, 1, 0, $2)
on conflict (code) do update
set failures = g.failures + case when g.locked_until > $2 then 0 else 1 end,
    locks = case when g.last_at < $3 then 0 else g.locks end,
    last_at = $2
returning failures, locks, locked_until
"""


async def count_try(unit: Unit, code: str, now: datetime, forgotten: datetime) -> asyncpg.Record:
    """Counts a try before the PIN is looked at, so that tries at the same time are counted one by one: failures, locks, locked_until.

    What lies before `forgotten` is forgotten.
    """
    row = await unit.fetchrow(COUNT_TRY, code, now, forgotten)
    assert row is not None
    return row


async def lock_code(unit: Unit, code: str, until: datetime) -> None:
    await unit.execute(
        "update lookup_guard set failures = 0, locks = locks + 1, locked_until = $2 where code = $1", code, until
    )


async def forget_tries(unit: Unit, code: str) -> None:
    """The PIN was right."""
    await unit.execute("delete from lookup_guard where code = $1", code)


async def folder_by_code(unit: Unit, code: str) -> Folder | None:
    """For somebody without an account, who has yet to show a PIN."""
    row = await unit.fetchrow(
        f"select {PARTS.format('case_file.id')}, {CASES.columns} from case_file where code = $1", code
    )
    return None if row is None else _folder(unit, CaseFile(*tuple(row)[N_PARTS:]), row)


async def cases_after(unit: Unit, after: UUID, limit: int) -> list[CaseFile]:
    """For snapshots: every case once, by id."""
    return await CASES.list(unit, "id > $1 order by id limit $2", after, limit)


OVERDUE = """
select
    (select count(*) from case_file where told >= 2 and state = 'registered'),
    (select count(*) from case_file where told >= 2 and state in ('accepted', 'handling', 'result_submitted', 'centre_review')),
    (select count(*) from task t
        where told >= 2 and state in ('dispatched', 'signed_in', 'handling', 'rework', 'return_pending')
        and not exists (select from case_file c where c.id = t.case_id and c.state = 'suspended'))
"""


async def overdue(unit: Unit) -> tuple[int, int, int]:
    """How many cases wait for acceptance, cases for their conclusion, and tasks for a result, beyond their limit. What is suspended is not waited for."""
    row = await unit.fetchrow(OVERDUE)
    assert row is not None
    return row[0], row[1], row[2]

"""Cases with their parts, and who may see which; lists, the directory and the rest have files of their own beside it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
from services.cases.model import Agreement, CaseFile, Party, Supplement, Task, TaskExtension, TaskReturn

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


def states_sql(states: Sequence[str]) -> str:
    return "(" + ", ".join(f"'{state}'" for state in states) + ")"


OPEN_TASKS = f"state in {states_sql(model.OPEN)}"


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

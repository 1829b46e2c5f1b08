"""Every statement of the service, and who may see which row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from kit.identity import Principal
from kit.table import Table
from kit.unit import Unit
from services.cases import model
from services.cases.model import CaseFile, Centre, Party, Task

#: What a caller may know of a case: all of it (parties masked), where it stands, or not even that it exists.
FULL, STAGE, NOTHING = "full", "stage", ""


def view(principal: Principal, case: CaseFile) -> str:
    """What the principal may know of the case: division ∧ (centre ∨ department ∨ leader ∨ reporter) ∧ sensitivity."""
    if principal.system:
        return FULL
    if not principal.covers(case.division):
        # The worker whose report it was keeps seeing its stage, though her grid is narrower than a case that was placed by street.
        return STAGE if _reported(principal, case) else NOTHING
    if principal.department == case.centre and principal.may("cases.scope.centre"):
        return FULL
    if principal.department in case.departments and principal.may("cases.scope.department"):
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


CASES = Table("case_file", CaseFile, visible=lambda unit, case: view(unit.principal, case) != NOTHING)
#: Parts are reached through their case, which decides who may see them.
TASKS = Table("task", Task)
PARTIES = Table("party", Party)
DISCLOSURES = Table("disclosure", Disclosure)

#: The same for a part as for its root.
OPEN_TASKS = f"state in ('{model.DISPATCHED}', '{model.SIGNED_IN}', '{model.HANDLING}', '{model.REWORK}')"


async def case_of(unit: Unit, id_or_code: str) -> CaseFile:
    """The case by its id or its code; NotFound."""
    if len(id_or_code) == 36:
        return await CASES.get(unit, UUID(id_or_code))
    found = await CASES.find(unit, "code = $1", id_or_code)
    return found or await CASES.get(unit, UUID(int=0))


async def tasks_of(unit: Unit, case_id: UUID) -> list[Task]:
    return await TASKS.list(unit, "case_id = $1 order by id limit 100", case_id)


async def parties_of(unit: Unit, case_id: UUID) -> list[Party]:
    return await PARTIES.list(unit, "case_id = $1 order by id limit 100", case_id)


async def case_id_of_task(unit: Unit, task_id: UUID) -> UUID | None:
    """Read first without a lock: the case is locked before its task."""
    found: UUID | None = await unit.fetchval("select case_id from task where id = $1", task_id)
    return found


async def next_numbers(unit: Unit) -> int:
    """The first of fifty numbers that nobody else gets."""
    first: int = await unit.fetchval("select nextval('case_number')")
    return first


async def page_of_cases(
    unit: Unit, scope: tuple[str, str], state: str, kind: str, before: UUID, limit: int
) -> list[CaseFile]:
    """Cases of one scope, the newest first. `scope`: a column and its value, "city" and a prefix, or "department" and its id.

    `state` and `kind` are names of the model, never text of a caller: a literal state lets the partial indexes of open cases serve.
    """
    column, value = scope
    narrowed = (f" and state = '{state}'" if state else "") + (f" and kind = '{kind}'" if kind else "")
    match column:
        case "city":
            # Only the city's leaders come here. `~>=~` would use another index: the order by id is what pages.
            where = "county >= $1 and county < $1 || 'x' and id < $2" + narrowed
        case "department":
            where = f"id in (select case_id from task where department = $1 and case_id < $2) and id < $2{narrowed}"
        case "community":
            where = f"township = left($1, 9) and community = $1 and id < $2{narrowed}"
        case _:
            where = f"{column} = $1 and id < $2{narrowed}"
    return await CASES.list(unit, f"{where} order by id desc limit $3", value, before, limit)


async def page_of_tasks(
    unit: Unit, department: str, state: str, after: tuple[datetime, UUID], limit: int
) -> list[Task]:
    """A department's tasks, the nearest limit first; all that are open when `state` is empty."""
    narrowed = OPEN_TASKS + (f" and state = '{state}'" if state else "")
    if state in (model.RESULT_SUBMITTED, model.ACCEPTED):
        narrowed = f"state = '{state}'"
    where = f"department = $1 and {narrowed} and (due_at, id) > ($2, $3) order by due_at, id limit $4"
    return await TASKS.list(unit, where, department, *after, limit)


# -- the timeline -----------------------------------------------------------------------------------------------------------------

ADD_STEPS = """
insert into step (case_id, at, what, actor, told_parties, params, note)
select $1, s.at, s.what, s.actor, s.told_parties, s.params, s.note
from unnest($2::timestamptz[], $3::text[], $4::text[], $5::boolean[], $6::text[], $7::bytea[]) with ordinality
    as s (at, what, actor, told_parties, params, note, nth)
order by s.nth
"""


def _step_columns(unit: Unit, steps: Sequence[Step]) -> tuple[list[Any], ...]:
    return (
        [step.at or unit.now for step in steps],
        [step.what for step in steps],
        [unit.principal.account if step.actor is None else step.actor for step in steps],
        [step.told_parties for step in steps],
        [orjson.dumps(step.params).decode() for step in steps],
        [step.note for step in steps],
    )


async def add_steps(unit: Unit, case_id: UUID, steps: Sequence[Step]) -> None:
    await unit.execute(ADD_STEPS, case_id, *_step_columns(unit, steps))


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

#: The first steps and the pairs of a new case are written by the statement that looks for earlier ones: one round trip.
REGISTER = f"""
with steps as ({ADD_STEPS}), pairs as (
    insert into party_pair (key, seen_at, case_id) select k, $8, $1 from unnest($9::bytea[]) as k
)
select distinct on (c.id) c.id, c.code, c.state, c.registered_at
from unnest($9::bytea[]) as k
cross join lateral (
    select p.case_id from party_pair p where p.key = k and p.seen_at > $10 order by p.seen_at desc limit 20
) as near
join case_file c on c.id = near.case_id
where c.id <> $1 and c.county = $11 and (c.category = $12 or c.category = '' or $12 = '')
order by c.id desc limit 5
"""


async def register(
    unit: Unit, case: CaseFile, steps: Sequence[Step], pairs: Sequence[bytes], since: datetime
) -> list[asyncpg.Record]:
    """Writes the first steps and the pairs of a case's parties. Returns recent cases of the same pairs: id, code, state, registered_at."""
    columns = _step_columns(unit, steps)
    return await unit.fetch(REGISTER, case.id, *columns, unit.now, list(pairs), since, case.county, case.category)


async def add_pairs(unit: Unit, case_id: UUID, pairs: Sequence[bytes]) -> None:
    await unit.execute(
        "insert into party_pair (key, seen_at, case_id) select k, $2, $1 from unnest($3::bytea[]) as k",
        case_id,
        unit.now,
        list(pairs),
    )


# -- centres ------------------------------------------------------------------------------------------------------------------------


async def centres(unit: Unit) -> list[Centre]:
    rows = await unit.fetch("select id, name, level, division, superior from centre order by division limit 1000")
    return [Centre(*row) for row in rows]


async def coverage(unit: Unit) -> dict[str, str]:
    """Division → id of the responsible centre. A table of reference data: as long as the list of divisions."""
    rows = await unit.fetch("select division, centre from coverage order by division limit 100000")
    return {row["division"]: row["centre"] for row in rows}


async def load_centres(unit: Unit, rows: Iterable[Centre], covers: dict[str, str]) -> None:
    """Makes both tables say what the reference data say; writes nothing where they do already."""
    listed = list(rows)
    await unit.execute(
        "insert into centre (id, name, level, division, superior) "
        "select c.id, c.name, c.level, c.division, c.superior from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[]) "
        "as c (id, name, level, division, superior) on conflict (id) do update "
        "set name = excluded.name, level = excluded.level, division = excluded.division, superior = excluded.superior "
        "where (centre.name, centre.level, centre.division, centre.superior) "
        "is distinct from (excluded.name, excluded.level, excluded.division, excluded.superior)",
        [c.id for c in listed],
        [c.name for c in listed],
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
    division: str


async def departments(unit: Unit, ids: Sequence[str]) -> dict[str, Department]:
    """Those of the ids that name active departments."""
    rows = await unit.fetch("select id, name, division from department where id = any($1) and active", list(ids))
    return {row["id"]: Department(*row) for row in rows}


async def keep_department(unit: Unit, department: Department, active: bool, epoch: int, version: int) -> None:
    await unit.execute(
        "insert into department (id, name, division, active, epoch, version) values ($1, $2, $3, $4, $5, $6) "
        "on conflict (id) do update set name = excluded.name, division = excluded.division, active = excluded.active, "
        "epoch = excluded.epoch, version = excluded.version "
        "where (department.epoch, department.version) < (excluded.epoch, excluded.version)",
        department.id,
        department.name,
        department.division,
        active,
        epoch,
        version,
    )


# -- the look-up's guard --------------------------------------------------------------------------------------------------------------


async def count_try(unit: Unit, code: str, now: datetime) -> asyncpg.Record:
    """Counts a try before the PIN is looked at, so that tries at the same time are counted one by one: failures, locks, locked_until."""
    row = await unit.fetchrow(
        "insert into lookup_guard as g (code, failures, locks, last_at) values ($1, 1, 0, $2) on conflict (code) do update "
        "set failures = g.failures + case when g.locked_until > $2 then 0 else 1 end, last_at = $2 returning failures, locks, locked_until",
        code,
        now,
    )
    assert row is not None
    return row


async def lock_code(unit: Unit, code: str, until: datetime) -> None:
    await unit.execute(
        "update lookup_guard set failures = 0, locks = locks + 1, locked_until = $2 where code = $1", code, until
    )


async def forget_tries(unit: Unit, code: str, before: datetime) -> None:
    """The PIN was right. Guards that nobody touched since `before` go too, a few at a time."""
    await unit.execute(
        "delete from lookup_guard where code = $1 or code in "
        "(select code from lookup_guard where last_at < $2 order by last_at limit 10 for update skip locked)",
        code,
        before,
    )


async def case_by_code(unit: Unit, code: str) -> CaseFile | None:
    """For somebody without an account, who has yet to show a PIN."""
    row = await unit.fetchrow(f"select {CASES.columns} from case_file where code = $1", code)
    return None if row is None else CaseFile(*row)


async def cases_after(unit: Unit, after: UUID, limit: int) -> list[CaseFile]:
    """For snapshots: every case once, by id."""
    return await CASES.list(unit, "id > $1 order by id limit $2", after, limit)

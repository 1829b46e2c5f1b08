"""Centres, which are reference data, and what the grid says of departments and of who works where."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from kit.unit import Unit
from services.cases.model import Centre

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

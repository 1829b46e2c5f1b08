"""Grids and the members of their triangles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from uuid import UUID

from kit.errors import NotFound
from kit.table import Table
from kit.unit import Unit
from services.grid.model.grids import Grid, Member, Room, Vacancy
from services.grid.model.points import Point
from services.grid.store.scope import after

GRIDS = Table("grid", Grid)
MEMBERS = Table("grid_member", Member)

#: Whoever serves the grid on a day in a role, and who stands in for those who are away.
SERVES = """
select m.account from grid_member m
where m.grid_id = $1 and m.role = any($2) and m.account <> '' and m.from_date <= $3 and (m.until_date is null or m.until_date >= $3)
"""

STANDS_IN = """
select from leave l
where l.substitute = $2 and l.until_date >= $3 and l.from_date <= $3 and l.account in (
    select m.account from grid_member m
    where m.grid_id = $1 and m.role = 'grid_worker' and m.from_date <= $3 and (m.until_date is null or m.until_date >= $3)
)
"""

VACANCIES = """
select g.code, p.role, p.least - count(m.id) as missing
from grid g
join unnest($5::text[], $6::text[], $7::int[]) as p (form, role, least) on p.form = g.form
left join grid_member m
    on m.grid_id = g.id and m.role = p.role and m.from_date <= $8 and (m.until_date is null or m.until_date >= $8)
where g.code >= $1 and g.code < $2 and (g.code, p.role) > ($3, $4) and g.active
group by g.code, p.role, p.least
having count(m.id) < p.least
order by g.code, p.role
limit $9
"""


async def get(unit: Unit, code: str) -> Grid:
    found = await GRIDS.find(unit, "code = $1", code)
    if found is None:
        raise NotFound("NOT_FOUND", resource="grid")
    return found


async def by_code(unit: Unit, code: str) -> Grid | None:
    """Whoever asks: reports are routed across divisions. Never locked."""
    row = await unit.fetchrow(f"select {GRIDS.columns} from grid where code = $1", code)
    return None if row is None else Grid(*row)


async def by_id(unit: Unit, grid_id: UUID) -> Grid | None:
    row = await unit.fetchrow(f"select {GRIDS.columns} from grid where id = $1", grid_id)
    return None if row is None else Grid(*row)


async def around(unit: Unit, point: Point) -> Sequence[Grid]:
    """Grids in whose box the point lies."""
    sql = f"""
    select {GRIDS.columns} from grid
    where west is not null and box(point(west, south), point(east, north)) @> box(point($1, $2), point($1, $2)) and active
    """
    return [Grid(*row) for row in await unit.fetch(sql, point.lon, point.lat)]


async def near(unit: Unit, grid: Grid) -> Sequence[Grid]:
    """Other grids whose boxes touch this one's."""
    sql = f"""
    select {GRIDS.columns} from grid
    where west is not null and box(point(west, south), point(east, north)) && box(point($1, $2), point($3, $4)) and active and id <> $5
    """
    return [Grid(*row) for row in await unit.fetch(sql, grid.west, grid.south, grid.east, grid.north, grid.id)]


async def grids(unit: Unit, division: str, kind: str, after_code: str, limit: int) -> Sequence[Grid]:
    return await GRIDS.list(
        unit,
        "code >= $1 and code < $2 and code > $3 and ($4 = '' or kind = $4) order by code limit $5",
        division,
        after(division),
        after_code,
        kind,
        limit,
    )


async def last_code(unit: Unit, community: str) -> str | None:
    """The highest code given in a community so far, given-up grids included. The community's row is locked until the commit."""
    await unit.fetchval("select code from division where code = $1 for no key update", community)
    code: str | None = await unit.fetchval(
        "select max(code) from grid where code >= $1 and code < $2", community, after(community)
    )
    return code


async def members(unit: Unit, grid_id: UUID) -> Sequence[Member]:
    """All there are, were or will be."""
    return await MEMBERS.list(unit, "grid_id = $1 order by from_date, id", grid_id)


async def members_on(unit: Unit, grid_id: UUID, day: date) -> Sequence[Member]:
    where = "grid_id = $1 and from_date <= $2 and (until_date is null or until_date >= $2) order by from_date, id"
    return await MEMBERS.list(unit, where, grid_id, day)


async def members_page(
    unit: Unit, grid_id: UUID, day: date | None, after_key: tuple[date, UUID], limit: int
) -> Sequence[Member]:
    return await MEMBERS.list(
        unit,
        "grid_id = $1 and ($2::date is null or (from_date <= $2 and (until_date is null or until_date >= $2))) "
        "and (from_date, id) > ($3, $4) order by from_date, id limit $5",
        grid_id,
        day,
        *after_key,
        limit,
    )


async def member(unit: Unit, grid_id: UUID, member_id: UUID) -> Member:
    found = await MEMBERS.find(unit, "id = $1 and grid_id = $2", member_id, grid_id)
    if found is None:
        raise NotFound("NOT_FOUND", resource="grid_member")
    return found


async def vacancies(
    unit: Unit,
    division: str,
    today: date,
    rooms: Mapping[str, Mapping[str, Room]],
    after_key: tuple[str, str],
    limit: int,
) -> Sequence[Vacancy]:
    """`rooms`: by form and role."""
    columns = zip(*((form, role, room.least) for form in rooms for role, room in rooms[form].items()), strict=True)
    rows = await unit.fetch(VACANCIES, division, after(division), *after_key, *map(list, columns), today, limit)
    return [Vacancy(*row) for row in rows]


async def own(unit: Unit, account: str, today: date) -> Sequence[Grid]:
    """Active grids whose triangle the account is in today."""
    sql = f"""
    select {GRIDS.columns} from grid
    where active and id in (
        select m.grid_id from grid_member m
        where m.account = $1 and m.account <> '' and m.from_date <= $2 and (m.until_date is null or m.until_date >= $2)
    )
    order by code limit 200
    """
    return [Grid(*row) for row in await unit.fetch(sql, account, today)]


async def memberships(unit: Unit, account: str, today: date) -> Sequence[tuple[str, str, str, str]]:
    """(code, name, role, community) of each place in a triangle that the account has today, in active grids."""
    sql = """
    select g.code, g.name, m.role, g.division from grid_member m join grid g on g.id = m.grid_id
    where m.account = $1 and m.account <> '' and m.from_date <= $2 and (m.until_date is null or m.until_date >= $2) and g.active
    order by g.code, m.role limit 200
    """
    return [tuple(row) for row in await unit.fetch(sql, account, today)]


async def serving(unit: Unit, grid_id: UUID, roles: Sequence[str], today: date) -> list[str]:
    """Accounts in these roles today."""
    return [row["account"] for row in await unit.fetch(SERVES, grid_id, list(roles), today)]


async def stands_in(unit: Unit, grid_id: UUID, account: str, today: date) -> bool:
    """Whether the account stands in for a full-time worker of the grid today."""
    return bool(await unit.fetchval(f"select exists ({STANDS_IN})", grid_id, account, today))

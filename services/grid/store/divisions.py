"""Divisions. Reference data: no versions, no audit, visible to everybody who is signed in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from kit.errors import NotFound
from kit.unit import Unit
from services.grid.model.divisions import Division
from services.grid.store.scope import after

NAMES = [field.name for field in fields(Division)]
COLUMNS = ", ".join(NAMES)

PUT = f"""
insert into division ({COLUMNS}) values ({", ".join(f"${n}" for n in range(1, len(NAMES) + 1))})
on conflict (code) do update set {", ".join(f"{name} = excluded.{name}" for name in NAMES[1:])}
"""

#: The best first: the name itself, what begins with the words, then what holds them; the higher level before the lower.
SEARCH = f"""
select {COLUMNS} from (
    select {COLUMNS}, case
        when $1 in (name, short_name, code, code12, mca_code) then 0
        when short_name like $2 || '%' or ' ' || initials || ' ' like '% ' || $2 || ' %' then 1
        when ' ' || pinyin like '% ' || $2 || '%' or code like $2 || '%' or code12 like $2 || '%' or mca_code like $2 || '%' then 2
        when ' ' || initials like '% ' || $2 || '%' then 3
        when name like '%' || $2 || '%' or pinyin like '%' || $2 || '%' then 4
        end as rank
    from division
    where code >= $3 and code < $4 and ($5 = '' or level = $5)
) as found
where rank is not null
order by rank, length(code), length(short_name), code
limit 50
"""


async def get(unit: Unit, code: str) -> Division:
    found = await find(unit, code)
    if found is None:
        raise NotFound("NOT_FOUND", resource="division")
    return found


async def find(unit: Unit, code: str) -> Division | None:
    row = await unit.fetchrow(f"select {COLUMNS} from division where code = $1", code)
    return None if row is None else Division(*row)


async def children(unit: Unit, parent: str, level: str, after_code: str, limit: int) -> Sequence[Division]:
    sql = f"select {COLUMNS} from division where parent = $1 and ($2 = '' or level = $2) and code > $3 order by code limit $4"
    return [Division(*row) for row in await unit.fetch(sql, parent, level, after_code, limit)]


async def below(unit: Unit, ancestor: str, level: str, after_code: str, limit: int) -> Sequence[Division]:
    """All that lies in a division, without itself; the whole tree for ""."""
    first, last = (ancestor, after(ancestor)) if ancestor else ("", "~")
    sql = f"""
    select {COLUMNS} from division
    where code > $1 and code < $2 and ($3 = '' or level = $3) and code > $4
    order by code limit $5
    """
    return [Division(*row) for row in await unit.fetch(sql, first, last, level, after_code, limit)]


async def search(unit: Unit, words: str, ancestor: str, level: str) -> Sequence[Division]:
    first, last = (ancestor, after(ancestor)) if ancestor else ("", "~")
    escaped = words.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return [Division(*row) for row in await unit.fetch(SEARCH, words, escaped, first, last, level)]


async def loaded(unit: Unit, name: str) -> str | None:
    """The digest of the shipped content that is loaded under this name."""
    digest: str | None = await unit.fetchval("select digest from shipped where name = $1", name)
    return digest


async def load(unit: Unit, divisions: Sequence[Division]) -> None:
    await unit.executemany(PUT, [[getattr(division, column) for column in NAMES] for division in divisions])


async def loaded_now(unit: Unit, name: str, digest: str) -> None:
    sql = "insert into shipped (name, digest) values ($1, $2) on conflict (name) do update set digest = excluded.digest"
    await unit.execute(sql, name, digest)

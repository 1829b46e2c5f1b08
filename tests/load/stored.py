"""Many cases in a database, quickly: those that the service wrote itself are cloned by SQL, under time-ordered ids spread over the year before.

A clone has every row that its sample has, in all tables of the service, in the figures, the audit and the event log. Sealed texts are copied as
they are, and since they are bound to their sample's id nobody can open them: clones are there to be in the way. `unsealed` makes some of them readable.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import asyncpg

from kit.config import Settings
from kit.database import Database
from kit.sealing import Keys

#: The time-ordered id of a clone, the same wherever its sample's id stands.
NEW_ID = """
create function pg_temp.new_id(old uuid, n int, at timestamptz) returns uuid language sql immutable as $$
    select (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || '7' || substr(h, 1, 3) || '8' || substr(h, 4, 15))::uuid
    from md5(old::text || n) as h
$$
"""

#: One row per clone: which sample, when it was registered, how far its times are moved.
CLONES = """
create temp table clone as
select n, s.id as sample, $2::timestamptz - $3::interval * (1 - n::float8 / $1) as at,
    $2::timestamptz - $3::interval * (1 - n::float8 / $1) - s.registered_at as later
from generate_series(1, $1::int) as n
join (select id, registered_at, row_number() over (order by id) - 1 as nth from cases.case_file) as s
    on s.nth = n % (select count(*) from cases.case_file)
"""

#: Table → the column that names its case, and what stands in its columns instead of the sample's value.
TABLES: dict[str, tuple[str, dict[str, str]]] = {
    "cases.case_file": ("id", {"id": "{id}", "code": "to_char(n, 'FM000000000000') || t.code"}),
    "cases.task": ("case_id", {"id": "pg_temp.new_id(t.id, n, c.at)", "case_id": "{id}"}),
    "cases.party": ("case_id", {"id": "pg_temp.new_id(t.id, n, c.at)", "case_id": "{id}"}),
    # The key of another pair of names.
    "cases.party_pair": ("case_id", {"key": "sha256(t.key || int4send(n))", "case_id": "{id}"}),
    "cases.step": ("case_id", {"id": "", "case_id": "{id}"}),
    "cases.case_fact": ("case_id", {"case_id": "{id}"}),
}

AUDIT = """
insert into cases.audit (entity, entity_id, version, at, actor, on_behalf, action, before, after, purpose, trace)
select t.entity, pg_temp.new_id(t.entity_id, n, c.at), t.version, t.at + c.later, t.actor, t.on_behalf, t.action, t.before, t.after, t.purpose,
    t.trace
from clone c join (
    select a.*, coalesce(k.case_id, p.case_id, a.entity_id) as case_id from cases.audit a
    left join cases.task k on k.id = a.entity_id left join cases.party p on p.id = a.entity_id
) as t on t.case_id = c.sample order by n, t.seq
"""

#: As if the sealer had been there: hashing them all is not what is measured.
SEALED = """
insert into cases.audit_block (number, previous, root, rows, first, last, sealed_at)
select coalesce((select max(number) from cases.audit_block), 0) + 1, '', '', count(*), min(seq), max(seq), max(at) from cases.audit
where seq > coalesce((select max(last) from cases.audit_block), 0)
"""

FIGURES = """
insert into cases.figure (
    division, day, kind, category, accepted, resolved, concluded, reopened, overdue, resolved_that_day, concluded_that_day
)
select place, f.accepted_on, kind, category, count(*), count(resolved_on), count(concluded_on), count(*) filter (where reopened),
    count(*) filter (where overdue), count(resolved_on), count(concluded_on)
from cases.case_fact f cross join lateral (values (left(county, 4)), (county), (township)) as p (place)
where place <> '' and accepted_on is not null group by 1, 2, 3, 4
on conflict (division, day, kind, category) do update set accepted = excluded.accepted, resolved = excluded.resolved,
    concluded = excluded.concluded, resolved_that_day = excluded.resolved_that_day, concluded_that_day = excluded.concluded_that_day
"""

#: The log keeps thirty days.
RECORDS = """
with said as (
    select t.*, c.n, c.at as registered, c.later from clone c join log.record t on t.key = c.sample::text
    where c.at > (select max(at) from clone) - interval '30 days'
), added as (
    insert into log.record (topic, partition, "offset", event_id, type, source, key, division, snapshot, value, at, traceparent)
    select s.topic, s.partition, p.next_offset - 1 + row_number() over (partition by s.topic, s.partition order by n, s."offset"),
        pg_temp.new_id(s.event_id, n, registered), type, source, pg_temp.new_id(key::uuid, n, registered)::text, division, snapshot, value,
        s.at + later, traceparent
    from said s join log.partition p on p.topic = s.topic and p.number = s.partition order by n
    returning topic, partition, "offset"
), moved as (
    update log.partition p set next_offset = a.last + 1
    from (select topic, partition, max("offset") as last from added group by 1, 2) as a where p.topic = a.topic and p.number = a.partition
    returning p.topic, p.number, p.next_offset
)
update log.position p set "offset" = m.next_offset from moved m where p.topic = m.topic and p.partition = m.number
"""


async def store(settings: Settings, cases: int) -> None:
    """Clones what is there until there are so many more cases. Nothing else may run on the data folder."""
    async with Database.open(settings) as database:
        assert database.embedded is not None
        await store_at(database.embedded.dsn(database=settings.database.name), cases)


async def store_at(url: str, cases: int) -> None:
    """The same in the database of a superuser's URL, from which no service reads or writes meanwhile; without the log where that is elsewhere."""
    connection = await asyncpg.connect(url)
    try:
        await _clone(connection, cases)
        await connection.execute("vacuum (analyze)")
        await connection.execute("checkpoint")
    finally:
        await connection.close()


async def _clone(connection: asyncpg.Connection, cases: int) -> None:
    now = await connection.fetchval("select min(registered_at) from cases.case_file")
    await connection.execute(NEW_ID)
    async with connection.transaction():
        # No look-up of each row's case: it is there.
        await connection.execute(
            "set local synchronous_commit to off; set local work_mem to '256MB'; set local session_replication_role to replica"
        )
        # Parameters have no place in `create table as`.
        year, number = "interval '365 days'", str(cases)
        clones = CLONES.replace("$3::interval", year).replace("$2", f"'{now.isoformat()}'").replace("$1", number)
        await connection.execute(clones)
        for table, (owner, changed) in TABLES.items():
            await connection.execute(await _statement(connection, table, owner, changed))
        log_here = await connection.fetchval("select to_regclass('log.record') is not null")
        for statement in (AUDIT, SEALED, FIGURES, *([RECORDS] if log_here else [])):
            await connection.execute(statement)
    await connection.execute("drop table clone; drop function pg_temp.new_id")


async def _statement(connection: asyncpg.Connection, table: str, owner: str, changed: dict[str, str]) -> str:
    """Every column of a table: new where it names something, moved where it is a time, and the sample's otherwise."""
    schema, _, name = table.partition(".")
    columns = await connection.fetch(
        "select column_name, data_type from information_schema.columns where table_schema = $1 and table_name = $2",
        schema,
        name,
    )
    values: dict[str, str] = {}
    for column, kind in columns:
        if column in changed:
            if changed[column]:
                values[column] = changed[column].format(id="pg_temp.new_id(c.sample, n, c.at)")
        elif kind == "timestamp with time zone":
            values[column] = f"t.{column} + c.later"
        elif kind == "date":
            values[column] = f"(t.{column} + c.later)::date"
        else:
            values[column] = f"t.{column}"
    order = "n, t.id" if "id" in changed else "n"
    return (
        f"insert into {table} ({', '.join(values)}) select {', '.join(values.values())} "
        f"from clone c join {table} t on t.{owner} = c.sample order by {order}"
    )


#: Table, column that names its case, column of the row that the seal is bound to, sealed column, field that it is sealed for.
SEALED_COLUMNS = (
    ("cases.case_file", "id", "id", "content", "cases.content"),
    ("cases.case_file", "id", "id", "outcome_note", "cases.note"),
    ("cases.task", "case_id", "id", "demand", "cases.task"),
    ("cases.task", "case_id", "id", "result", "cases.task"),
    ("cases.party", "case_id", "id", "identity", "cases.party"),
    ("cases.step", "case_id", "case_id", "note", "cases.note"),
)


async def readable(connection: asyncpg.Connection, keys: Keys, ids: Sequence[UUID]) -> None:
    """Seals the texts of these clones for their own ids: those of the case that the service wrote last."""
    newest = await connection.fetchval("select id from cases.case_file order by id desc limit 1")
    for table, case, bound, column, name in SEALED_COLUMNS:
        rows = f"select id, {bound} as bound, {column} as sealed from {table} where {column} is not null and {case}"
        if written := await connection.fetchrow(f"{rows} = $1 limit 1", newest):
            text = keys.open_bytes(name, written["bound"], written["sealed"])
            found = await connection.fetch(f"{rows} = any($1) and {case} <> $2", ids, newest)
            sealed = [(row["id"], keys.seal_bytes(name, row["bound"], text)) for row in found]
            await connection.executemany(f"update {table} set {column} = $2 where id = $1", sealed)


async def check(connection: asyncpg.Connection) -> None:
    """A clone must look like what the service wrote: as many rows of each kind to a case, within a twentieth. Closes the connection."""
    try:
        for table, (owner, _) in TABLES.items():
            if table == "cases.case_file":
                continue
            counts = await connection.fetchrow(
                f"""
                with sample as (
                    (select id, true as cloned from cases.case_file order by id limit 100)
                    union all (select id, false from cases.case_file order by id desc limit 100)
                )
                select avg(n) filter (where cloned) as cloned, avg(n) filter (where not cloned) as written
                from (select cloned, (select count(*) from {table} t where t.{owner} = sample.id) as n from sample) as c
                """
            )
            cloned, written = float(counts["cloned"]), float(counts["written"])
            if abs(cloned - written) > max(written, 1.0) / 20:
                raise RuntimeError(
                    f"clones have {cloned:.2f} rows of {table} to a case, and the service wrote {written:.2f}"
                )
    finally:
        await connection.close()


async def size(folder: Path) -> float:
    """Of a cluster's files, in GiB."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 2**30

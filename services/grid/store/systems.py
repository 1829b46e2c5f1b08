"""The register: outside systems, keys, revocations, and tokens that count once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import asyncpg

from kit.errors import NotFound
from kit.table import Table
from kit.unit import Unit
from services.grid.model.systems import Key, Revocation, System
from services.grid.store.scope import after

SYSTEMS = Table("system", System, visible=lambda unit, row: unit.principal.covers(row.division))
KEYS = Table("system_key", Key)
REVOCATIONS = Table("revocation", Revocation)

#: Whatever has changed since, oldest first. One statement sees one moment.
NEWS = """
select seq, account as mark, roles, divisions, quota, enabled, client_id, client_subject, certificates, null::timestamptz as before,
    null::timestamptz as until
from system where seq > $1
union all
select seq, mark, null, null, null, null, null, null, null, before, until
from revocation where seq > $1 and until > $2
order by seq limit $3
"""


async def next_seq(unit: Unit) -> int:
    """The place of a change. Whoever changes the register waits for those who did before to have committed: no reader passes over a change."""
    return int(await unit.fetchval("update register_clock set seq = seq + 1 where only_one returning seq"))


async def news(unit: Unit, seq: int, limit: int) -> list[asyncpg.Record]:
    return await unit.fetch(NEWS, seq, unit.now, limit)


async def get(unit: Unit, account: str) -> System:
    found = await SYSTEMS.find(unit, "account = $1", account)
    if found is None:
        raise NotFound("NOT_FOUND", resource="system")
    return found


async def exists(unit: Unit, account: str) -> bool:
    """Whoever asks."""
    return bool(await unit.fetchval("select exists (select from system where account = $1)", account))


async def client_is_taken(unit: Unit, client_id: str, but_for: str) -> bool:
    """Whether another system has the client id, whoever asks."""
    sql = "select exists (select from system where client_id = $1 and client_id <> '' and account <> $2)"
    return bool(await unit.fetchval(sql, client_id, but_for))


async def certificates_taken(unit: Unit, certificates: Sequence[str], but_for: str) -> set[str]:
    """Those that another system has, whoever asks."""
    if not certificates:
        return set()
    rows = await unit.fetch(
        "select distinct shown from system, unnest(certificates) as shown "
        "where certificates && $1 and shown = any($1) and account <> $2",
        list(certificates),
        but_for,
    )
    return {row["shown"] for row in rows}


async def any_system(unit: Unit, account: str) -> System | None:
    """Whoever asks: a system that proves who it is has no divisions yet."""
    row = await unit.fetchrow(f"select {SYSTEMS.columns} from system where account = $1", account)
    return None if row is None else SYSTEMS.load(unit, row)


async def systems(unit: Unit, division: str, after_key: tuple[str, str], limit: int) -> Sequence[System]:
    return await SYSTEMS.list(
        unit,
        "division >= $1 and division < $2 and (division, account) > ($3, $4) order by division, account limit $5",
        division,
        after(division),
        *after_key,
        limit,
    )


async def keys(unit: Unit, system: System) -> Sequence[Key]:
    return await KEYS.list(unit, "system_id = $1 order by not_before, kid limit 200", system.id)


async def key(unit: Unit, system: System, kid: str) -> Key:
    found = await KEYS.find(unit, "system_id = $1 and kid = $2", system.id, kid)
    if found is None:
        raise NotFound("NOT_FOUND", resource="system_key")
    return found


async def use(unit: Unit, digest: bytes, until: datetime) -> bool:
    """Whether this is the first time; it is remembered until then."""
    sql = "insert into used_token (digest, until) values ($1, $2) on conflict do nothing"
    return await unit.execute(sql, digest, until) == "INSERT 0 1"

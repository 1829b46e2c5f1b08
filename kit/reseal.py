"""Sealing stored values anew, after a key was added to the keyring.

Any number of such jobs may run, beside any number of processes of the platform, and each may die at any moment: a value is replaced only if it is still
the one that was read, by a statement of its own, and what is done is told by the value itself. Run again, it goes on; run to the end, it
finds nothing. A row's version does not change, for its content does not.

Blind indexes and PINs cannot be made anew without what they are made of; they are looked for under every key of the keyring. Stored
replies and events pass away by themselves, so the old keys stay in the keyring.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg

from kit.sealing import Keys

#: Rows at a time. Each costs some microseconds of CPU and a row's write.
BATCH = 200

#: (table, values sealed anew so far)
Progress = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class Sealed:
    """A column of sealed values. `field`: what `seal` was given; `owner`: the column whose value was the owner; `key`: the type of the primary key `id`."""

    table: str
    column: str
    field: str
    owner: str = "id"
    key: type[UUID] | type[int] = UUID


async def reseal(
    connection: asyncpg.Connection,
    keys: Keys,
    columns: Iterable[Sealed],
    progress: Progress = lambda table, count: None,
) -> int:
    """Returns how many values were sealed anew. `SealError` for one whose key is not in the keyring, or that was changed by somebody."""
    total = 0
    for one in columns:
        count = 0
        after: Any = UUID(int=0) if one.key is UUID else -1
        while rows := await connection.fetch(_stale(one), after, keys.head, BATCH):
            anew = [
                (row["id"], row["sealed"], keys.seal_bytes(one.field, row["owner"], _opened(keys, one, row)))
                for row in rows
            ]
            await connection.executemany(
                f"update {one.table} set {one.column} = $3 where id = $1 and {one.column} = $2", anew
            )
            after, count = rows[-1]["id"], count + len(rows)
            progress(one.table, count)
        total += count
    return total


async def waiting(connection: asyncpg.Connection, keys: Keys, columns: Iterable[Sealed]) -> int:
    """How many values are still under an older key."""
    found = 0
    for one in columns:
        found += await connection.fetchval(
            f"select count(*) from {one.table} where length({one.column}) > 0 and substring({one.column} from 1 for 3) <> $1",
            keys.head,
        )
    return found


def _stale(one: Sealed) -> str:
    return (
        f"select id, {one.owner} as owner, {one.column} as sealed from {one.table} "
        f"where id > $1 and length({one.column}) > 0 and substring({one.column} from 1 for 3) <> $2 order by id limit $3"
    )


def _opened(keys: Keys, one: Sealed, row: asyncpg.Record) -> bytes:
    return keys.open_bytes(one.field, row["owner"], row["sealed"])

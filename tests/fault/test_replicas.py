"""Two processes of one service on one database: one is killed, the other is paused past its leases and wakes up again."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from kit.postgres import EmbeddedPostgres
from tests.conftest import drop_database
from tests.fault.books import Journal, ShelfProcess, calling, closed_books
from tests.waiting import until

#: Of these processes.
LEASE = timedelta(seconds=1)


@pytest.fixture
async def dsn(server: EmbeddedPostgres) -> AsyncIterator[str]:
    name = f"t{uuid4().hex[:12]}"
    connection = await asyncpg.connect(server.dsn())
    await connection.execute(f"create database {name} template template0")
    await connection.close()
    yield server.dsn(database=name)
    await drop_database(server, name)


async def leads_after(dsn: str, moment: datetime) -> asyncpg.Record:
    """The lease of the relay, once it goes beyond a moment: whoever stopped before has lost it."""
    connection = await asyncpg.connect(dsn)
    found: list[asyncpg.Record] = []

    async def led() -> bool:
        found[:] = await connection.fetch(
            "select owner, epoch from shelf.lease where name = 'relay' and until > $1", moment
        )
        return bool(found)

    try:
        await until(led, "somebody leads")
    finally:
        await connection.close()
    return found[0]


async def test_one_is_killed_and_the_other_paused(dsn: str, scratch: Path) -> None:
    environment = {"HETAO_DATABASE_URL": dsn, "HETAO_KEYS__FILE": str(scratch / "keyring.json")}
    one, other = (ShelfProcess(scratch / name, environment) for name in ("one", "other"))
    journal = Journal()
    try:
        await one.start()
        await other.start()
        async with calling([one.address, other.address], journal, seed=7):
            await journal.more(100)
            await one.kill()
            survivor = await leads_after(dsn, datetime.now(UTC) + 2 * LEASE)
            await journal.more(50)
            await one.start()
            await journal.more(50)
            os.kill(other.pid, signal.SIGSTOP)
            heir = await leads_after(dsn, datetime.now(UTC) + 2 * LEASE)
            assert heir["owner"] != survivor["owner"], "the one that slept has lost its lease"
            assert heir["epoch"] > survivor["epoch"]
            os.kill(other.pid, signal.SIGCONT)
            await journal.more(50)
        books = await closed_books(one, dsn)
        assert books.differences(journal) == []
        await one.stop()
        await other.stop()
    finally:
        await one.end()
        await other.end()

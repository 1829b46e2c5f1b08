"""Two processes of one service on one database: one is killed, the other is paused past its leases and wakes up again."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from kit.postgres import EmbeddedPostgres
from tests.conftest import drop_database
from tests.fault.books import Journal, ShelfProcess, calling, closed_books


@pytest.fixture
async def dsn(server: EmbeddedPostgres) -> AsyncIterator[str]:
    name = f"t{uuid4().hex[:12]}"
    connection = await asyncpg.connect(server.dsn())
    await connection.execute(f"create database {name} template template0")
    await connection.close()
    yield server.dsn(database=name)
    await drop_database(server, name)


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
            await journal.more(50)
            await one.start()
            await journal.more(50)
            os.kill(other.pid, signal.SIGSTOP)
            await asyncio.sleep(2)  # twice its leases
            os.kill(other.pid, signal.SIGCONT)
            await journal.more(50)
        books = await closed_books(one, dsn)
        assert books.differences(journal) == []
        await one.stop()
        await other.stop()
    finally:
        await one.end()
        await other.end()

"""Both logs and both transports, each behind one name, so that one suite runs on either."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol
from uuid import UUID

import asyncpg
import pytest

from kit.database import LOG_SCHEMA, Database
from kit.events import Envelope
from kit.ids import uuid7
from kit.log import Batch, Log, Record, Subscription
from kit.log.sql import SqlLog
from kit.migrate import migrate
from kit.module import LOG, Module, Parts

PARTITIONS = 8

#: Seconds that a lease lasts in these tests.
LEASE = 1.0


class LogUnderTest(Protocol):
    """A log, as several processes see it."""

    #: Whether an append that is repeated adds nothing. At least once is all that a log promises.
    exact: bool
    #: Whether partitions are held by leases, so that a newcomer gets none before a holder has finished what it fetched.
    leases: bool

    async def client(self) -> Log:
        """The log as one more process opens it."""
        ...

    async def kill(self, client: Log) -> None:
        """That process dies: it closes nothing and says nothing."""
        ...


class SqlLogs:
    exact = leases = True

    def __init__(self, database: Database):
        self._database = database
        self._pools: dict[Log, asyncpg.Pool] = {}

    async def client(self) -> Log:
        pool = await self._database.open_pool(LOG_SCHEMA, 4)
        log = SqlLog(pool, partitions=PARTITIONS, batch=100, lease=LEASE, poll=0.02)
        self._pools[log] = pool
        return log

    async def kill(self, client: Log) -> None:
        self._pools.pop(client).terminate()

    async def close(self) -> None:
        for pool in self._pools.values():
            await pool.close()


@pytest.fixture(params=["sql"])
async def logs(request: pytest.FixtureRequest, database: Database) -> AsyncIterator[LogUnderTest]:
    await database.prepare([LOG_SCHEMA])
    await migrate(database, [Module("nobody", lambda _: Parts(), engines=[LOG])])
    opened = SqlLogs(database)
    yield opened
    await opened.close()


NOON = datetime(2026, 3, 2, 12, 0, 0, 123456, tzinfo=UTC)


def record(
    key: str = "k", text: str = "", *, at: datetime = NOON, event_id: UUID | None = None, snapshot: bool = False
) -> Record:
    """An event of the key whose content is `text`."""
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    envelope = Envelope(event_id or uuid7(), "test.v1.Said", "/1508/test", key, at, "150802", snapshot, traceparent)
    return Record(envelope, text.encode())


class Reader:
    """A member of a group that takes whatever comes and keeps it. `slow(batch)`: what it does before it commits one."""

    def __init__(
        self,
        log: Log,
        topics: Sequence[str],
        group: str = "group",
        slow: Callable[[Batch], Awaitable[None]] | None = None,
    ):
        self.log, self._slow = log, slow
        self.subscription: Subscription = log.subscribe(group, topics)
        self.batches: list[Batch] = []
        self._task = asyncio.create_task(self._read())

    @property
    def records(self) -> list[Record]:
        return [one for batch in self.batches for one in batch.records]

    @property
    def texts(self) -> list[str]:
        return [one.value.decode() for one in self.records]

    async def _read(self) -> None:
        while True:
            for batch in await self.subscription.fetch(wait=True):
                if self._slow:
                    await self._slow(batch)
                self.batches.append(batch)
                await self.subscription.commit(batch)

    async def stop(self) -> None:
        """Stops in an orderly way: its partitions are free at once."""
        await self.drop()
        await self.subscription.close()

    async def drop(self) -> None:
        """Stops without a word to anybody."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task


async def drained(log: Log, topic: str, group: str = "drain") -> list[Batch]:
    """All that the log holds of a topic, read by a group that has nobody else in it. The group stays where it was."""
    subscription = log.subscribe(group, [topic])
    try:
        ends, found, reached = await log.ends([topic]), [], dict[int, int]()
        while any(reached.get(partition, 0) < end for (_, partition), end in ends.items()):
            for batch in await subscription.fetch(wait=True):
                found.append(batch)
                reached[batch.partition] = batch.end
        return found
    finally:
        await subscription.close()


@contextlib.asynccontextmanager
async def readers(*started: Reader) -> AsyncIterator[None]:
    """Whatever happens, they end; an error of theirs is raised."""
    try:
        yield
    finally:
        for reader in started:
            await reader.stop()


def long_ago(days: int) -> datetime:
    return NOON - timedelta(days=days)

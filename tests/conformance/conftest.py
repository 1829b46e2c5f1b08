"""Both logs and both transports, each behind one name, so that one suite runs on either.

The log in tables stands in a PostgreSQL of its own, the other in a real Kafka: each is a server that a test may kill or stop for a while. Topics
are of the test alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import UUID, uuid4

import asyncpg
import pytest
from aiokafka.admin import RecordsToDelete
from aiokafka.errors import for_code
from aiokafka.protocol.admin import DeleteGroupsRequest
from aiokafka.structs import TopicPartition

from engines import kafka as kafka_engine
from engines.kafka import Kafka
from engines.postgres import Postgres
from kit.clock import VirtualClock
from kit.config import Settings, load
from kit.database import LOG_SCHEMA, Database
from kit.errors import StartupError
from kit.events import Envelope
from kit.ids import uuid7
from kit.log import Batch, Log, Place, Record, Subscription, lag
from kit.log.kafka import KafkaLog
from kit.log.sql import SqlLog
from kit.log.topics import apply
from kit.migrate import migrate
from kit.module import LOG, Module, Parts
from kit.platform import Platform, Service
from tests import shelf
from tests.unit.kit.conftest import Everybody, ShelfWorld
from tests.world import MORNING

PARTITIONS = 8

TOPIC, SHELF_TOPIC = "hetao.test.v1", "hetao.shelf.v1"

#: Seconds that a client waits for its log before it says that it is away.
PATIENCE = 3.0


class Server(Protocol):
    """What keeps a log."""

    def start(self) -> None: ...
    def kill(self) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...


class LogUnderTest(Protocol):
    """A log, as several processes see it."""

    #: Whether an append that is repeated adds nothing. At least once is all that a log promises.
    exact: bool
    #: Whether partitions are held by leases, so that a newcomer gets none before a holder has finished what it fetched.
    leases: bool
    #: Seconds after which the partitions of a member that died are given to others.
    lease: float
    server: Server

    async def client(self) -> Log:
        """The log as one more process opens it."""
        ...

    async def kill(self, client: Log) -> None:
        """That process dies: it closes nothing and says nothing."""
        ...

    async def make(self, topic: str) -> None:
        """Makes a topic, where that is a step of its own."""
        ...

    async def expire(self, below: Mapping[Place, int]) -> None:
        """The log's retention drops the records before these offsets."""
        ...

    async def forget(self, group: str) -> None:
        """A group that nobody is a member of has lost its positions: it was idle for longer than they are kept."""
        ...


class SqlLogs:
    exact = leases = True
    lease = 1.0

    def __init__(self, server: Server, database: Database):
        self.server, self._database = server, database
        self._pools: dict[int, asyncpg.Pool] = {}

    async def client(self) -> Log:
        pool = await self._database.open_pool(LOG_SCHEMA, 4)
        log = SqlLog(pool, partitions=PARTITIONS, batch=100, lease=self.lease, poll=0.02)
        self._pools[id(log)] = pool
        return log

    async def kill(self, client: Log) -> None:
        self._pools.pop(id(client)).terminate()

    async def make(self, topic: str) -> None:
        """It comes to be when it is first used."""

    async def expire(self, below: Mapping[Place, int]) -> None:
        for (topic, partition), offset in below.items():
            await self._execute(
                'delete from record where topic = $1 and partition = $2 and "offset" < $3', topic, partition, offset
            )

    async def forget(self, group: str) -> None:
        await self._execute("delete from position where consumer_group = $1", group)

    async def _execute(self, sql: str, *args: Any) -> None:
        connection = await self._database.connect(LOG_SCHEMA)
        try:
            await connection.execute(sql, *args)
        finally:
            await connection.close()

    async def close(self) -> None:
        for pool in self._pools.values():
            pool.terminate()


class KafkaLogs:
    exact = leases = False
    lease = 3.0

    def __init__(self, server: Kafka, settings: Settings):
        self.server, self.settings = server, settings
        self._clients: list[KafkaLog] = []
        self._topics: list[str] = []
        self.kit = self._open()

    def _open(self) -> KafkaLog:
        log = KafkaLog.of(self.settings)
        self._clients.append(log)
        return log

    async def client(self) -> KafkaLog:
        return self._open()

    async def kill(self, client: Log) -> None:
        assert isinstance(client, KafkaLog)
        await client.drop()

    async def make(self, topic: str) -> None:
        service = topic.removeprefix("hetao.").removesuffix(".v1")
        await apply(self.settings, [service])
        self._topics.append(self.settings.kafka.prefix + topic)

    async def expire(self, below: Mapping[Place, int]) -> None:
        prefix = self.settings.kafka.prefix
        gone = {
            TopicPartition(prefix + topic, part): RecordsToDelete(end) for (topic, part), end in below.items() if end
        }
        await self.kit.desk.ask(lambda admin: admin.delete_records(gone))

    async def forget(self, group: str) -> None:
        name = self.settings.kafka.prefix + group

        async def work(admin: Any) -> None:
            node = await admin.find_coordinator(name)
            for _, code in (await admin._send_request(DeleteGroupsRequest([name]), node)).results:
                if code:
                    raise for_code(code)(name)

        await self.kit.desk.ask(work)

    async def close(self) -> None:
        if self._topics:
            await self.kit.desk.ask(lambda admin: admin.delete_topics(self._topics))
        for client in self._clients:
            await client.close()


@pytest.fixture(scope="session")
def kafka() -> Iterator[Kafka]:
    """A real Kafka, which would make topics by itself, as Kafka does if it is not told otherwise. Left out where there is none to be had."""
    ci = bool(os.environ.get("CI"))
    if not ci and (why := kafka_engine.missing()):
        pytest.skip(why)
    broker = Kafka(settings={"auto.create.topics.enable": "true", "log.index.size.max.bytes": "65536"})
    try:
        try:
            broker.start()
        except StartupError as error:
            if ci:
                raise
            pytest.skip(str(error))
        yield broker
    finally:
        broker.close()


@pytest.fixture(scope="session")
def log_server() -> Iterator[Postgres]:
    """A PostgreSQL that keeps nothing but logs."""
    with Postgres(durable=False) as running:
        yield running


@pytest.fixture
async def sql_logs(log_server: Postgres, settings: Settings) -> AsyncIterator[SqlLogs]:
    name = f"log{uuid4().hex[:12]}"
    admin = await asyncpg.connect(log_server.url)
    await admin.execute(f"create database {name} template template0")
    url = log_server.url.rpartition("/")[0] + f"/{name}"
    outside = load(
        data_dir=settings.data_dir,
        database_url=url,
        database={"role_secret": "of these tests", "role_prefix": f"{name}_"},
    )
    database = Database(outside)
    await database.prepare([LOG_SCHEMA])
    await migrate(database, [Module("nobody", lambda _: Parts(), engines=[LOG])])
    opened = SqlLogs(log_server, database)
    yield opened
    await opened.close()
    if admin.is_closed():
        admin = await asyncpg.connect(log_server.url)
    await admin.execute(f"drop database {name} with (force)")
    await admin.close()


@pytest.fixture
async def kafka_logs(kafka: Kafka, settings: Settings) -> AsyncIterator[KafkaLogs]:
    chosen = {"bootstrap": kafka.address, "prefix": f"t{uuid4().hex[:12]}.", "request_timeout": 6.0}
    log = {"partitions": PARTITIONS, "batch": 100, "lease_seconds": KafkaLogs.lease, "send_timeout": PATIENCE}
    opened = KafkaLogs(kafka, load(data_dir=settings.data_dir, kafka=chosen, log=log))
    for topic in (TOPIC, SHELF_TOPIC):
        await opened.make(topic)
    yield opened
    await opened.close()


@pytest.fixture(params=["sql", "kafka"])
def logs(request: pytest.FixtureRequest) -> LogUnderTest:
    opened: LogUnderTest = request.getfixturevalue(f"{request.param}_logs")
    return opened


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


# -- a service whose events go through the log -------------------------------------------------------------------------

#: Seconds that a relay's lease lasts.
RELAY_LEASE = 1.0


@pytest.fixture
async def shelf_world(database: Database, settings: Settings) -> AsyncIterator[ShelfWorld]:
    """A shelf whose events nobody takes to the log by itself."""
    log = settings.log.model_copy(update={"lease_seconds": RELAY_LEASE, "attempts": 2, "send_timeout": PATIENCE})
    quick = settings.model_copy(update={"log": log})
    clock = VirtualClock(MORNING)
    async with Platform(
        quick, [shelf.MODULE], clock=clock, database=database, listen=False, background=False
    ) as platform:
        for one in platform.services.values():
            one.runtime.verifier = Everybody()  # type: ignore[assignment]
            assert one.relay
            assert one.consumer
            await one.relay.release()
            await one.consumer.close()
        yield ShelfWorld(platform, clock)


def service(world: ShelfWorld) -> Service:
    return world.platform.services["shelf"]


async def count(world: ShelfWorld, table: str) -> int:
    return len(await world.rows("shelf", f"select from {table}"))


async def heard(world: ShelfWorld, wanted: int) -> bool:
    return await count(world, "heard") >= wanted


async def caught_up(log: Log) -> bool:
    return await lag(log, "shelf", [SHELF_TOPIC]) == 0

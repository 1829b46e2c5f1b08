"""Writes go on while the log is killed, stands still, or readers die; afterwards each is in effect, once, and in order."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from kit.consumer import Consumer
from kit.log import Log, lag
from kit.relay import Relay
from tests import shelf
from tests.conformance.conftest import TOPIC, LogUnderTest, Reader, caught_up, count, heard, readers, record, service
from tests.unit.kit.conftest import ShelfWorld
from tests.waiting import running, until


class Writer:
    """Changes things one after the other for as long as the context, and knows how often."""

    def __init__(self, world: ShelfWorld, things: int = 10):
        self._world, self._many = world, things
        self.versions: Counter[str] = Counter()

    @property
    def written(self) -> int:
        return self.versions.total()

    @contextlib.asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        things = [await self._world.put(f"thing {n}") for n in range(self._many)]
        self.versions.update(thing.id for thing in things)
        stop = asyncio.Event()

        async def write(thing: shelf.pb.Thing) -> None:
            while not stop.is_set():
                await self._world.change(thing, f"title {self.versions[thing.id]}")
                self.versions[thing.id] += 1
                await asyncio.sleep(0.02)

        tasks = [asyncio.create_task(write(thing)) for thing in things]
        try:
            yield
        finally:
            stop.set()
            await asyncio.gather(*tasks)

    async def more(self, events: int) -> None:
        goal = self.written + events
        await until(lambda: self.written >= goal, "writes go on", 60)

    async def balance(self) -> None:
        """Everything that was written is in effect, once each, and per thing in its order."""
        await until(lambda: heard(self._world, self.written), "everything is in effect", 60)
        rows = await self._world.rows("shelf", "select thing_id, version from heard order by n")
        found = {key: [row["version"] for row in rows if row["thing_id"] == UUID(key)] for key in self.versions}
        assert found == {key: list(range(1, last + 1)) for key, last in self.versions.items()}
        newest = await self._world.rows("shelf", "select id, version from newest")
        assert {str(row["id"]): row["version"] for row in newest} == dict(self.versions)
        assert await count(self._world, "outbox") == await count(self._world, "parked") == 0


def consumer_of(world: ShelfWorld, log: Log) -> Consumer:
    return Consumer(service(world).runtime, service(world).parts.hears, log)


@pytest.fixture
async def writer(logs: LogUnderTest, shelf_world: ShelfWorld) -> AsyncIterator[Writer]:
    """Beside it are two relays and two consumers, each as in a process of its own."""
    runtime = service(shelf_world).runtime
    relays = [Relay(runtime, await logs.client()) for _ in range(2)]
    consumers = [consumer_of(shelf_world, await logs.client()) for _ in range(2)]
    async with running(*(one.run() for one in (*relays, *consumers))):
        yield Writer(shelf_world)


async def test_the_log_is_killed(logs: LogUnderTest, writer: Writer, shelf_world: ShelfWorld) -> None:
    async with writer.at_work():
        await writer.more(100)
        await until(lambda: heard(shelf_world, 50), "effects follow", 30)
        await asyncio.to_thread(logs.server.kill)
        try:
            await writer.more(100)
            assert await count(shelf_world, "outbox") > 0
        finally:
            await asyncio.to_thread(logs.server.start)
        await writer.more(50)
    await writer.balance()


async def test_the_log_stands_still(logs: LogUnderTest, writer: Writer, shelf_world: ShelfWorld) -> None:
    """For ten seconds: longer than a relay waits and than its lease lasts, so that another takes over what may have been written."""
    async with writer.at_work():
        await writer.more(100)
        await until(lambda: heard(shelf_world, 50), "effects follow", 30)
        logs.server.pause()
        try:
            await asyncio.gather(writer.more(50), asyncio.sleep(10))
        finally:
            logs.server.resume()
        await writer.more(50)
    await writer.balance()


@pytest.mark.parametrize("members", [2, 4])
async def test_a_consumer_dies_among_others(logs: LogUnderTest, shelf_world: ShelfWorld, members: int) -> None:
    """In the middle of a batch, without a word; the others take its partitions over."""
    clients = [await logs.client() for _ in range(members)]
    consumers = [consumer_of(shelf_world, client) for client in clients]
    writer = Writer(shelf_world)
    relay = Relay(service(shelf_world).runtime, await logs.client())
    async with running(relay.run(), *(one.run() for one in consumers)) as tasks, writer.at_work():
        await until(lambda: heard(shelf_world, 50), "effects follow", 30)
        consumers[0]._subscription = None  # it gives nothing up
        tasks[1].cancel()
        await logs.kill(clients[0])
        await writer.more(100)
    async with running(relay.run(), *(one.run() for one in consumers[1:])):
        await writer.balance()
        log = await logs.client()
        await until(lambda: caught_up(log), "and nothing waits", 30)


async def test_a_group_that_lost_its_positions_repeats_no_effect(logs: LogUnderTest, shelf_world: ShelfWorld) -> None:
    """It was idle for longer than positions are kept: everything is read again, and nothing happens again."""
    log, writer = await logs.client(), Writer(shelf_world)
    relay = Relay(service(shelf_world).runtime, log)
    async with running(relay.run(), consumer_of(shelf_world, await logs.client()).run()):
        async with writer.at_work():
            await writer.more(100)
        await writer.balance()
        await until(lambda: caught_up(log), "every position is committed", 30)
    await logs.forget("shelf")
    assert not await caught_up(log)
    async with running(relay.run(), consumer_of(shelf_world, await logs.client()).run()):
        await shelf_world.put("one more")
        await until(lambda: caught_up(log), "everything was read again", 30)
        await until(lambda: heard(shelf_world, writer.written + 1), "and what is new is in effect", 30)
    assert await count(shelf_world, "heard") == writer.written + 1


@pytest.mark.timeout(300)
async def test_a_hundred_thousand_wait(logs: LogUnderTest) -> None:
    """Two members that come late work through it in order."""
    log, total, keys = await logs.client(), 100_000, [f"key-{n}" for n in range(250)]
    for start in range(0, total, 2000):
        await log.append(TOPIC, [record(keys[n % len(keys)], str(n)) for n in range(start, start + 2000)])
    assert await lag(log, "group", [TOPIC]) == total
    members = [Reader(await logs.client(), [TOPIC]) for _ in range(2)]
    async with readers(*members):
        await until(lambda: sum(len(b.records) for m in members for b in m.batches) >= total, "all was read", 200)
    together: dict[str, set[int]] = {key: set() for key in keys}
    for member in members:
        last = dict.fromkeys(keys, -1)
        for one in member.records:
            key, number = one.envelope.key, int(one.value)
            if number not in together[key]:
                assert number > last[key], "first occurrences are in order"
                last[key] = number
                together[key].add(number)
    assert sum(map(len, together.values())) == total

"""Relays and consumers over each log: first occurrences in order, effects once, whoever is paused, dies or cannot digest."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from hetao.operations.v1 import operations_pb2 as ops
from hetao.operations.v1 import operations_pb2_grpc as ops_rpc
from kit.consumer import Consumer
from kit.log import Log, Record, Subscription
from kit.relay import Relay
from tests import shelf
from tests.conformance.conftest import SHELF_TOPIC as TOPIC
from tests.conformance.conftest import LogUnderTest, caught_up, count, drained, heard, service
from tests.conformance.test_log import firsts
from tests.unit.kit.conftest import ShelfWorld
from tests.waiting import running, until


class Gate:
    """A log at whose door appends and commits wait while it is shut."""

    def __init__(self, log: Log):
        self._log, self._open, self.waiting = log, asyncio.Event(), 0
        self._open.set()

    def shut(self) -> None:
        self._open.clear()

    def open(self) -> None:
        self._open.set()

    async def append(self, topic: str, records: Sequence[Record]) -> None:
        self.waiting += 1
        await self._open.wait()
        self.waiting -= 1
        await self._log.append(topic, records)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)


async def test_a_relay_that_was_paused_past_its_lease_marks_nothing(
    logs: LogUnderTest, shelf_world: ShelfWorld
) -> None:
    log = await logs.client()
    gate = Gate(log)
    late = Relay(service(shelf_world).runtime, gate)
    things = [await shelf_world.put(f"thing {n}") for n in range(3)]
    gate.shut()
    async with running(late.step()):
        await until(lambda: gate.waiting == 1, "the first one is about to append")
        for thing in things:
            await shelf_world.change(thing, "changed")
        successor = Relay(service(shelf_world).runtime, log)

        async def taken_over() -> bool:
            return await successor._hold(service(shelf_world).runtime.background_pool)

        assert not await taken_over(), "one at a time"
        await until(taken_over, "the lease is over")
        gate.open()
        await until(lambda: gate.waiting == 0, "the first one has appended")
    assert await late.step() == 0, "it knows that it is not at work any more"
    assert await count(shelf_world, "outbox") == 6, "and has marked nothing"
    assert await successor.step() == 6
    assert await count(shelf_world, "outbox") == 0
    found = [one for batch in await drained(log, TOPIC) for one in batch.records]
    titles = {
        key: [shelf.pb.ThingChanged.FromString(one.value).version for one in found if one.envelope.key == key]
        for key in firsts(found)
    }
    assert {key: sorted(set(said)) for key, said in titles.items()} == {thing.id: [1, 2] for thing in things}
    assert all(said.index(1) < said.index(2) for said in titles.values())
    if logs.exact:
        assert len(found) == 6


async def test_a_relay_that_wakes_after_its_successor_repeats_at_most(
    logs: LogUnderTest, shelf_world: ShelfWorld
) -> None:
    log = await logs.client()
    gate = Gate(log)
    late, successor = Relay(service(shelf_world).runtime, gate), Relay(service(shelf_world).runtime, log)
    things = [await shelf_world.put(f"thing {n}") for n in range(3)]
    gate.shut()
    async with running(late.step()):
        await until(lambda: gate.waiting == 1, "the first one is about to append")
        for thing in things:
            await shelf_world.change(thing, "changed")

        async def published() -> bool:
            return await successor.step() == 6

        await until(published, "its successor has published everything")
        await shelf_world.change(things[0], "again")  # a row that the late one must not take for its own
        gate.open()
        await until(lambda: gate.waiting == 0, "the late one has appended too")
    assert await count(shelf_world, "outbox") == 1
    assert await successor.step() == 1
    consumer = Consumer(service(shelf_world).runtime, service(shelf_world).parts.hears, log)
    async with running(consumer.run()):
        await until(lambda: heard(shelf_world, 7), "everything is in effect")
    versions = await shelf_world.rows(
        "shelf", "select version from heard where thing_id = $1 order by n", UUID(things[0].id)
    )
    assert [row["version"] for row in versions] == [1, 2, 3]


async def test_many_relays_publish_each_event_once_and_in_order(logs: LogUnderTest, shelf_world: ShelfWorld) -> None:
    """Three processes, one at work; it is stopped in the middle and another goes on."""
    relays = [Relay(service(shelf_world).runtime, await logs.client()) for _ in range(3)]
    things = [await shelf_world.put(f"thing {n}") for n in range(10)]
    async with running(*(relay.run() for relay in relays)) as tasks:
        for nth in range(10):
            await asyncio.gather(*(shelf_world.change(thing, f"title {nth}") for thing in things))
            if nth == 4:
                (epoch,) = await shelf_world.rows("shelf", "select owner from lease")
                leader = next(n for n, relay in enumerate(relays) if str(relay._owner) == str(epoch["owner"]))
                tasks[leader].cancel()

        async def emptied() -> bool:
            return await count(shelf_world, "outbox") == 0

        await until(emptied, "everything was published")
    found = [one for batch in await drained(await logs.client(), TOPIC) for one in batch.records]
    said = {
        key: [shelf.pb.ThingChanged.FromString(t.encode()).version for t in texts]
        for key, texts in firsts(found).items()
    }
    assert said == {thing.id: list(range(1, 12)) for thing in things}
    if logs.exact:
        assert len(found) == 110


async def test_a_log_that_hangs_does_not_keep_the_relay(logs: LogUnderTest, shelf_world: ShelfWorld) -> None:
    runtime = service(shelf_world).runtime
    gate = Gate(await logs.client())
    relay = Relay(runtime, gate)
    relay._send_timeout = 0.2
    await shelf_world.put("thing")
    gate.shut()
    with pytest.raises(TimeoutError):
        await relay.step()
    async with running(relay.run()):
        await until(lambda: gate.waiting > 1, "it tries again by itself")
        gate.open()

        async def emptied() -> bool:
            return await count(shelf_world, "outbox") == 0

        await until(emptied, "and goes on when the log does")


async def test_effects_happen_once_however_often_events_come(logs: LogUnderTest, shelf_world: ShelfWorld) -> None:
    """Two consumers, positions that are lost again and again, and an append that is repeated."""
    runtime, parts = service(shelf_world).runtime, service(shelf_world).parts
    log = await logs.client()
    relay = Relay(runtime, log)
    things = [await shelf_world.put(f"thing {n}") for n in range(20)]
    consumers = [Consumer(runtime, parts.hears, _Forgetful(await logs.client())) for _ in range(2)]
    async with running(*(consumer.run() for consumer in consumers)):
        for nth in range(4):
            await asyncio.gather(*(shelf_world.change(thing, f"title {nth}") for thing in things))
            await relay.step()
            if nth == 2:
                found = [one for batch in await drained(log, TOPIC) for one in batch.records]
                await log.append(TOPIC, found)
        await until(lambda: heard(shelf_world, 100), "everything is in effect")
        await until(lambda: caught_up(log), "and every position says so")
    rows = await shelf_world.rows("shelf", "select thing_id, version from heard order by n")
    by_thing = {thing.id: [row["version"] for row in rows if str(row["thing_id"]) == thing.id] for thing in things}
    assert by_thing == {thing.id: [1, 2, 3, 4, 5] for thing in things}


class _Forgetful:
    """A log in which two commits of three are lost, by chance: by turns, a fetch of three commits would lose the same for ever."""

    def __init__(self, log: Log):
        self._log, self._chance = log, random.Random(7)

    def subscribe(self, group: str, topics: Sequence[str]) -> Subscription:
        subscription = self._log.subscribe(group, topics)
        commit = subscription.commit

        async def sometimes(*batches: Any) -> None:
            if self._chance.random() < 2 / 3:
                subscription.rewind()
            else:
                await commit(*batches)

        subscription.commit = sometimes  # type: ignore[method-assign]
        return subscription

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)


async def test_a_poisonous_event_parks_its_key_and_the_rest_goes_on(
    logs: LogUnderTest, shelf_world: ShelfWorld
) -> None:
    runtime, parts = service(shelf_world).runtime, service(shelf_world).parts
    log = await logs.client()
    relay, consumer = Relay(runtime, log), Consumer(runtime, parts.hears, log)
    sick, well = await shelf_world.put("a"), await shelf_world.put("b")
    for title in ("poison", "after", "and after that"):
        await shelf_world.change(sick, title)
        await shelf_world.change(well, title.replace("poison", "healthy"))
    async with running(relay.run(), consumer.run()):
        await until(lambda: heard(shelf_world, 5), "the rest is in effect")
        await until(lambda: caught_up(log), "and nothing waits")
        await shelf_world.change(sick, "last")
        await until(lambda: _parked(shelf_world, 4), "what comes later waits behind it")
        parked = await shelf_world.rows("shelf", "select key, error, attempts from parked order by id")
        assert {row["key"] for row in parked} == {sick.id}
        assert ["MOVE_NOT_ALLOWED" in row["error"] for row in parked] == [True, False, False, False]
        operations = shelf_world.stub(ops_rpc.OperationsServiceStub, "shelf", "admin:1508")
        (first, *_) = (await operations.ListDeadLetters(ops.ListDeadLettersRequest(service="shelf"))).dead_letters
        cured = shelf.pb.ThingChanged(id=sick.id, epoch=1, version=2, title="cured").SerializeToString()
        await runtime.pool.execute("update parked set value = $1 where id = (select min(id) from parked)", cured)
        request = ops.RedriveDeadLettersRequest(service="shelf", handler=first.handler, key=first.key, request_id="r1")
        answer = await operations.RedriveDeadLetters(request)
        assert answer.redriven == 4
        assert await operations.RedriveDeadLetters(request) == answer, "the same request has the same answer"
        await shelf_world.change(sick, "well again")
        await until(lambda: heard(shelf_world, 10), "and what comes later is heard again")
    titles = await shelf_world.rows("shelf", "select title from heard where thing_id = $1 order by n", UUID(sick.id))
    assert [row["title"] for row in titles] == ["a", "cured", "after", "and after that", "last", "well again"]


async def _parked(world: ShelfWorld, wanted: int) -> bool:
    return await count(world, "parked") >= wanted


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(lambda unit: unit.fetchval("select $1::int", "not a number"), id="an argument of the wrong type"),
        pytest.param(lambda unit: unit.fetchval("select 1", "one too many"), id="an argument too many"),
        pytest.param(lambda unit: unit.fetchval("select 1 / 0"), id="an error of the database"),
        pytest.param(lambda unit: unit.fetchval("select $1::text", "nul \0"), id="a character that cannot be stored"),
        pytest.param(lambda unit: _raise(FileNotFoundError("no such photo")), id="a missing file"),
        pytest.param(lambda unit: _raise(RuntimeError("nul \0 in the text")), id="anything else"),
        pytest.param(
            lambda unit: _raise(shelf.FailedPrecondition("REASON", key="nul \0")), id="a refusal with a strange text"
        ),
    ],
)
async def test_whatever_a_handler_raises_is_parked_in_the_end(
    logs: LogUnderTest, shelf_world: ShelfWorld, fault: Callable[[Any], Any]
) -> None:
    """Nothing that an event brings may keep a partition waiting for ever."""
    runtime, parts = service(shelf_world).runtime, service(shelf_world).parts
    log = await logs.client()
    handler = parts.hears[0]

    async def effect(unit: Any, event: Any) -> None:
        if event.title == "strange":
            await fault(unit)
        await handler.effect(unit, event)

    consumer = Consumer(runtime, [replace(handler, effect=effect)], log)
    await shelf_world.put("strange")
    await shelf_world.put("fine")
    async with running(Relay(runtime, log).run(), consumer.run()):
        await until(lambda: _parked(shelf_world, 1), "it was parked")
        await until(lambda: heard(shelf_world, 1), "the other was heard")
        await until(lambda: caught_up(log), "and nothing waits")


async def _raise(error: Exception) -> None:
    raise error

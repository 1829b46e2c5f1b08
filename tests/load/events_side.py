"""One side of the figures of events, in a process of its own: `python -m tests.load.events_side` reads an Order as JSON, says "ready", and prints
what it measured. Sides: "raw" writes by aiokafka alone; "writer" serves the shelf and relays its events; "reader" brings them into effect."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
import uvloop
from aiokafka import AIOKafkaProducer

from kit.config import load
from kit.consumer import Consumer
from kit.events import hears, topic_of
from kit.gathered import Insert
from kit.log import Record, lag
from kit.platform import Platform
from kit.relay import Relay
from kit.unit import Unit
from tests import shelf
from tests.unit.kit.conftest import Everybody
from tests.waiting import until

#: Bytes of an event where nothing else says how large it is.
SIZE = 500

TASKS = 64


@dataclass(frozen=True, slots=True)
class Order:
    """`events`: how many to relay or to wait for; `rate`: writes a second, 0 to write nothing and relay what stands in the outbox."""

    side: str
    events: int = 0
    rate: float = 0.0
    seconds: float = 0.0


HEARD = Insert("heard", "thing_id, version, title")


@hears(shelf.pb.ThingChanged)
async def one_row(unit: Unit, event: Any) -> None:
    """As a handler of a service writes its row: it goes with the others of the batch."""
    unit.insert(HEARD, (UUID(event.id), event.version, event.title))


class Watched(Consumer):
    """Notes when each event's transaction was over: by the id of what it is about."""

    def __init__(self, *args: Any):
        super().__init__(*args)
        self.seen: dict[str, float] = {}
        self.count = 0

    async def _take(self, records: Sequence[Record]) -> None:
        await super()._take(records)
        self.count += len(records)
        now = time.time()
        for record in records:
            self.seen[record.envelope.key] = now


def ready() -> None:
    sys.stdout.write("ready\n")
    sys.stdout.flush()


async def raw(order: Order) -> dict[str, Any]:
    producer = AIOKafkaProducer(
        bootstrap_servers=os.environ["HETAO_KAFKA__BOOTSTRAP"], enable_idempotence=True, acks="all"
    )
    await producer.start()
    sent, deadline, value = 0, time.monotonic() + order.seconds, bytes(SIZE)

    async def write(number: int) -> None:
        nonlocal sent
        key = f"key-{number}".encode()
        while time.monotonic() < deadline:
            await producer.send_and_wait("raw", value, key=key)
            sent += 1

    ready()
    began = time.monotonic()
    await asyncio.gather(*(write(number) for number in range(TASKS)))
    took = time.monotonic() - began
    await producer.stop()
    return {"rate": sent / took}


async def writer(platform: Platform, order: Order) -> dict[str, Any]:
    service = platform.services["shelf"]
    service.runtime.verifier = Everybody()  # type: ignore[assignment]
    relays = Relay(service.runtime, platform.log)
    relay = asyncio.create_task(relays.run())
    ready()
    began, accepted = time.time(), dict[str, float]()
    stub, chance, writes = shelf.rpc.ShelfServiceStub(platform.channel("shelf")), random.Random(7), set[Any]()

    async def write() -> None:
        request = shelf.pb.PutThingRequest(division="150802", title="自行车")
        answer = await stub.PutThing(request, metadata=[("authorization", "Bearer ding:1508")])
        accepted[answer.thing.id] = time.time()

    due = time.monotonic()
    while order.rate and len(writes) < order.events:
        due += chance.expovariate(order.rate)
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        writes.add(asyncio.create_task(write()))
    await asyncio.gather(*writes)

    async def emptied() -> bool:
        return not await service.runtime.pool.fetchval("select exists (select from outbox)")

    await until(emptied, "everything was published", 600)
    relay.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await relay
    await relays.release()  # or the next one would wait for the end of its lease
    return {"began": began, "accepted": accepted}


async def reader(platform: Platform, order: Order) -> dict[str, Any]:
    service = platform.services["shelf"]
    consumer = Watched(service.runtime, [one_row], platform.log)
    running = asyncio.create_task(consumer.run())

    async def joined() -> bool:
        member: Any = consumer._subscription
        taken = member is not None and member._consumer is not None and member._consumer.assignment()
        return bool(taken) and await lag(platform.log, "shelf", [topic_of("shelf")]) == 0

    await until(joined, "it is a member of its group and has read what stood there", 60)
    consumer.count = 0
    ready()
    await until(lambda: consumer.count >= order.events, "everything is in effect", 600)
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    return {"ended": max(consumer.seen.values()), "seen": consumer.seen if order.rate else {}}


async def main(order: Order) -> dict[str, Any]:
    if order.side == "raw":
        return await raw(order)
    settings = load(grpc={"port": 0})
    side = {"writer": writer, "reader": reader}[order.side]
    async with Platform(settings, [shelf.MODULE], listen=False, background=False) as platform:
        return await side(platform, order)


if __name__ == "__main__":
    result = uvloop.run(main(Order(**orjson.loads(sys.stdin.buffer.readline()))))
    os.set_blocking(sys.stdout.fileno(), True)  # the loop left it otherwise
    sys.stdout.buffer.write(orjson.dumps(result))

"""Reading a log without a group: the same tests for each log."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from kit.log import Log, LogAway, Place, Record, Stretch, Tail
from kit.log.kafka_tail import KafkaTail
from kit.unit import DATABASE_AWAY
from tests.conformance.conftest import PARTITIONS, SHELF_TOPIC, TOPIC, LogUnderTest, record
from tests.waiting import until

KEYS = [f"key-{n}" for n in range(8 * PARTITIONS)]


class Reading:
    """What a tail has said, and whether it said it without a gap."""

    def __init__(self, tail: Tail):
        self.tail = tail
        self.begins: dict[Place, int] = {}
        self.ends: dict[Place, int] = {}
        self.gaps: list[Stretch] = []
        self.records: list[Record] = []
        self.offsets: dict[Place, list[int]] = defaultdict(list)
        self.away = 0

    async def run(self) -> None:
        while True:
            try:
                for stretch in await self.tail.fetch():
                    self.take(stretch)
            except (LogAway, *DATABASE_AWAY):
                self.away += 1
                await asyncio.sleep(0.05)

    def take(self, stretch: Stretch) -> None:
        place = stretch.topic, stretch.partition
        self.begins.setdefault(place, stretch.start)
        if self.ends.setdefault(place, stretch.start) != stretch.start:
            self.gaps.append(stretch)
        self.ends[place] = stretch.end
        self.records += [one for _, one in stretch.records]
        self.offsets[place] += [offset for offset, _ in stretch.records]

    @property
    def titles(self) -> list[str]:
        return [one.value.decode() for one in self.records]


@asynccontextmanager
async def tailing(log: Log, *topics: str, back: int = 0) -> AsyncIterator[Reading]:
    """A tail at work, which has found the partitions of its topics."""
    reading = Reading(log.tail(topics or [TOPIC], back=back))
    task = asyncio.create_task(reading.run())
    try:
        await until(lambda: len(reading.begins) >= PARTITIONS or task.done(), "the partitions are found", seconds=30)
        yield reading
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await reading.tail.close()


def has(reading: Reading, count: int) -> Callable[[], bool]:
    return lambda: len(reading.records) >= count


async def test_a_tail_reads_what_comes_and_nothing_older(logs: LogUnderTest) -> None:
    log = await logs.client()
    await log.append(TOPIC, [record(key, "old") for key in KEYS])
    async with tailing(log) as one, tailing(await logs.client()) as other:
        assert one.begins == dict(await log.ends([TOPIC]))
        for nth in range(5):
            await log.append(TOPIC, [record(key, f"{nth}") for key in KEYS])
        for reading in (one, other):
            await until(has(reading, 5 * len(KEYS)), "everything is read", seconds=30)
            said = defaultdict(list)
            for each in reading.records:
                said[each.envelope.key].append(each.value.decode())
            assert said == {key: ["0", "1", "2", "3", "4"] for key in KEYS}
            assert reading.gaps == []
            assert all(offsets == sorted(set(offsets)) for offsets in reading.offsets.values())
            assert all(
                reading.begins[place] <= offset < reading.ends[place]
                for place, offsets in reading.offsets.items()
                for offset in offsets
            )
        assert one.ends == other.ends == dict(await log.ends([TOPIC]))


async def test_a_tail_may_begin_before_the_end(logs: LogUnderTest) -> None:
    log = await logs.client()
    await log.append(TOPIC, [record("k", str(n)) for n in range(10)])
    async with tailing(log, back=3) as reading:
        await until(has(reading, 3), "the last ones are read", seconds=30)
        await log.append(TOPIC, [record("k", "10")])
        await until(has(reading, 4), "the new one is read", seconds=30)
        assert reading.titles == ["7", "8", "9", "10"]
    async with tailing(log, back=1000) as reading:
        await until(has(reading, 11), "all are read", seconds=30)
        assert reading.titles == [str(n) for n in range(11)]
        assert reading.gaps == []


async def test_a_topic_that_comes_later_is_read_from_its_beginning(logs: LogUnderTest) -> None:
    log = await logs.client()
    async with tailing(log, TOPIC, SHELF_TOPIC) as reading:
        await logs.make(SHELF_TOPIC)
        await log.append(SHELF_TOPIC, [record("k", "first")])
        await until(has(reading, 1), "it is read", seconds=60)
        assert reading.titles == ["first"]


async def test_what_retention_took_is_told(logs: LogUnderTest) -> None:
    log = await logs.client()
    tail = log.tail([TOPIC])
    reading = Reading(tail)
    await until(lambda: _took(reading), "the partitions are found", seconds=30)
    if isinstance(tail, KafkaTail):  # else it reads ahead of what it is asked for
        await tail._drop()
    await log.append(TOPIC, [record("k", str(n)) for n in range(10)])
    (place,) = (place for place, end in (await log.ends([TOPIC])).items() if end)
    await logs.expire({place: 7})
    try:
        async with asyncio.timeout(30):
            while len(reading.records) < 3:
                for stretch in await tail.fetch():
                    reading.take(stretch)
    finally:
        await tail.close()
    assert reading.titles == ["7", "8", "9"]
    assert [(gap.topic, gap.partition, gap.start) for gap in reading.gaps] == [(*place, 7)]


async def _took(reading: Reading) -> bool:
    for stretch in await reading.tail.fetch(wait=False):
        reading.take(stretch)
    return len(reading.begins) >= PARTITIONS


async def test_a_tail_outlives_its_log(logs: LogUnderTest) -> None:
    log = await logs.client()
    async with tailing(log) as reading:
        await log.append(TOPIC, [record(key, "before") for key in KEYS])
        await until(has(reading, len(KEYS)), "it is read", seconds=30)
        await asyncio.to_thread(logs.server.kill)
        await asyncio.to_thread(logs.server.start)
        writer, begun = await logs.client(), datetime.now(UTC)

        async def written() -> bool:
            try:
                await writer.append(TOPIC, [record("k", "after")])
            except (LogAway, *DATABASE_AWAY):
                return False
            return True

        await until(written, f"the log takes events again since {begun}", seconds=60)
        await until(lambda: "after" in reading.titles, "the tail goes on", seconds=60)
        assert reading.titles.count("before") == len(KEYS)
        assert reading.gaps == []

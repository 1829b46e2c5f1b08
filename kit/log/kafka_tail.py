"""Reading topics of Kafka without a group, all partitions, from near their ends."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import OffsetOutOfRangeError

from kit.log import Place, Record, Stretch
from kit.log.kafka_client import FAULTS, abandon, away, started, stop

if TYPE_CHECKING:
    from kit.log.kafka import KafkaLog

#: Seconds between two looks for partitions that were not there.
LOOK_AGAIN = 10.0


class KafkaTail:
    """`_positions`: the offset that is read next of each partition, by its name on the broker."""

    def __init__(self, owner: KafkaLog, topics: Sequence[str], back: int):
        self._log, self._topics, self._back = owner, [owner.prefix + topic for topic in topics], back
        self._consumer: AIOKafkaConsumer | None = None
        self._positions: dict[Place, int] = {}
        self._look_at = -1.0

    async def fetch(self, *, wait: bool = True) -> Sequence[Stretch]:
        try:
            async with asyncio.timeout(self._log.timeout):
                found = await self._found()
            return [*found, *await self._read(self._log.poll if wait and not found else 0.0)]
        except FAULTS as error:
            await self._drop()
            raise away(error) from error

    async def close(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await stop(consumer)

    async def _drop(self) -> None:
        consumer, self._consumer, self._look_at = self._consumer, None, min(self._look_at, 0.0)
        if consumer is not None:
            await abandon(consumer)

    async def _found(self) -> list[Stretch]:
        """Partitions that were not known yet."""
        loop = asyncio.get_running_loop()
        if self._consumer is not None and loop.time() < self._look_at:
            return []
        first = self._look_at < 0
        there = await self._log.desk.partitions()
        places = [(topic, partition) for topic in self._topics for partition in there.get(topic, ())]
        new = [place for place in places if place not in self._positions]
        oldest, ends = await self._log.desk.beginnings(new), await self._log.desk.ends(new)
        begins = {place: max(oldest[place], ends[place] - self._back) if first else oldest[place] for place in new}
        self._positions |= begins
        consumer: Any = self._consumer
        if consumer is None:
            options = {**self._log.options, "enable_auto_commit": False, "auto_offset_reset": "none"}
            made = AIOKafkaConsumer(**options, isolation_level="read_committed")
            consumer = self._consumer = await started(made)
            new = places
        if new:
            consumer.assign([TopicPartition(*place) for place in self._positions])
            for place, offset in self._positions.items():
                consumer.seek(TopicPartition(*place), offset)
        self._look_at = loop.time() + LOOK_AGAIN
        return [self._stretch(place, begin, begin) for place, begin in begins.items()]

    async def _read(self, seconds: float) -> list[Stretch]:
        consumer = self._consumer
        assert consumer is not None
        if not self._positions:
            await asyncio.sleep(seconds)
            return []
        try:
            found = await consumer.getmany(timeout_ms=round(seconds * 1000), max_records=self._log.batch)
        except OffsetOutOfRangeError as error:  # retention was faster: on from the oldest
            lost = [(tp.topic, tp.partition) for tp in error.args[0]]
            for place, offset in (await self._log.desk.beginnings(lost)).items():
                self._positions[place] = offset
                consumer.seek(TopicPartition(*place), offset)
            return [self._stretch(place, self._positions[place], self._positions[place]) for place in lost]
        stretches = []
        for tp, raw in found.items():
            place = tp.topic, tp.partition
            start, self._positions[place] = self._positions[place], raw[-1].offset + 1
            stretches.append(self._stretch(place, start, self._positions[place], list(self._log.decoded(tp, raw))))
        return stretches

    def _stretch(self, place: Place, start: int, end: int, records: Sequence[tuple[int, Record]] = ()) -> Stretch:
        return Stretch(place[0].removeprefix(self._log.prefix), place[1], start, records, end)

"""A log in memory, for tests of what reads it without a group."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence

from kit.log import LogAway, Place, Record, Stretch, partition_of


class MemoryLog:
    system = "memory"

    def __init__(self, partitions: int = 4):
        self.partitions = partitions
        self.kept: dict[Place, list[Record]] = defaultdict(list)
        #: Records that retention took, by partition.
        self.gone: dict[Place, int] = defaultdict(int)
        self.away = False
        self.tails = 0
        self._news = asyncio.Condition()

    async def append(self, topic: str, records: Sequence[Record]) -> None:
        for record in records:
            self.kept[topic, partition_of(record.envelope.key, self.partitions)].append(record)
        async with self._news:
            self._news.notify_all()

    async def ends(self, topics: Sequence[str]) -> Mapping[Place, int]:
        if self.away:
            raise LogAway("away")
        return {(topic, n): len(self.kept[topic, n]) for topic in topics for n in range(self.partitions)}

    def tail(self, topics: Sequence[str], *, back: int = 0) -> _Tail:
        return _Tail(self, topics, back)


class _Tail:
    def __init__(self, log: MemoryLog, topics: Sequence[str], back: int):
        self._log, self._topics, self._back = log, topics, back
        self._positions: dict[Place, int] = {}
        log.tails += 1

    async def fetch(self, *, wait: bool = True) -> Sequence[Stretch]:
        log = self._log
        if log.away:
            raise LogAway("away")
        found = []
        if not self._positions:
            for place, end in (await log.ends(self._topics)).items():
                self._positions[place] = begin = max(log.gone[place], end - self._back)
                found.append(Stretch(*place, begin, (), begin))
        for place, position in self._positions.items():
            start, records = max(position, log.gone[place]), log.kept[place]
            if start < len(records):
                self._positions[place] = len(records)
                found.append(Stretch(*place, start, list(enumerate(records))[start : len(records)], len(records)))
        if not found and wait:
            async with log._news:
                try:
                    async with asyncio.timeout(0.05):
                        await log._news.wait()
                except TimeoutError:
                    pass
        return found

    async def close(self) -> None:
        self._log.tails -= 1

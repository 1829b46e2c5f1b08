"""The event log: what the relay writes and consumers read. One interface, one conformance suite, whichever log is behind it."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from kit import metrics
from kit.errors import Unavailable
from kit.events import Envelope

FOREIGN = metrics.Counter(
    "hetao.log.foreign", "{record}", "records in a topic that are no events of ours and were passed over"
)

#: (topic, partition)
Place = tuple[str, int]


class LogAway(Unavailable):
    """The log cannot be reached or does not answer, or does not have the topic. What was asked of it may still happen. `why`: for operators."""

    def __init__(self, why: str):
        super().__init__("LOG_AWAY")
        self.why = why

    def __str__(self) -> str:
        return self.why


@dataclass(frozen=True, slots=True)
class Record:
    """An event as bytes, with its envelope. `offset`: where it stands in its partition, once it has been read from there."""

    envelope: Envelope
    value: bytes
    offset: int = field(default=-1, compare=False)


@dataclass(frozen=True, slots=True)
class Batch:
    """Records of one partition, in its order. `end`: the offset to go on from when they are in effect."""

    topic: str
    partition: int
    records: Sequence[Record]
    end: int


@dataclass(frozen=True, slots=True)
class Stretch:
    """What a tail read of one partition: the records from `start` up to `end`, each with its offset. Where `start` is not the `end` of the stretch
    before, what stood between them is gone."""

    topic: str
    partition: int
    start: int
    records: Sequence[tuple[int, Record]]
    end: int


class Tail(Protocol):
    """Reads topics on its own: no group, no positions that are kept, every partition."""

    async def fetch(self, *, wait: bool = True) -> Sequence[Stretch]:
        """What comes next; waits a while if there is nothing. Of each partition that it has found it first says where it begins, by a stretch
        without records. After an error go on with the next fetch: nothing is passed over."""
        ...

    async def close(self) -> None: ...


class Subscription(Protocol):
    """One member of a group of consumers. The partitions of its topics are shared out among the members."""

    async def fetch(self, *, wait: bool = True) -> Sequence[Batch]:
        """What comes next, by partition; waits a while if there is nothing. After `rewind`, from the committed positions again."""
        ...

    async def commit(self, *batches: Batch) -> None:
        """The batches, of different partitions, are in effect: the group goes on behind them. A late commit never takes the group back."""
        ...

    def rewind(self) -> None:
        """Forget what was fetched and not committed."""
        ...

    async def close(self) -> None:
        """Gives the partitions up."""
        ...


class Log(Protocol):
    """Whatever keeps it, an error of the log is `LogAway` or one of its database's."""

    #: What the log is, for telemetry: "kafka", or "postgresql" where it is in tables.
    system: str

    async def append(self, topic: str, records: Sequence[Record]) -> None:
        """Durable when it returns. At least once: after an error some may have been written, or may be later; append all of them again, in
        the same order, before any that come behind them."""
        ...

    def subscribe(self, group: str, topics: Sequence[str]) -> Subscription: ...

    def tail(self, topics: Sequence[str], *, back: int = 0) -> Tail:
        """From so many records before the end that each partition has at the first fetch; from the beginning where a partition comes later."""
        ...

    async def ends(self, topics: Sequence[str]) -> Mapping[Place, int]:
        """The offset that the next record of each partition will have."""
        ...

    async def positions(self, group: str, topics: Sequence[str]) -> Mapping[Place, int]:
        """The offset from which the group goes on: behind what it has committed, but never before the oldest record that is left."""
        ...

    async def seek(self, group: str, positions: Mapping[Place, int]) -> None:
        """Sets where a group goes on, forwards or back. Nobody of the group may be at work."""
        ...

    def scan(self, stretches: Mapping[Place, tuple[int, int]]) -> AsyncIterator[Batch]:
        """What stands in each stretch, from its first offset to the one behind its last, as far as it is still there. No group is moved."""
        ...

    async def trim(self, before: datetime, limit: int) -> int:
        """Drops up to `limit` records older than `before`; returns how many went. None where the log does so by itself."""
        ...

    async def look(self, topics: Sequence[str]) -> None:
        """Returns if the log answers and has these topics. Else raises, for operators to read: `LogAway`, or whatever its database says."""
        ...

    async def close(self) -> None: ...


async def lag(log: Log, group: str, topics: Sequence[str], ends: Mapping[Place, int] | None = None) -> int:
    """How many records the group has not committed, up to `ends` (by default: up to now)."""
    wanted = await log.ends(topics) if ends is None else ends
    reached = await log.positions(group, topics)
    return sum(max(0, end - reached.get(place, 0)) for place, end in wanted.items())


def partition_of(key: str, partitions: int) -> int:
    """The partition in which all events of a key stand."""
    return zlib.crc32(key.encode()) % partitions

"""One reader of the log for all streams of a process: the newest events in memory, and whom each of them wakes.

A stream costs nothing while nothing happens to it. It has no queue of its own: it knows up to which event it has sent, and reads on from there in what
is kept for all. One that is so slow that its place is no longer kept is told to load anew what it shows, and ended.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, field

from kit.errors import ResourceExhausted, Unavailable
from kit.identity import Principal
from kit.log import Log, Place, Record, Stretch
from kit.log.following import AWAY, follow
from services.gateway import positions
from services.gateway.live import Shown, hides, is_shown, shown

#: The offset that comes next of each partition, topic by topic in the order of their names.
Reached = tuple[tuple[int, ...], ...]

#: Events that a stream sends at once.
AT_ONCE = 100

#: Seconds between two looks at the log, with readers and without; not after so many events at once.
BETWEEN, IDLE, MANY = 0.02, 0.25, 100

#: Events that a stream looks at before others have their turn.
LOOKED_AT = 1000


class Entry:
    """An event that is kept. `reached`: the offsets of all partitions after it. What is made of it is made when somebody may want it."""

    __slots__ = ("_after", "_event", "_record", "offset", "place", "reached", "subject")

    def __init__(self, record: Record, place: Place, offset: int, reached: Reached):
        self.place, self.offset, self.reached = place, offset, reached
        self.subject = place[0], record.envelope.key
        self._record: Record | None = record
        self._event: Shown | None = None
        self._after = ""

    @property
    def event(self) -> Shown | None:
        """None where it is for nobody."""
        if self._record is not None:
            self._event, self._record = shown(self._record), None
        return self._event

    def hide(self) -> None:
        """From now on it is for nobody."""
        self._record = self._event = None

    def after(self, mark: bytes) -> str:
        """Where a reader stands who has seen everything up to it."""
        if not self._after:
            self._after = positions.encode(mark, self.reached)
        return self._after


@dataclass(slots=True, eq=False)
class Reader:
    """One stream. `cursor`: the number of the event that it looks at next, None while it has seen all; `ahead`: where it has been further than this
    process, as somebody may who was served by another one."""

    principal: Principal
    types: frozenset[str]
    subjects: frozenset[str]
    cursor: int | None = None
    ahead: dict[Place, int] = field(default_factory=dict)
    reload: str = ""
    over: bool = False
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def wants(self, event: Shown) -> bool:
        return (
            (not self.types or event.type in self.types)
            and (not self.subjects or event.subject in self.subjects)
            and event.is_for(self.principal)
        )


class Hub:
    """`history`: events that are kept; `most`, `per_account`: streams at a time; `patience`: seconds that a reader waits for a process that has just
    begun."""

    def __init__(
        self,
        log: Log,
        topics: Iterable[str],
        *,
        mark: bytes,
        back: int,
        history: int,
        most: int,
        per_account: int,
        patience: float = 5.0,
    ):
        self._log, self._topics, self._mark = log, sorted(topics), mark
        self._back, self._history, self._most, self._per_account = back, history, most, per_account
        self._patience = patience
        self._reached: dict[str, tuple[int, ...]] = dict.fromkeys(self._topics, ())
        #: What was already there when this process began; until it is read, it would be taken for news.
        self._missing: dict[Place, int] = {}
        self._at_the_end = asyncio.Event()
        self._entries: dict[int, Entry] = {}
        self._first = self._next = 0
        #: Of each partition: the kept events as (offset, number), and from which offset on none is lacking.
        self._kept: dict[Place, deque[tuple[int, int]]] = defaultdict(deque)
        self._covered: dict[Place, int] = {}
        #: Of each subject, by its topic and key: the numbers of its kept events.
        self._told: dict[tuple[str, str], list[int]] = defaultdict(list)
        self._readers: set[Reader] = set()
        self._by_division: dict[str, set[Reader]] = defaultdict(set)
        self._by_account: dict[str, set[Reader]] = defaultdict(set)
        self._open: Counter[str] = Counter()

    # -- what the log says ----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled; then every stream ends, having sent what it had to."""
        try:
            async with aclosing(follow(self._log, self._topics, back=self._back)) as stretches:
                async for found in stretches:
                    for stretch in found:
                        self.take(stretch)
                    if not self.ready and any(self._reached.values()):
                        await self._look_for_the_end()
                    if self.ready and sum(len(stretch.records) for stretch in found) < MANY:
                        await asyncio.sleep(BETWEEN if self._readers else IDLE)
        finally:
            for reader in self._readers:
                self.end(reader)

    async def _look_for_the_end(self) -> None:
        with suppress(*AWAY):
            self._missing = self._missing or dict(await self._log.ends(self._topics))
            if all(self._at(place) >= end for place, end in self._missing.items()):
                self._at_the_end.set()

    def take(self, stretch: Stretch) -> None:
        place = stretch.topic, stretch.partition
        if place not in self._covered:
            self._covered[place] = stretch.start
            self._reach(place, stretch.start)
        elif self._at(place) != stretch.start:
            self._reach(place, stretch.start)
            self._forget()
        for offset, record in stretch.records:
            if is_shown(record):
                self._reach(place, offset + 1)
                self._keep(record, place, offset)
        self._reach(place, stretch.end)

    def _reach(self, place: Place, offset: int) -> None:
        topic, partition = place
        offsets = self._reached[topic]
        offsets += (0,) * (partition + 1 - len(offsets))
        self._reached[topic] = (*offsets[:partition], offset, *offsets[partition + 1 :])

    def _keep(self, record: Record, place: Place, offset: int) -> None:
        number, self._next = self._next, self._next + 1
        entry = self._entries[number] = Entry(record, place, offset, tuple(self._reached.values()))
        self._kept[place].append((offset, number))
        told = self._told[entry.subject]
        if hides(record):  # also who comes back and asks for what was before is not shown it
            for earlier in told:
                self._entries[earlier].hide()
            told.clear()
        told.append(number)
        if len(self._entries) > self._history:
            self._drop_first()
        if not self._readers or (event := entry.event) is None:
            return
        for reader in self._concerned(event):
            if reader.cursor is None and reader.wants(event):
                reader.cursor = number
                reader.news.set()

    def _concerned(self, event: Shown) -> set[Reader]:
        """Whom the index finds: all for whom the event can be, and some others."""
        found = set[Reader]()
        for length in range(1, len(event.division) + 1):
            found |= self._by_division.get(event.division[:length], frozenset())
        for account in event.accounts:
            found |= self._by_account.get(account, frozenset())
        return found

    def _drop_first(self) -> None:
        gone = self._entries.pop(self._first)
        self._first += 1
        self._kept[gone.place].popleft()
        told = self._told[gone.subject]
        if told and told[0] == self._first - 1:
            told.pop(0)
        if not told:
            del self._told[gone.subject]
        self._covered[gone.place] = gone.offset + 1

    def _forget(self) -> None:
        """Something was lost before it was read: nobody can go on from before."""
        self._entries.clear()
        self._kept.clear()
        self._told.clear()
        self._first = self._next = self._next + 1
        self._covered = {
            (topic, n): offset for topic, offsets in self._reached.items() for n, offset in enumerate(offsets)
        }
        for reader in self._readers:
            reader.cursor, reader.ahead, reader.reload = None, {}, "lost"
            reader.news.set()

    @property
    def count(self) -> int:
        """Streams that are open."""
        return len(self._readers)

    @property
    def ready(self) -> bool:
        """Whether the end of the log as it was at the beginning is reached."""
        return self._at_the_end.is_set()

    def _at(self, place: Place) -> int:
        offsets = self._reached.get(place[0], ())
        return offsets[place[1]] if place[1] < len(offsets) else 0

    # -- streams --------------------------------------------------------------------------------------------------------

    async def open(
        self, principal: Principal, types: frozenset[str], subjects: frozenset[str], last: str | None
    ) -> Reader:
        """A stream of somebody, from where he was; `reload` where that cannot be. Unavailable(STREAM_NOT_READY | STREAMS_FULL),
        ResourceExhausted(STREAMS_TOO_MANY)."""
        try:
            async with asyncio.timeout(self._patience):
                await self._at_the_end.wait()
        except TimeoutError:
            raise Unavailable("STREAM_NOT_READY") from None
        reader = Reader(principal, types, subjects)
        stood = positions.decode(last, self._mark, self._topics) if last else None
        ends: Mapping[Place, int] = {}
        if stood and any(offset > self._at(place) for place, offset in stood.items()):
            try:
                ends = await self._log.ends(self._topics)
            except AWAY:
                raise Unavailable("STREAM_NOT_READY") from None
        if len(self._readers) >= self._most:
            raise Unavailable("STREAMS_FULL")
        if self._open[principal.account] >= self._per_account:
            raise ResourceExhausted("STREAMS_TOO_MANY", limit=self._per_account)
        # From here on nothing is awaited: between what was kept and what comes there is no gap.
        if last:
            self._resume(reader, stood, ends)
        self._readers.add(reader)
        self._open[principal.account] += 1
        for division in principal.divisions:
            self._by_division[division].add(reader)
        self._by_account[principal.account].add(reader)
        return reader

    def _resume(self, reader: Reader, stood: Mapping[Place, int] | None, ends: Mapping[Place, int]) -> None:
        if stood is None:
            reader.reload = "unknown"
            return
        if any(offset > max(self._at(place), ends.get(place, 0)) for place, offset in stood.items()):
            reader.reload = "unknown"  # of a log that is no more
            return
        if any(stood.get(place, 0) < begins for place, begins in self._covered.items()):
            reader.reload = "too old"
            return
        first = self._next
        for place, kept in self._kept.items():
            at = bisect_left(kept, (stood.get(place, 0), 0))
            if at < len(kept):
                first = min(first, kept[at][1])
        reader.cursor = first if first < self._next else None
        reader.ahead = dict(stood)

    def close(self, reader: Reader) -> None:
        if reader not in self._readers:
            return
        self._readers.discard(reader)
        account = reader.principal.account
        self._open[account] -= 1
        if not self._open[account]:
            del self._open[account]
        for index, keys in ((self._by_division, reader.principal.divisions), (self._by_account, (account,))):
            for key in keys:
                index[key].discard(reader)
                if not index[key]:
                    del index[key]

    def end(self, reader: Reader) -> None:
        """It sends what it has to, and is over."""
        reader.over = True
        reader.news.set()

    def next(self, reader: Reader) -> list[tuple[str, bytes]]:
        """What the stream sends now, each event with the position after it; empty when there is nothing more, or not yet: then `cursor` says
        whether to ask again."""
        found: list[tuple[str, bytes]] = []
        if reader.cursor is None:
            return found
        if reader.cursor < self._first:
            reader.cursor, reader.ahead, reader.reload, reader.over = None, {}, "too slow", True
            return found
        number, until = reader.cursor, min(self._next, reader.cursor + LOOKED_AT)
        while number < until and len(found) < AT_ONCE:
            entry = self._entries[number]
            number += 1
            if reader.ahead and entry.offset < reader.ahead.get(entry.place, 0):
                continue
            if (event := entry.event) is not None and reader.wants(event):
                after = entry.after(self._mark) if not reader.ahead else self._merged(entry.reached, reader)
                found.append((after, event.body))
        reader.cursor = number if number < self._next else None
        return found

    def stands(self, reader: Reader) -> str:
        """Where a stream stands that has sent all it had to."""
        return self._merged(tuple(self._reached.values()), reader)

    def _merged(self, reached: Reached, reader: Reader) -> str:
        """A position, but nowhere behind where the reader has been."""
        topics: dict[str, list[int]] = dict(zip(self._topics, map(list, reached), strict=True))
        behind = False
        for (topic, partition), offset in reader.ahead.items():
            offsets = topics[topic]
            offsets += [0] * (partition + 1 - len(offsets))
            if offset > offsets[partition]:
                offsets[partition], behind = offset, True
        if not behind:  # nor is he ahead of anything that comes later
            reader.ahead = {}
        return positions.encode(self._mark, list(topics.values()))

"""The event log in tables of PostgreSQL, for a platform in one process or a few.

Partitions are assigned by lease rows: who holds a row reads the partition, and a reader that died loses it when the lease is over. A reader that
outlives its lease without knowing can only repeat effects, which the inbox drops.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg

from kit.events import Envelope
from kit.ids import uuid7
from kit.log import Batch, Place, Record, Stretch, partition_of

APPEND = "select append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"

FETCH = """
select r.topic, r.partition, r."offset", r.event_id, r.type, r.source, r.key, r.division, r.snapshot, r.value, r.at, r.traceparent
from unnest($1::text[], $2::int[], $3::bigint[]) as p (topic, partition, "offset")
cross join lateral (
    select * from record where topic = p.topic and partition = p.partition and "offset" >= p."offset" order by "offset" limit $4
) r
"""

#: What was trimmed away can be read no more, and a group that stands before it goes on from the oldest record.
POSITIONS = """
select p.topic, p.number, greatest(s."offset", coalesce(
    (select min("offset") from record r where r.topic = p.topic and r.partition = p.number), p.next_offset))
from partition p left join position s on s.consumer_group = $1 and s.topic = p.topic and s.partition = p.number
where p.topic = any($2)
"""

#: Of each partition the first record that is left, and the end.
ENDS = """
select p.topic, p.number,
    coalesce((select min("offset") from record r where r.topic = p.topic and r.partition = p.number), p.next_offset), p.next_offset
from partition p where p.topic = any($1)
"""

#: The first `$6` partitions that are ours already or nobody's.
CLAIM = """
insert into assignment (consumer_group, topic, partition, owner, until)
select $1, p.topic, p.number, $2, $4
from partition p left join assignment a on a.consumer_group = $1 and a.topic = p.topic and a.partition = p.number
where p.topic = any($5) and (a.owner is null or a.owner = $2 or a.until <= $3)
order by a.owner = $2 desc nulls last, p.topic, p.number limit $6
on conflict (consumer_group, topic, partition) do update set owner = excluded.owner, until = excluded.until
    where assignment.owner = $2 or assignment.until <= $3
returning topic, partition
"""

#: Says that a member is there, and how large a member's share is; forgets members that ended long ago.
SHARE = """
with gone as (
    delete from member where consumer_group = $1 and owner <> $2 and until < $3::timestamptz - interval '1 hour'
), present as (
    insert into member (consumer_group, owner, until) values ($1, $2, $4)
    on conflict (consumer_group, owner) do update set until = excluded.until
)
select ceil((select count(*) from partition where topic = any($5))::numeric
    / (1 + (select count(*) from member where consumer_group = $1 and owner <> $2 and until > $3)))::int
"""

#: A member that is still at work keeps what it has.
KEEP = """
with present as (update member set until = $3 where consumer_group = $1 and owner = $2)
update assignment set until = $3 where consumer_group = $1 and owner = $2
"""


class SqlLog:
    system = "postgresql"

    def __init__(
        self, pool: asyncpg.Pool, *, partitions: int, batch: int = 500, lease: float = 10.0, poll: float = 0.05
    ):
        """`batch`: records fetched per partition at once; `lease`, `poll` in seconds."""
        self._pool = pool
        self.partitions, self.batch, self.lease, self.poll = partitions, batch, lease, poll
        self._known: set[str] = set()
        self._news: set[asyncio.Event] = set()

    async def append(self, topic: str, records: Sequence[Record]) -> None:
        await self.ensure(topic)
        by_partition: dict[int, list[Record]] = {}
        for record in records:
            by_partition.setdefault(partition_of(record.envelope.key, self.partitions), []).append(record)
        rows = [
            (topic, partition, *_columns(part)) for partition, part in sorted(by_partition.items())
        ]  # one order of locks for all
        await self._pool.executemany(APPEND, rows)  # one round trip, and all or nothing
        for news in self._news:
            news.set()

    def subscribe(self, group: str, topics: Sequence[str]) -> SqlSubscription:
        news = asyncio.Event()
        self._news.add(news)
        return SqlSubscription(self, self._pool, group, list(topics), news)

    def tail(self, topics: Sequence[str], *, back: int = 0) -> SqlTail:
        news = asyncio.Event()
        self._news.add(news)
        return SqlTail(self, self._pool, list(topics), back, news)

    async def ends(self, topics: Sequence[str]) -> Mapping[Place, int]:
        rows = await self._pool.fetch(
            "select topic, number, next_offset from partition where topic = any($1)", list(topics)
        )
        return {(topic, number): end for topic, number, end in rows}

    async def positions(self, group: str, topics: Sequence[str]) -> Mapping[Place, int]:
        rows = await self._pool.fetch(POSITIONS, group, list(topics))
        return {(topic, partition): offset for topic, partition, offset in rows}

    async def seek(self, group: str, positions: Mapping[Place, int]) -> None:
        await self._pool.execute(
            """
            insert into position (consumer_group, topic, partition, "offset")
            select $1, p.topic, p.partition, p."offset" from unnest($2::text[], $3::int[], $4::bigint[]) as p (topic, partition, "offset")
            on conflict (consumer_group, topic, partition) do update set "offset" = excluded."offset"
            """,
            group,
            [topic for topic, _ in positions],
            [partition for _, partition in positions],
            list(positions.values()),
        )

    async def scan(self, stretches: Mapping[Place, tuple[int, int]]) -> AsyncIterator[Batch]:
        for (topic, partition), (first, past) in stretches.items():
            while first < past:
                rows = await self._pool.fetch(FETCH, [topic], [partition], [first], self.batch)
                records = [_record(row) for row in rows if row["offset"] < past]
                if not records:
                    break
                first = records[-1].offset + 1
                yield Batch(topic, partition, records, first)

    async def trim(self, before: datetime, limit: int) -> int:
        tag = await self._pool.execute(
            "delete from record where ctid = any(array(select ctid from record where at < $1 limit $2))", before, limit
        )
        return int(tag.split()[-1])

    async def look(self, topics: Sequence[str]) -> None:
        """Topics come to be when they are first used."""
        await self._pool.fetchval("select 1")

    async def forget_members(self) -> None:
        """For a platform that knows itself to be the only process: what a killed one held is free at once."""
        await self._pool.execute("with gone as (delete from member) delete from assignment")

    async def close(self) -> None:
        """The pool is its owner's to close."""

    async def ensure(self, topic: str) -> None:
        """Makes the partitions of a topic, by whoever writes or reads it first."""
        if topic not in self._known:
            await self._pool.execute(
                "insert into partition (topic, number) select $1, n from generate_series(0, $2 - 1) n on conflict do nothing",
                topic,
                self.partitions,
            )
            self._known.add(topic)

    def forget(self, news: asyncio.Event) -> None:
        self._news.discard(news)


class SqlSubscription:
    def __init__(self, log: SqlLog, pool: asyncpg.Pool, group: str, topics: list[str], news: asyncio.Event):
        self._log, self._pool = log, pool
        self._group, self._topics, self._news = group, topics, news
        self._owner: UUID = uuid7()
        self._positions: dict[tuple[str, int], int] = {}
        self._share_at = self._keep_at = -1.0

    async def fetch(self, *, wait: bool = True) -> Sequence[Batch]:
        self._news.clear()
        await self._share()
        batches = await self._read() if self._positions else []
        if wait and not batches:
            try:
                async with asyncio.timeout(self._log.poll):
                    await self._news.wait()
            except TimeoutError:
                pass
        return batches

    async def commit(self, *batches: Batch) -> None:
        await self._pool.execute(
            """
            insert into position (consumer_group, topic, partition, "offset")
            select $1, p.topic, p.partition, p."offset" from unnest($2::text[], $3::int[], $4::bigint[]) as p (topic, partition, "offset")
            order by p.topic, p.partition
            on conflict (consumer_group, topic, partition) do update
            set "offset" = excluded."offset" where position."offset" < excluded."offset"
            """,
            self._group,
            [batch.topic for batch in batches],
            [batch.partition for batch in batches],
            [batch.end for batch in batches],
        )
        loop = asyncio.get_running_loop()
        if loop.time() >= self._keep_at:  # what was fetched at once may take longer than a lease
            self._keep_at = loop.time() + self._log.lease / 3
            await self._pool.execute(KEEP, self._group, self._owner, self._lease_end())

    def rewind(self) -> None:
        self._share_at = -1.0  # the next look at the assignment reads the committed positions too
        self._positions.clear()

    async def close(self) -> None:
        self._log.forget(self._news)
        await self._pool.execute(
            "with gone as (delete from member where consumer_group = $1 and owner = $2) "
            "delete from assignment where consumer_group = $1 and owner = $2",
            self._group,
            self._owner,
        )

    async def _read(self) -> list[Batch]:
        wanted = list(self._positions.items())
        rows = await self._pool.fetch(
            FETCH, [t for (t, _), _ in wanted], [p for (_, p), _ in wanted], [o for _, o in wanted], self._log.batch
        )
        found: dict[tuple[str, int], list[asyncpg.Record]] = {}
        for row in rows:
            found.setdefault((row["topic"], row["partition"]), []).append(row)
        batches = []
        for (topic, partition), part in found.items():
            end = part[-1]["offset"] + 1
            self._positions[topic, partition] = end
            batches.append(Batch(topic, partition, [_record(row) for row in part], end))
        return batches

    async def _share(self) -> None:
        """Takes and renews leases three times per lease, and gives up what is more than a fair share once others are there."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._share_at:
            return
        self._keep_at = loop.time() + self._log.lease / 3
        for topic in self._topics:
            await self._log.ensure(topic)
        now, until = datetime.now(UTC), self._lease_end()
        share = await self._pool.fetchval(SHARE, self._group, self._owner, now, until, self._topics)
        rows = await self._pool.fetch(CLAIM, self._group, self._owner, now, until, self._topics, share)
        mine = {(row["topic"], row["partition"]) for row in rows}
        if surplus := [key for key in self._positions if key not in mine]:
            await self._pool.execute(
                "delete from assignment a using unnest($3::text[], $4::int[]) as s (topic, partition) "
                "where a.consumer_group = $1 and a.owner = $2 and a.topic = s.topic and a.partition = s.partition",
                self._group,
                self._owner,
                [t for t, _ in surplus],
                [p for _, p in surplus],
            )
        fresh = [key for key in mine if key not in self._positions]
        self._positions = {key: self._positions[key] for key in mine if key in self._positions}
        for topic, partition, offset in await self._committed(fresh):
            self._positions[topic, partition] = offset
        # A member that came last may have found every partition taken; it looks again soon.
        self._share_at = loop.time() + (self._log.lease / 3 if mine else min(self._log.lease / 3, 0.2))

    def _lease_end(self) -> datetime:
        """Leases measure real time, whatever time the business has."""
        return datetime.now(UTC) + timedelta(seconds=self._log.lease)

    async def _committed(self, keys: Sequence[tuple[str, int]]) -> list[tuple[str, int, int]]:
        """Where the group stands in these partitions. What was trimmed since is passed over by reading on from there."""
        if not keys:
            return []
        rows = await self._pool.fetch(
            """
            select k.topic, k.partition, coalesce(p."offset", 0) as "offset"
            from unnest($2::text[], $3::int[]) as k (topic, partition)
            left join position p on p.consumer_group = $1 and p.topic = k.topic and p.partition = k.partition
            """,
            self._group,
            [t for t, _ in keys],
            [p for _, p in keys],
        )
        return [(row["topic"], row["partition"], row["offset"]) for row in rows]


class SqlTail:
    def __init__(self, log: SqlLog, pool: asyncpg.Pool, topics: list[str], back: int, news: asyncio.Event):
        self._log, self._pool, self._topics, self._back, self._news = log, pool, topics, back, news
        self._positions: dict[Place, int] = {}
        self._look_at = -1.0

    async def fetch(self, *, wait: bool = True) -> Sequence[Stretch]:
        self._news.clear()
        stretches = [*await self._found(), *await self._read()]
        if wait and not stretches:
            try:
                async with asyncio.timeout(self._log.poll):
                    await self._news.wait()
            except TimeoutError:
                pass
        return stretches

    async def close(self) -> None:
        self._log.forget(self._news)

    async def _found(self) -> list[Stretch]:
        """Partitions that were not known yet. Looked for as often as members look for theirs."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._look_at:
            return []
        first = self._look_at < 0
        for topic in self._topics:
            await self._log.ensure(topic)
        rows = await self._pool.fetch(ENDS, self._topics)
        self._look_at = loop.time() + self._log.lease / 3
        begins = {
            (topic, number): max(oldest, end - self._back) if first else oldest for topic, number, oldest, end in rows
        }
        new = {place: begin for place, begin in begins.items() if place not in self._positions}
        self._positions |= new
        return [Stretch(*place, begin, (), begin) for place, begin in new.items()]

    async def _read(self) -> list[Stretch]:
        wanted = list(self._positions.items())
        rows = await self._pool.fetch(
            FETCH, [t for (t, _), _ in wanted], [p for (_, p), _ in wanted], [o for _, o in wanted], self._log.batch
        )
        found: dict[Place, list[tuple[int, Record]]] = {}
        for row in rows:
            found.setdefault((row["topic"], row["partition"]), []).append((row["offset"], _record(row)))
        stretches = []
        for place, part in found.items():
            end = self._positions[place] = part[-1][0] + 1
            stretches.append(Stretch(*place, part[0][0], part, end))  # offsets have no gaps, unless retention made one
        return stretches


def _columns(records: Sequence[Record]) -> tuple[list[object], ...]:
    """What `append` takes of them."""
    envelopes = [record.envelope for record in records]
    return (
        [e.id for e in envelopes],
        [e.type for e in envelopes],
        [e.source for e in envelopes],
        [e.key for e in envelopes],
        [e.division for e in envelopes],
        [e.snapshot for e in envelopes],
        [record.value for record in records],
        [e.time for e in envelopes],
        [e.traceparent for e in envelopes],
    )


def _record(row: asyncpg.Record) -> Record:
    envelope = Envelope(
        id=row["event_id"],
        type=row["type"],
        source=row["source"],
        key=row["key"],
        time=row["at"],
        division=row["division"],
        snapshot=row["snapshot"],
        traceparent=row["traceparent"],
    )
    return Record(envelope, row["value"], row["offset"])

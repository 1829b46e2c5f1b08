"""The event log on Apache Kafka.

What is written is there on as many copies as the topic demands (idempotent producer, acks=all), and per key in the order of the first writing:

- A partition has at most one batch under way whose outcome is not known, and nothing is sent behind it until it is. A batch may be delivered long
  after its sender stopped waiting; if the same events are appended again meanwhile, they wait for it and are not sent twice.
- A producer of which a batch failed is given up, because the broker would take a gap in its numbers for a loss. Its successor is sent the same events
  again, in the same order, by the relay: at most they stand there twice.

Keys go to partitions by `kit.log.partition_of`, as in the log in tables: CRC-32 is what librdkafka and the clients upon it do by default, and it costs
a fiftieth of the Java client's murmur2 in Python.

Members of a group share the partitions by aiokafka's sticky assignor, so that in a rebalance everybody keeps what he has. aiokafka has no cooperative
protocol: all members pause for the rebalance (0.2 s), having finished and committed what they had in hand.

Topics are never made by writing or reading; see `kit.log.topics`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import CommitFailedError, IllegalStateError

from kit.config import Settings
from kit.log import FOREIGN, Batch, LogAway, Place, Record, partition_of
from kit.log.cloudevents import Foreign, envelope_of, headers_of
from kit.log.kafka_client import FAULTS, Desk, abandon, away, options_of, started, stop
from kit.log.kafka_tail import KafkaTail

log = logging.getLogger(__name__)

#: Bytes of a batch on its way to one partition. A single event may be larger.
LARGEST_BATCH = 512 * 1024

#: Seconds without a single answer after which a producer is replaced.
STUCK = 60.0

#: Seconds between two looks for topics that were not there.
LOOK_AGAIN = 1.0


@dataclass(slots=True)
class _Line:
    """Those who want to write to one partition, one after the other. `sent`: the batch of `ids` whose outcome nobody waited for."""

    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    sent: asyncio.Future[Any] | None = None
    ids: frozenset[UUID] = frozenset()


class KafkaLog:
    """`batch`: records fetched at once; `session`: seconds after which the partitions of a silent member are given to others; `timeout`: seconds
    to wait for the broker; `poll`: seconds that a fetch waits for news. `options`: of aiokafka's clients, see `options_of`."""

    system = "kafka"

    def __init__(
        self,
        options: Mapping[str, Any],
        *,
        prefix: str = "",
        batch: int = 500,
        session: float = 10.0,
        timeout: float = 10.0,
        poll: float = 0.5,
    ):
        self.prefix, self.batch, self.session, self.timeout, self.poll = prefix, batch, session, timeout, poll
        #: Records passed over because they are no events of ours.
        self.foreign = 0
        self.options = dict(options)
        self.desk = Desk(options, timeout)
        self._producer: AIOKafkaProducer | None = None
        self._opening = asyncio.Lock()
        self._lines: dict[Place, _Line] = {}
        self._stuck_since: float | None = None
        self._subscriptions: set[KafkaSubscription] = set()

    @classmethod
    def of(cls, settings: Settings) -> KafkaLog:
        """Raises `StartupError` for settings that cannot work; whether the broker is there shows later."""
        chosen = settings.log
        return cls(
            options_of(settings.kafka),
            prefix=settings.kafka.prefix,
            batch=chosen.batch,
            session=chosen.lease_seconds,
            timeout=chosen.send_timeout,
        )

    # -- writing ------------------------------------------------------------------------------------------------------

    async def append(self, topic: str, records: Sequence[Record]) -> None:
        if not records:
            return
        name = self.prefix + topic
        try:
            async with asyncio.timeout(self.timeout):
                producer = await self._connected()
                count = await self._count(producer, name)
                parts: dict[int, list[Record]] = {}
                for record in records:
                    parts.setdefault(partition_of(record.envelope.key, count), []).append(record)
                sending = [self._send(producer, (name, partition), part) for partition, part in parts.items()]
                await (asyncio.gather(*sending) if len(sending) > 1 else sending[0])
            self._stuck_since = None
        except TimeoutError as error:
            if self._stuck_for() > STUCK:  # the brokers may have moved: another one finds them by their names
                await self._give_up_producer()
            raise away(error) from error
        except asyncio.CancelledError:  # of somebody with less patience, or at the end
            self._stuck_for()
            raise
        except FAULTS as error:
            await self._give_up_producer()
            raise away(error) from error

    def _stuck_for(self) -> float:
        """Seconds since the first call without an answer after the last one with it."""
        now = asyncio.get_running_loop().time()
        if self._stuck_since is None:
            self._stuck_since = now
        return now - self._stuck_since

    async def _send(self, producer: AIOKafkaProducer, place: Place, records: Sequence[Record]) -> None:
        line = self._lines.setdefault(place, _Line())
        async with line.turn:
            if line.sent is not None:  # of somebody who waits no longer: nothing may overtake it
                await asyncio.shield(line.sent)
                line.sent = None
                records = [record for record in records if record.envelope.id not in line.ids]
            while records:
                batch, taken = _packed(producer, records)
                line.ids = frozenset(record.envelope.id for record in records[:taken])
                line.sent = await producer.send_batch(batch, place[0], partition=place[1])
                line.sent.add_done_callback(_heard)  # perhaps nobody waits for it any more
                await asyncio.shield(line.sent)
                line.sent = None
                records = records[taken:]

    async def _connected(self) -> AIOKafkaProducer:
        async with self._opening:
            if self._producer is None:
                made = AIOKafkaProducer(
                    **self.options, enable_idempotence=True, acks="all", max_batch_size=LARGEST_BATCH
                )
                self._producer = await started(made)
            return self._producer

    async def _count(self, producer: AIOKafkaProducer, name: str) -> int:
        """The number of partitions. The producer knows all topics, since it was told of none."""
        found = producer.client.cluster.partitions_for_topic(name)
        if not found:
            await producer.client.force_metadata_update()
            found = producer.client.cluster.partitions_for_topic(name)
        if not found:
            raise _missing([name])
        return len(found)

    async def _give_up_producer(self) -> None:
        """What it had under way may be delivered or not; whoever waits for it is told so."""
        producer, self._producer, self._lines, self._stuck_since = self._producer, None, {}, None
        if producer is not None:
            await abandon(producer)

    # -- reading ------------------------------------------------------------------------------------------------------

    def subscribe(self, group: str, topics: Sequence[str]) -> KafkaSubscription:
        return KafkaSubscription(self, self.prefix + group, [self.prefix + topic for topic in topics])

    def tail(self, topics: Sequence[str], *, back: int = 0) -> KafkaTail:
        return KafkaTail(self, topics, back)

    def decoded(self, tp: TopicPartition, raw: Sequence[ConsumerRecord]) -> Iterator[tuple[int, Record]]:
        """The records that are events of ours, with their offsets; the others are counted."""
        passed = 0
        for one in raw:
            try:
                envelope = envelope_of(one.headers, one.key)
                if one.value is None:
                    raise Foreign("no value")
                yield one.offset, Record(envelope, one.value, one.offset)
            except Foreign as error:
                passed += 1
                if passed == 1:
                    log.warning(
                        "%s/%d: the record %d is no event of ours: %s", tp.topic, tp.partition, one.offset, error
                    )
        if passed:
            self.foreign += passed
            FOREIGN.add(passed, {"messaging.destination.name": tp.topic.removeprefix(self.prefix)})
            log.warning("%s/%d: %d records were passed over", tp.topic, tp.partition, passed)

    async def ends(self, topics: Sequence[str]) -> Mapping[Place, int]:
        return self._plain(await self.desk.ends(await self._places(topics)))

    async def positions(self, group: str, topics: Sequence[str]) -> Mapping[Place, int]:
        places = await self._places(topics)
        reached, oldest = await self.desk.committed(self.prefix + group, places), await self.desk.beginnings(places)
        return self._plain({place: max(reached.get(place, 0), first) for place, first in oldest.items()})

    async def _places(self, topics: Sequence[str]) -> list[Place]:
        found = await self.desk.partitions()
        names = [self.prefix + topic for topic in topics]
        return [(name, partition) for name in names for partition in found.get(name, ())]

    async def since(self, topics: Sequence[str], moment: datetime) -> Mapping[Place, int]:
        """An offset of each partition before which nothing was written since the moment, by the broker's clock; 0 where it knows none."""
        return self._plain(await self.desk.since(await self._places(topics), moment))

    async def seek(self, group: str, positions: Mapping[Place, int]) -> None:
        await self.desk.seek(
            self.prefix + group, {(self.prefix + topic, number): at for (topic, number), at in positions.items()}
        )

    async def scan(self, stretches: Mapping[Place, tuple[int, int]]) -> AsyncIterator[Batch]:
        wanted = {(self.prefix + topic, number): stretch for (topic, number), stretch in stretches.items()}
        async for tp, raw in self.desk.scan(wanted):
            records = []
            for one in raw:
                with contextlib.suppress(Foreign):
                    envelope = envelope_of(one.headers, one.key)
                    if one.value is not None:
                        records.append(Record(envelope, one.value, one.offset))
            yield Batch(tp.topic.removeprefix(self.prefix), tp.partition, records, raw[-1].offset + 1)

    def _plain(self, offsets: Mapping[Place, int]) -> dict[Place, int]:
        return {(topic.removeprefix(self.prefix), partition): offset for (topic, partition), offset in offsets.items()}

    async def trim(self, before: datetime, limit: int) -> int:
        """The broker does it, by the topics' retention."""
        return 0

    async def look(self, topics: Sequence[str]) -> None:
        found = await self.desk.partitions()
        if missing := [name for topic in topics if (name := self.prefix + topic) not in found]:
            raise _missing(missing)

    # -- the end ------------------------------------------------------------------------------------------------------

    async def close(self) -> None:
        for subscription in list(self._subscriptions):
            await subscription.close()
        producer, self._producer, self._lines = self._producer, None, {}
        if producer is not None:
            await stop(producer)
        await self.desk.close()

    async def drop(self) -> None:
        """As if the process had died: nothing is said to the broker."""
        for subscription in list(self._subscriptions):
            await subscription.drop()
        await self._give_up_producer()
        await self.desk.close()

    def remember(self, subscription: KafkaSubscription) -> None:
        self._subscriptions.add(subscription)

    def forget(self, subscription: KafkaSubscription) -> None:
        self._subscriptions.discard(subscription)


class KafkaSubscription:
    """A member of a group, which joins at its first fetch. `_open`: what was fetched and not committed yet, by partition, each batch with the offset
    at which it begins."""

    def __init__(self, owner: KafkaLog, group: str, topics: list[str]):
        self._log, self._group, self._topics = owner, group, topics
        self._consumer: AIOKafkaConsumer | None = None
        self._assignor = _own_assignor()
        self._joined: set[str] = set()
        self._look_at = 0.0
        self._unheard = 0
        self._fetching: asyncio.Task[dict[TopicPartition, list[ConsumerRecord]]] | None = None
        self._open: dict[TopicPartition, list[tuple[int, Batch]]] = {}
        self._settled = asyncio.Event()
        self._settled.set()

    async def fetch(self, *, wait: bool = True) -> Sequence[Batch]:
        try:
            async with asyncio.timeout(self._log.timeout):
                consumer = await self._member()
        except FAULTS as error:
            await self.drop()
            raise away(error) from error
        if not self._joined:
            await asyncio.sleep(self._log.poll if wait else 0)
            return []
        return await self._next(consumer, self._log.poll if wait else 0.0)

    async def commit(self, *batches: Batch) -> None:
        """What the group has taken from this member meanwhile is passed over: whoever has it now begins before it."""
        places = {TopicPartition(self._log.prefix + batch.topic, batch.partition): batch for batch in batches}
        ours = {tp: batch.end for tp, batch in places.items() if any(one is batch for _, one in self._open.get(tp, ()))}
        if not ours or self._consumer is None:
            return
        try:
            async with asyncio.timeout(self._log.timeout):
                await self._consumer.commit(ours)
        except (CommitFailedError, IllegalStateError) as error:
            log.info("positions of %s were not committed: %s", self._group, type(error).__name__)
        except FAULTS as error:
            self._unheard += 1
            if self._unheard > 1:  # a client that does not find its way back: another one joins in its place
                self._unheard = 0
                await self.drop()
            raise away(error) from error
        self._unheard = 0
        for tp, end in ours.items():
            self._open[tp] = [(start, batch) for start, batch in self._open.get(tp, ()) if batch.end > end]
        self._tidy()

    def rewind(self) -> None:
        if task := self._fetched():
            self._keep(task.result())
        if self._consumer is not None:
            for tp, batches in self._open.items():
                if tp in self._consumer.assignment():
                    self._consumer.seek(tp, batches[0][0])
        self._open.clear()
        self._tidy()

    async def close(self) -> None:
        consumer = self._let_go()
        if consumer is not None:
            await stop(consumer)

    async def drop(self) -> None:
        """Without a word to the group, which waits for the end of the session."""
        consumer = self._let_go()
        if consumer is not None:
            await abandon(consumer)

    # -- membership ---------------------------------------------------------------------------------------------------

    async def _member(self) -> AIOKafkaConsumer:
        """Joins with the topics that are there, and again when others have come."""
        if self._consumer is None:
            session = self._log.session
            options = {
                **self._log.options,
                "request_timeout_ms": max(self._log.options["request_timeout_ms"], round(2000 * session)),
            }
            made = AIOKafkaConsumer(
                **options,
                group_id=self._group,
                session_timeout_ms=round(session * 1000),
                heartbeat_interval_ms=round(session * 1000 / 4),
                rebalance_timeout_ms=round(session * 1000),
                partition_assignment_strategy=[self._assignor],
                auto_offset_reset="earliest",
                enable_auto_commit=False,
                isolation_level="read_committed",
            )
            self._consumer = await started(made)
            self._log.remember(self)
        consumer: Any = self._consumer
        loop = asyncio.get_running_loop()
        if len(self._joined) < len(self._topics) and loop.time() >= self._look_at:
            self._look_at = loop.time() + LOOK_AGAIN
            there = await consumer.topics()
            if (found := {topic for topic in self._topics if topic in there}) != self._joined:
                consumer.subscribe(found, listener=_Listener(self))
                self._joined = found
        return consumer

    async def revoked(self) -> None:
        """The group is being shared out anew: what is in hand is finished and committed first, if that does not take long."""
        try:
            async with asyncio.timeout(self._log.session / 2):
                await self._settled.wait()
        except TimeoutError:
            log.info("a member of %s gives partitions up in the middle of its work", self._group)
        self._fetched()  # what nobody has asked for yet will be read again
        self._open.clear()
        self._tidy()

    def assigned(self) -> None:
        """The assignor asks for the same partitions next time; a member that was away long must not win over those who were there."""
        assert self._consumer is not None
        self._assignor.on_generation_assignment(self._consumer._coordinator.generation)

    def _fetched(self) -> asyncio.Task[dict[TopicPartition, list[ConsumerRecord]]] | None:
        """Takes away a fetch that has brought something which nobody has asked for since."""
        task = self._fetching
        if task is None or not task.done():
            return None
        self._fetching = None
        return None if task.cancelled() or task.exception() else task

    def _let_go(self) -> AIOKafkaConsumer | None:
        consumer, self._consumer, self._joined = self._consumer, None, set()
        if self._fetching:
            self._fetching.cancel()
            self._fetching.add_done_callback(_heard)
            self._fetching = None
        self._open.clear()
        self._tidy()
        self._log.forget(self)
        return consumer

    # -- records ------------------------------------------------------------------------------------------------------

    async def _next(self, consumer: AIOKafkaConsumer, seconds: float) -> list[Batch]:
        """In a task of its own, which outlives the wait: during a rebalance it takes as long as that, and cancelled it would leave aiokafka's
        count of readers wrong."""
        if self._fetching is None:
            work = consumer.getmany(timeout_ms=round(seconds * 1000), max_records=self._log.batch)
            self._fetching = asyncio.ensure_future(work)
        task = self._fetching
        await asyncio.wait([task], timeout=seconds + 0.2)
        if not task.done() or task is not self._fetching:
            return []
        self._fetching = None
        try:
            found = task.result()
        except FAULTS as error:
            await self.drop()
            raise away(error) from error
        return self._keep(found)

    def _keep(self, found: Mapping[TopicPartition, Sequence[ConsumerRecord]]) -> list[Batch]:
        batches = []
        for tp, raw in found.items():
            records = [record for _, record in self._log.decoded(tp, raw)]
            batch = Batch(tp.topic.removeprefix(self._log.prefix), tp.partition, records, raw[-1].offset + 1)
            self._open.setdefault(tp, []).append((raw[0].offset, batch))
            batches.append(batch)
        self._tidy()
        return batches

    def _tidy(self) -> None:
        self._open = {tp: batches for tp, batches in self._open.items() if batches}
        if self._open:
            self._settled.clear()
        else:
            self._settled.set()


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, subscription: KafkaSubscription):
        self._subscription = subscription

    async def on_partitions_revoked(self, revoked: Any) -> None:
        await self._subscription.revoked()

    def on_partitions_assigned(self, assigned: Any) -> None:
        self._subscription.assigned()


def _own_assignor() -> type[StickyPartitionAssignor]:
    """aiokafka's keeps what a member has on the class: members of one process each need their own."""
    return type("OwnStickyAssignor", (StickyPartitionAssignor,), {})


def _packed(producer: AIOKafkaProducer, records: Sequence[Record]) -> tuple[Any, int]:
    """As many of the records as go into one batch, which the broker takes as a whole or not at all."""
    batch = producer.create_batch()
    taken = 0
    for record in records:
        envelope = record.envelope
        if (
            batch.append(timestamp=None, key=envelope.key.encode(), value=record.value, headers=headers_of(envelope))
            is None
        ):
            break
        taken += 1
    batch.close()
    return batch, taken


def _missing(names: Sequence[str]) -> LogAway:
    return LogAway(f"topics are missing: {', '.join(names)}; run hetao topics apply")


def _heard(future: asyncio.Future[Any]) -> None:
    """An error that nobody waits for is no news."""
    if not future.cancelled():
        future.exception()

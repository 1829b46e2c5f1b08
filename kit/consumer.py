"""The consumer: brings other services' events into effect, each once.

A batch is one transaction: the inbox rows, the effects, their own events. Then the group's position moves. If a batch fails, its
events are taken one by one: a passing fault is waited for in place, so the order holds; an event that cannot be digested is parked for its handler
together with the later events of its key, and the rest goes on.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import datetime
from uuid import UUID

import asyncpg
from opentelemetry.trace import SpanKind

from kit import metrics, telemetry
from kit.database import shadow_of
from kit.errors import DomainError, StartupError
from kit.events import Envelope, Handler, topic_of
from kit.log import Batch, Log, LogAway, Place, Record, Subscription
from kit.module import Runtime
from kit.quiet import Complaint
from kit.unit import DATABASE_AWAY, PASSING, Unit, run

log = logging.getLogger(__name__)

CONSUMED = metrics.Counter("messaging.client.consumed.messages", "{message}", "events that were read from the log")
PROCESSING = metrics.Histogram("messaging.process.duration", "s", "bringing a batch of events into effect")

#: Events that share a transaction at most: its locks are held while it lasts.
LARGEST_UNIT = 50

ENTER = """
insert into inbox (handler, source, event_id, at)
select i.handler, i.source, i.event_id, $4 from unnest($1::text[], $2::text[], $3::uuid[]) as i (handler, source, event_id)
on conflict do nothing returning handler, event_id
"""

LOOK = """
select (select epoch from installation) as epoch, exists (select from rebuild) as rebuilding,
    array(select distinct row(handler, key) from parked where handler = any($1) and key = any($2)) as waiting
"""

#: One row without a fence where there is none.
FENCES = "select epoch, topic, partition, first, past, newest from installation left join fence on true"

PARK = """
insert into parked (handler, key, event_id, type, source, division, value, at, traceparent, error, attempts, parked_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) on conflict (handler, source, event_id) do nothing
"""

Job = tuple[Handler, Record]

#: The span of each (handler, event).
Traces = Mapping[tuple[str, UUID], str]


class Consumer:
    def __init__(self, runtime: Runtime, handlers: Sequence[Handler], event_log: Log):
        self._runtime, self._log = runtime, event_log
        self.topics = [topic_of(service) for service in runtime.module.hears]
        self._by_type: dict[str, list[Handler]] = {}
        for handler in handlers:
            self._by_type.setdefault(handler.event_type, []).append(handler)
        self.by_name = {handler.name: handler for handler in handlers}
        self._attempts = runtime.settings.log.attempts
        self._subscription: Subscription | None = None
        #: Stretches of the log to pass over, by partition, each with the time of its newest event. They belong to the epoch and are read once.
        self._fences: dict[Place, list[tuple[int, int, datetime]]] | None = None

    async def run(self) -> None:
        """Until cancelled."""
        complaint = Complaint(log, f"the consumer of {self._runtime.name}")
        try:
            while True:
                try:
                    await self.step(wait=True)
                    complaint.over()
                except (*PASSING, *DATABASE_AWAY, asyncpg.PostgresError) as error:
                    complaint.about(error)
                    self._subscribed().rewind()
                    await asyncio.sleep(random.uniform(0.1, 0.5))
        finally:
            await self.close()

    async def step(self, *, wait: bool = False) -> int:
        """Takes what the log has next into effect. Returns the number of events."""
        subscription, taken = self._subscribed(), 0
        for batches in _together(await subscription.fetch(wait=wait)):
            records = [record for batch in batches for record in await self._unfenced(batch)]
            for batch in batches:
                CONSUMED.add(len(batch.records), self._labels(batch.topic))
            await self._take(records)
            await subscription.commit(*batches)
            taken += len(records)
        return taken

    async def _unfenced(self, batch: Batch) -> Sequence[Record]:
        """Without the events of writes that a restore has undone."""
        if self._fences is None:
            rows = await self._runtime.background_pool.fetch(FENCES)
            self._runtime.check_epoch(rows[0]["epoch"])
            self._fences = {}
            for row in rows:
                if row["topic"] is not None:
                    place, fence = (row["topic"], row["partition"]), (row["first"], row["past"], row["newest"])
                    self._fences.setdefault(place, []).append(fence)
        fences = self._fences.get((batch.topic, batch.partition))
        if fences is None:
            return batch.records
        return [
            one
            for one in batch.records
            if not any(first <= one.offset < past and one.envelope.time <= newest for first, past, newest in fences)
        ]

    async def close(self) -> None:
        """Gives the partitions to others at once; without it they wait for the end of a lease."""
        subscription, self._subscription = self._subscription, None  # run again, it begins where its group stands
        if subscription:
            try:
                await subscription.close()
            except (*DATABASE_AWAY, LogAway, asyncpg.PostgresError):
                log.warning("the consumer of %s could not give its partitions up", self._runtime.name)

    def _labels(self, topic: str) -> dict[str, str]:
        return {
            "messaging.system": self._log.system,
            "messaging.destination.name": topic,
            "messaging.operation.name": "poll",
            "messaging.consumer.group.name": self._runtime.name,
        }

    def _subscribed(self) -> Subscription:
        if self._subscription is None:
            self._subscription = self._log.subscribe(self._runtime.name, self.topics)
        return self._subscription

    async def _take(self, records: Sequence[Record]) -> None:
        for start in range(0, len(records), LARGEST_UNIT):
            jobs = self._jobs(records[start : start + LARGEST_UNIT])
            if not jobs:
                continue
            try:
                await self._effect(jobs)
            except (*PASSING, StartupError):
                raise
            except Exception as error:
                log.warning("a batch for %s is taken event by event: %s", self._runtime.name, type(error).__name__)
                for job in jobs:
                    await self._one(job)

    def _jobs(self, records: Sequence[Record]) -> list[Job]:
        """What there is to do. An unknown type is a newer neighbour's: it is passed over."""
        return [
            (handler, record)
            for record in records
            for handler in self._by_type.get(record.envelope.type, ())
            if handler.projection or not record.envelope.snapshot
        ]

    async def _one(self, job: Job) -> None:
        handler, record = job
        for attempt in range(1, self._attempts + 1):
            try:
                await self._effect([job])
                return
            except (*PASSING, StartupError):
                raise
            except Exception as error:
                final = isinstance(error, DomainError) or attempt == self._attempts
                if final:
                    log.error(
                        "%s cannot digest %s %s: parked",
                        handler.name,
                        record.envelope.type,
                        record.envelope.id,
                        exc_info=error,
                    )
                    await self._park(job, _reason(error), attempt)
                    return
                await asyncio.sleep(random.uniform(0.05, 0.2) * attempt)

    async def _effect(self, jobs: Sequence[Job]) -> None:
        async def work(unit: Unit, traces: Traces) -> None:
            # Asked before anything is touched: the lock that begins and ends a rebuild waits for us, or we for it.
            rebuilding, waiting = await self._look(unit, jobs)
            behind = [job for job in jobs if (job[0].name, job[1].envelope.key) in waiting]
            for handler, record in behind:
                await unit.execute(PARK, *_parked(handler, record, "BEHIND_A_PARKED_EVENT", 0), unit.now)
            free = [job for job in jobs if job not in behind] if behind else jobs
            projections = [job for job in free if job[0].projection]
            await self._apply(unit, free, traces)
            if rebuilding and projections:  # the same handlers write to the same tables of the shadow schema
                await unit.execute(f"set local search_path to {shadow_of(self._runtime.name)}, {self._runtime.name}")
                await self._apply(unit, projections, traces)

        await self._run(jobs, work)

    async def _apply(self, unit: Unit, jobs: Sequence[Job], traces: Traces) -> None:
        """The inbox rows of the reactions first, then the effects that are new."""
        reactions = [(h, r.envelope) for h, r in jobs if not h.projection]
        fresh: set[tuple[str, UUID]] = set()
        if reactions:
            rows = await unit.fetch(
                ENTER,
                [h.name for h, _ in reactions],
                [e.source for _, e in reactions],
                [e.id for _, e in reactions],
                unit.now,
            )
            fresh = {(row["handler"], row["event_id"]) for row in rows}
        for handler, record in jobs:
            envelope = record.envelope
            if not handler.projection:
                if (handler.name, envelope.id) not in fresh:
                    continue
                fresh.discard((handler.name, envelope.id))  # a batch may hold an event twice
            unit.envelope, unit.action = envelope, handler.name
            unit.traceparent = traces.get((handler.name, envelope.id), envelope.traceparent)
            await handler.effect(unit, handler.message.FromString(record.value))

    async def _look(self, unit: Unit, jobs: Sequence[Job]) -> tuple[bool, set[tuple[str, str]]]:
        """Whether a rebuild is under way, and the (handler, key) pairs that have parked events: what comes later must wait behind them."""
        row = await unit.fetchrow(LOOK, list({h.name for h, _ in jobs}), list({r.envelope.key for _, r in jobs}))
        assert row is not None
        self._runtime.check_epoch(row["epoch"])
        return row["rebuilding"], {(handler, key) for handler, key in row["waiting"]}

    async def _park(self, job: Job, error: str, attempts: int) -> None:
        async def work(unit: Unit, _: Traces) -> None:
            await unit.execute(PARK, *_parked(*job, error, attempts), unit.now)

        await self._run([job], work)

    async def _run(self, jobs: Sequence[Job], work: Callable[[Unit, Traces], Awaitable[None]]) -> None:
        runtime, (handler, _) = self._runtime, jobs[0]
        spans = self._spans(jobs)
        traces = {(h.name, r.envelope.id): s.traceparent for (h, r), s in zip(jobs, spans, strict=False)}

        def open_unit() -> Unit:
            return Unit(
                runtime,
                runtime.system,
                writes=True,
                action=handler.name,
                background=True,
                traceparent=spans[0].traceparent,
            )

        started, failed = time.perf_counter(), {}
        try:
            with telemetry.Scope(spans[0]):
                await run(open_unit, lambda unit: work(unit, traces))
        except BaseException as error:
            failed = {"error.type": type(error).__name__}
            for span in spans[1:]:
                span.failed(type(error).__name__)
            raise
        finally:
            for span in spans[1:]:
                span.end()
            labels = {"messaging.consumer.group.name": runtime.name, "messaging.operation.name": "process"}
            PROCESSING.record(time.perf_counter() - started, {**labels, "messaging.system": self._log.system, **failed})

    def _spans(self, jobs: Sequence[Job]) -> list[telemetry.OpenSpan]:
        """Each event's own, from the beginning of the transaction to its end; that of the first alone where nobody looks."""
        told = [
            (
                topic_of(record.envelope.source.rpartition("/")[2]),
                {
                    "messaging.system": self._log.system,
                    "messaging.operation.name": "process",
                    "messaging.operation.type": "process",
                    "messaging.consumer.group.name": self._runtime.name,
                    "messaging.message.id": str(record.envelope.id),
                    "hetao.event.type": record.envelope.type,
                    "hetao.handler": handler.name,
                },
                record.envelope.traceparent,
            )
            for handler, record in (jobs if telemetry.recording() else jobs[:1])
        ]
        return telemetry.messages(self._runtime.name, "process", SpanKind.CONSUMER, told)

    # -- dead letters -------------------------------------------------------------------------------------------------

    async def redrive(self, unit: Unit, handler_name: str, key: str) -> int:
        """Brings the parked events of a key into effect, in their order, in the caller's unit. Returns how many there were."""
        handler = self.by_name[handler_name]
        rows = await unit.fetch(
            "select id, event_id, type, source, division, value, at, traceparent from parked "
            "where handler = $1 and key = $2 order by id for update",
            handler_name,
            key,
        )
        for row in rows:
            await self._apply(unit, [(handler, _unparked(row, key))], {})
        await unit.execute("delete from parked where id = any($1)", [row["id"] for row in rows])
        return len(rows)


def _together(batches: Sequence[Batch]) -> Iterator[list[Batch]]:
    """Small batches of several partitions, which can share a transaction and a commit of the positions."""
    group: list[Batch] = []
    for batch in batches:
        if group and sum(len(one.records) for one in (*group, batch)) > LARGEST_UNIT:
            yield group
            group = []
        group.append(batch)
    if group:
        yield group


def _reason(error: Exception) -> str:
    """Why an event was put aside, without the values that were wrong: they may be a person's."""
    if not isinstance(error, DomainError):
        return type(error).__name__
    return f"{error.reason} at {error.field}" if error.field else error.reason


def _parked(handler: Handler, record: Record, error: str, attempts: int) -> tuple[object, ...]:
    e = record.envelope
    return (
        handler.name,
        e.key,
        e.id,
        e.type,
        e.source,
        e.division,
        record.value,
        e.time,
        e.traceparent,
        error[:400].replace("\0", ""),
        attempts,
    )


def _unparked(row: asyncpg.Record, key: str) -> Record:
    envelope = Envelope(
        id=row["event_id"],
        type=row["type"],
        source=row["source"],
        key=key,
        time=row["at"],
        division=row["division"],
        snapshot=False,
        traceparent=row["traceparent"],
    )
    return Record(envelope, row["value"])

"""The relay: takes events from a service's outbox to the log.

One relay of a service is at work at a time, by a lease with an epoch in the database, which is checked at every marking: one that was paused and
wakes up late can only repeat what was published, never mark it or put it in another order. The log is at least once.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import asyncpg
from opentelemetry.trace import SpanKind

from kit import metrics, telemetry
from kit.events import Envelope, topic_of
from kit.ids import uuid7
from kit.log import Log, LogAway, Record
from kit.module import Runtime
from kit.quiet import Complaint
from kit.unit import DATABASE_AWAY

log = logging.getLogger(__name__)

SENT = metrics.Counter("messaging.client.sent.messages", "{message}", "events that were given to the log")
SENDING = metrics.Histogram("messaging.client.operation.duration", "s", "giving events to the log, by batches")

#: After a batch a relay rests so many times as long as it worked, up to the interval of its looks: quick where the machine has time, and of little
#: weight where it has none.
REST = 4

#: Seconds that a log is given beyond the time it takes itself (`send_timeout`): it must see first that it is not answered, to do something about it.
NET = 2.0

#: Asked together, so that whoever holds the lease knows which installation it is of.
HOLD = """
with held as (
    insert into lease (name, owner, epoch, until) values ('relay', $1, 1, $3)
    on conflict (name) do update set owner = excluded.owner, until = excluded.until,
        epoch = lease.epoch + case when lease.owner = excluded.owner then 0 else 1 end
    where lease.owner = excluded.owner or lease.until <= $2
    returning epoch
)
select (select epoch from held) as held, epoch as installation from installation
"""

NEXT = "select id, event_id, type, key, division, snapshot, value, at, traceparent from outbox order by id limit $1"

MARK = """
delete from outbox where id = any($1)
and exists (select from lease where name = 'relay' and owner = $2 and epoch = $3 for share)
"""


class Relay:
    def __init__(self, runtime: Runtime, event_log: Log):
        settings = runtime.settings.log
        self._runtime, self._log = runtime, event_log
        self._batch, self._lease, self._poll = settings.batch, settings.lease_seconds, settings.poll_seconds
        self._send_timeout = settings.send_timeout + NET
        self._owner = uuid7()
        self._epoch = 0
        self._held_until = 0.0

    @property
    def leads(self) -> bool:
        """Whether it was at work a moment ago. A leader renews its hold at half of the lease."""
        return self._held_until > 0 and time.monotonic() < self._held_until + self._lease / 2

    async def run(self) -> None:
        """Until cancelled. Woken after each commit of this process; looks for other processes' rows by itself."""
        wanted = self._runtime.relay_wanted
        complaint = Complaint(log, f"the relay of {self._runtime.name}")
        while True:
            wanted.clear()
            began = time.monotonic()
            try:
                while (gone := await self.step()) == self._batch:
                    pass
            except (*DATABASE_AWAY, TimeoutError, LogAway, asyncpg.PostgresError) as error:
                complaint.about(error)
                await asyncio.sleep(random.uniform(0.1, 0.5))
                continue
            complaint.over()
            if gone:  # not at once again: what other commits leave meanwhile goes along, or each would cost as much as all of them
                await asyncio.sleep(min(self._poll, REST * (time.monotonic() - began)))
            try:
                async with asyncio.timeout(self._poll):
                    await wanted.wait()
            except TimeoutError:
                pass

    async def step(self) -> int:
        """Publishes one batch, if this relay is the one at work. Returns how many events went."""
        pool = self._runtime.background_pool
        if not await self._hold(pool):
            return 0
        rows = await pool.fetch(NEXT, self._batch)
        if not rows:
            return 0
        await self._publish([_record(row, self._runtime.source) for row in rows])
        marked = await pool.execute(MARK, [row["id"] for row in rows], self._owner, self._epoch)
        if marked == "DELETE 0":  # another one is at work, or has done it
            self._held_until = 0.0
            return 0
        return len(rows)

    async def _publish(self, records: list[Record]) -> None:
        topic, service = topic_of(self._runtime.name), self._runtime.name
        labels = {
            "messaging.system": self._log.system,
            "messaging.destination.name": topic,
            "messaging.operation.name": "send",
        }
        spans: list[telemetry.OpenSpan] = []
        if telemetry.recording():
            told = [
                (topic, {**labels, "messaging.operation.type": "send", **_told(record)}, record.envelope.traceparent)
                for record in records
            ]
            spans = telemetry.messages(service, "send", SpanKind.PRODUCER, told)
            records = [
                replace(record, envelope=replace(record.envelope, traceparent=span.traceparent))
                for record, span in zip(records, spans, strict=True)
            ]
        started, failed = time.perf_counter(), {}
        try:
            async with asyncio.timeout(self._send_timeout):  # whatever hangs must not hold this relay for ever
                await self._log.append(topic, records)
        except BaseException as error:
            failed = {"error.type": type(error).__name__}
            for span in spans:
                span.failed(type(error).__name__)
            raise
        finally:
            SENT.add(len(records), labels | failed)
            SENDING.record(time.perf_counter() - started, labels | failed)
            for span in spans:
                span.end()

    async def _hold(self, pool: asyncpg.Pool) -> bool:
        """Renews the lease when half of it is over. Raises `StartupError` after a restore."""
        if time.monotonic() < self._held_until:
            return True
        now = datetime.now(UTC)  # leases measure real time, whatever time the business has
        started = time.monotonic()
        row = await pool.fetchrow(HOLD, self._owner, now, now + timedelta(seconds=self._lease))
        assert row is not None
        self._runtime.check_epoch(row["installation"])
        if row["held"] is None:
            return False
        self._epoch, self._held_until = row["held"], started + self._lease / 2
        return True

    async def release(self) -> None:
        """Lets another process go on at once."""
        self._held_until = 0.0
        await self._runtime.background_pool.execute(
            "delete from lease where name = 'relay' and owner = $1", self._owner
        )


def _told(record: Record) -> dict[str, str | int | bool]:
    return {"messaging.message.id": str(record.envelope.id), "hetao.event.type": record.envelope.type}


def _record(row: asyncpg.Record, source: str) -> Record:
    envelope = Envelope(
        id=row["event_id"],
        type=row["type"],
        source=source,
        key=row["key"],
        time=row["at"],
        division=row["division"],
        snapshot=row["snapshot"],
        traceparent=row["traceparent"],
    )
    return Record(envelope, row["value"])

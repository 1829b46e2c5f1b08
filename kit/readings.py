"""What a service's own tables and the log say of its health, read every few seconds in the background, so that whoever collects metrics waits for nobody.

One small loop per service. What could not be read for a while is shown no more: no figure is better than an old one.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Iterable
from datetime import datetime
from typing import Final

import asyncpg

from kit.consumer import Consumer
from kit.log import Log, lag
from kit.metrics import Gauge, Reading
from kit.module import Parts, Runtime
from kit.relay import Relay
from kit.timers import TimerLoop
from kit.unit import DATABASE_AWAY, PASSING

log = logging.getLogger(__name__)

#: Looks after which a reading that was not renewed is dropped.
STALE: Final = 4

#: Rows are counted to here: more would not change what is to be done, and the count would be slow.
MOST: Final = 100_000

OUTBOX_ROWS = Gauge("hetao.outbox.rows", "{event}", "events that wait for the relay; counted to 100,000")
OUTBOX_AGE = Gauge("hetao.outbox.age", "s", "age of the oldest event that waits for the relay")
LAG = Gauge("hetao.consumer.lag", "{event}", "events of a topic that are not in effect here yet")
BACKLOG = Gauge("hetao.timer.backlog", "{timer}", "timers that are due and have not fired; counted to 100,000")
BACKLOG_AGE = Gauge("hetao.timer.backlog.age", "s", "how long the oldest of them has been due")
PARKED_EVENTS = Gauge("hetao.dead_letter.events", "{event}", "events put aside for a handler")
PARKED_TIMERS = Gauge("hetao.dead_letter.timers", "{timer}", "timers put aside after too many failures")
LEADER = Gauge("hetao.relay.leader", "{relay}", "1 where the relay of this process is the one at work")
SEAL_AGE = Gauge("hetao.audit.seal.age", "s", "age of the oldest change that is not sealed in the audit yet")

OUTBOX = """
select (select count(*) from (select from outbox limit $1) as waiting), (select at from outbox order by id limit 1)
"""
DUE = """
select (select count(*) from (select from timer where due <= $2 and parked_at is null limit $1) as late),
    (select min(due) from timer where due <= $2 and parked_at is null)
"""
EVENTS = "select handler, count(*) from parked group by handler"
TIMERS = "select kind, count(*) from timer where parked_at is not null group by kind"
UNSEALED = """
select at from audit where seq > coalesce((select last from audit_block order by number desc limit 1), 0) order by seq limit 1
"""


class Readings:
    """Of one service in one process."""

    def __init__(
        self,
        runtime: Runtime,
        parts: Parts,
        relay: Relay,
        consumer: Consumer | None,
        timers: TimerLoop | None,
        event_log: Log,
    ):
        self._runtime, self._parts, self._log = runtime, parts, event_log
        self._relay, self._consumer, self._timers = relay, consumer, timers
        self._every = runtime.settings.telemetry.look_seconds
        self._read: dict[Gauge, tuple[float, list[Reading]]] = {}
        self._of = {"hetao.service": runtime.name}

    async def run(self) -> None:
        """Until cancelled."""
        LEADER.watch(self, lambda: [(float(self._relay.leads), self._of)])
        try:
            while True:
                try:
                    await self.look()
                except (*PASSING, *DATABASE_AWAY, asyncpg.PostgresError) as error:
                    log.warning("the metrics of %s wait: %s", self._runtime.name, type(error).__name__)
                await asyncio.sleep(self._every * random.uniform(0.9, 1.1))  # so that services do not ask all at once
        finally:
            self.forget()

    def forget(self) -> None:
        """Shows nothing any more."""
        for gauge in (LEADER, *self._read):
            gauge.forget(self)

    async def look(self) -> None:
        """Reads everything once. The log comes last: where it is away, the rest is known."""
        pool, now = self._runtime.background_pool, self._runtime.clock.now()
        ((rows, oldest),) = await pool.fetch(OUTBOX, MOST)
        self._show(OUTBOX_ROWS, [(rows, self._of)])
        self._show(OUTBOX_AGE, [(_age(oldest, now), self._of)])
        ((late, due),) = await pool.fetch(DUE, MOST, now)
        self._show(BACKLOG, [(late, self._of)])
        self._show(BACKLOG_AGE, [(_age(due, now), self._of)])
        events = dict.fromkeys(self._consumer.by_name if self._consumer else (), 0)
        events.update(await _counts(pool, EVENTS))
        self._show(PARKED_EVENTS, [(count, {**self._of, "hetao.handler": name}) for name, count in events.items()])
        timers = dict.fromkeys(self._timers.kinds if self._timers else (), 0)
        timers.update(await _counts(pool, TIMERS))
        self._show(PARKED_TIMERS, [(count, {**self._of, "hetao.timer.kind": kind}) for kind, count in timers.items()])
        self._show(SEAL_AGE, [(_age(await pool.fetchval(UNSEALED), now), self._of)])
        if self._parts.readings:
            told = await self._runtime.read(self._parts.readings, action=f"{self._runtime.name}.readings")
            for gauge, readings in told.items():
                self._show(gauge, readings)
        if self._consumer:
            lags = [(await lag(self._log, self._runtime.name, [topic]), topic) for topic in self._consumer.topics]
            labels = {"messaging.consumer.group.name": self._runtime.name}
            self._show(LAG, [(count, {**labels, "messaging.destination.name": topic}) for count, topic in lags])

    def _show(self, gauge: Gauge, readings: Iterable[Reading]) -> None:
        if gauge not in self._read:
            gauge.watch(self, lambda: self._fresh(gauge))
        self._read[gauge] = time.monotonic(), list(readings)

    def _fresh(self, gauge: Gauge) -> list[Reading]:
        read_at, readings = self._read[gauge]
        return readings if time.monotonic() - read_at < STALE * self._every else []


async def _counts(pool: asyncpg.Pool, sql: str) -> dict[str, int]:
    return {row[0]: row[1] for row in await pool.fetch(sql)}


def _age(since: datetime | None, now: datetime) -> float:
    return 0.0 if since is None else max(0.0, (now - since).total_seconds())

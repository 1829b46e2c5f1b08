"""Timers as rows: what is due is done, after a crash too, the oldest first, and one that fails starves nobody.

Candidates are found without locks. The work locks what it changes; then the row is deleted by its generation, in the same transaction: no row
means that somebody else has done it or has moved it, and everything is undone.

One that falls due is a transaction of its own. A backlog, as after an outage, goes by small groups that share a transaction, which is four times as
fast; a group in which one fails is undone and goes one by one.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import asyncpg

from kit import metrics, telemetry
from kit.errors import Refused
from kit.unit import CONNECTION_LOST, DATABASE_AWAY, Unit, run

if TYPE_CHECKING:
    from kit.module import Runtime

log = logging.getLogger(__name__)

Work = Callable[[Unit, str], Awaitable[None]]

DUE = "select kind, key, due, generation, attempts from timer where due <= $1 and parked_at is null and kind = any($2) order by due limit $3"

GONE = "delete from timer t using unnest($1::text[], $2::text[], $3::bigint[]) as d (kind, key, generation) where t.kind = d.kind and t.key = d.key and t.generation = d.generation"

BACK_OFF = """
update timer set attempts = attempts + 1, error = $4, due = $5, parked_at = $6 where kind = $1 and key = $2 and generation = $3
"""

#: Timers of a backlog that share a transaction at most: the locks of their work are held while it lasts.
LARGEST_UNIT = 20

LATENESS = metrics.Histogram("hetao.timer.lateness", "s", "from when a timer was due until it fired", metrics.LONG)


@dataclass(frozen=True, slots=True)
class Timer:
    """What happens when a timer of this kind is due. The work asks the facts again: they are the truth, the timer only a reminder."""

    kind: str
    work: Work


def timer(kind: str) -> Callable[[Work], Timer]:
    """`@timer("cases.remind") async def remind(unit, key): …`; set with `unit.schedule("cases.remind", key, at=…)`."""
    return lambda work: Timer(kind, work)


class _Gone(Exception):
    """The row is not there any more."""


class TimerLoop:
    def __init__(self, runtime: Runtime, timers: Sequence[Timer]):
        self._runtime, self._settings = runtime, runtime.settings.timers
        self._work = {t.kind: t.work for t in timers}

    @property
    def kinds(self) -> Sequence[str]:
        return list(self._work)

    async def run(self) -> None:
        """Until cancelled."""
        wanted = self._runtime.timers_wanted
        while True:
            wanted.clear()
            try:
                await self.run_due()
                pause = await self._until_next()
            except (*DATABASE_AWAY, asyncpg.PostgresError) as error:
                log.warning("the timers of %s wait: %s", self._runtime.name, type(error).__name__)
                pause = random.uniform(0.2, 0.8)
            try:
                async with asyncio.timeout(pause):
                    await wanted.wait()
            except TimeoutError:
                pass

    async def run_due(self) -> int:
        """Everything that is due now, the oldest first. Returns how many fired."""
        fired = 0
        while True:
            rows = await self._runtime.background_pool.fetch(
                DUE, self._runtime.clock.now(), list(self._work), self._settings.batch
            )
            groups = self._groups(rows)
            workers = (self._take(groups) for _ in range(self._settings.parallel))
            results = await asyncio.gather(*workers, return_exceptions=True)
            for result in results:  # only when all have ended, so that none goes on unseen
                if isinstance(result, BaseException):
                    raise result
                fired += result
            if len(rows) < self._settings.batch:
                return fired

    async def _until_next(self) -> float:
        """Seconds until there is something to do, at most the polling interval: other processes set timers too."""
        due = await self._runtime.background_pool.fetchval(
            "select min(due) from timer where parked_at is null and kind = any($1)", list(self._work)
        )
        if due is None:
            return self._settings.poll_seconds
        wait: float = (due - self._runtime.clock.now()).total_seconds()
        return min(max(wait, 0.001), self._settings.poll_seconds)

    def _groups(self, rows: Sequence[asyncpg.Record]) -> Iterator[Sequence[asyncpg.Record]]:
        """Few go one by one. Of many, several share a transaction, but all workers have something to do."""
        parallel = self._settings.parallel
        size = 1 if len(rows) <= 2 * parallel else min(LARGEST_UNIT, -(-len(rows) // parallel))
        return (rows[start : start + size] for start in range(0, len(rows), size))

    async def _take(self, groups: Iterator[Sequence[asyncpg.Record]]) -> int:
        """One worker's part of what is due; the workers take the groups in their order. Returns how many fired."""
        fired = 0
        for group in groups:
            if len(group) > 1:
                try:
                    fired += await self._fire(group)
                    continue
                except (*CONNECTION_LOST, asyncpg.InsufficientResourcesError):
                    raise
                except _Gone:  # somebody else is at it: what is left is looked up again
                    return fired
                except Exception as error:
                    log.info("timers of %s go one by one: %s", self._runtime.name, type(error).__name__)
            for row in group:
                fired += await self._alone(row)
        return fired

    async def _alone(self, row: asyncpg.Record) -> bool:
        try:
            return await self._fire([row]) == 1
        except _Gone:
            return False
        except (*CONNECTION_LOST, asyncpg.InsufficientResourcesError):
            raise  # no other timer would fare better
        except Exception as error:
            await self._back_off(row, error)
            return False

    async def _fire(self, rows: Sequence[asyncpg.Record]) -> int:
        """These in one transaction, all or none."""
        service = self._runtime.name
        with telemetry.timer_span(service, rows[0]["kind"]) as span:

            def open_unit() -> Unit:
                runtime, kind = self._runtime, rows[0]["kind"]
                return Unit(
                    runtime, runtime.system, writes=True, action=kind, background=True, traceparent=span.traceparent
                )

            async def work(unit: Unit) -> Sequence[asyncpg.Record]:
                done = [rows[0]]
                await self._do(unit, rows[0])
                for row in rows[1:]:
                    # What another one of the group has set or taken away is not what was due.
                    if unit.replanned(row["kind"], row["key"]):
                        continue
                    with telemetry.timer_span(service, row["kind"]) as own:
                        unit.action, unit.traceparent = row["kind"], own.traceparent
                        await self._do(unit, row)
                    done.append(row)
                columns = ([row[name] for row in done] for name in ("kind", "key", "generation"))
                if await unit.execute(GONE, *columns) != f"DELETE {len(done)}":
                    raise _Gone
                return done

            done = await run(open_unit, work)
        now = self._runtime.clock.now()
        for row in done:
            lateness = max(0.0, (now - row["due"]).total_seconds())
            LATENESS.record(lateness, {"hetao.service": service, "hetao.timer.kind": row["kind"]})
        return len(done)

    async def _do(self, unit: Unit, row: asyncpg.Record) -> None:
        """A refusal undoes the work: nothing of it may be kept while its timer is still there."""
        try:
            await self._work[row["kind"]](unit, row["key"])
        except Refused as refused:
            raise refused.error from None

    async def _back_off(self, row: asyncpg.Record, error: Exception) -> None:
        """Tries again later, and in the end leaves it to a person."""
        now, attempts = self._runtime.clock.now(), row["attempts"] + 1
        parked = now if attempts >= self._settings.attempts else None
        later = now + timedelta(seconds=min(5 * 2**attempts, 3600) * random.uniform(0.8, 1.2))
        level = logging.ERROR if parked else logging.WARNING
        log.log(level, "timer %s failed, try %d%s", row["kind"], attempts, ": parked" if parked else "", exc_info=error)
        reason = type(error).__name__
        await self._runtime.background_pool.execute(
            BACK_OFF, row["kind"], row["key"], row["generation"], reason, later, parked
        )

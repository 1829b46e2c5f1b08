"""Timers as rows: what is due is done, after a crash too, the oldest first, and one that fails starves nobody.

Candidates are found without locks. The work locks what it changes; then the row is deleted by its generation, in the same transaction: no row
means that somebody else has done it or has moved it, and everything is undone.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import asyncpg

from kit import metrics, telemetry
from kit.unit import CONNECTION_LOST, DATABASE_AWAY, Unit, run

if TYPE_CHECKING:
    from kit.module import Runtime

log = logging.getLogger(__name__)

Work = Callable[[Unit, str], Awaitable[None]]

DUE = "select kind, key, due, generation, attempts from timer where due <= $1 and parked_at is null and kind = any($2) order by due limit $3"

BACK_OFF = """
update timer set attempts = attempts + 1, error = $4, due = $5, parked_at = $6 where kind = $1 and key = $2 and generation = $3
"""


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
            for start in range(0, len(rows), self._settings.parallel):
                part = rows[start : start + self._settings.parallel]
                results = await asyncio.gather(*(self._fire(row) for row in part), return_exceptions=True)
                for failure in results:  # only when all have ended, so that none goes on unseen
                    if isinstance(failure, BaseException):
                        raise failure
                fired += results.count(True)
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

    async def _fire(self, row: asyncpg.Record) -> bool:
        kind, key, generation = row["kind"], row["key"], row["generation"]
        LATENESS.record(
            max(0.0, (self._runtime.clock.now() - row["due"]).total_seconds()),
            {"hetao.service": self._runtime.name, "hetao.timer.kind": kind},
        )
        with telemetry.timer_span(self._runtime.name, kind) as span:

            def open_unit() -> Unit:
                runtime = self._runtime
                return Unit(
                    runtime, runtime.system, writes=True, action=kind, background=True, traceparent=span.traceparent
                )

            async def work(unit: Unit) -> None:
                await self._work[kind](unit, key)
                gone = "delete from timer where kind = $1 and key = $2 and generation = $3"
                if await unit.execute(gone, kind, key, generation) != "DELETE 1":
                    raise _Gone

            try:
                await run(open_unit, work)
                return True
            except _Gone:
                return False
            except (*CONNECTION_LOST, asyncpg.InsufficientResourcesError):
                raise  # no other timer would fare better
            except Exception as error:
                span.failed(type(error).__name__)
                await self._back_off(row, error)
                return False

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

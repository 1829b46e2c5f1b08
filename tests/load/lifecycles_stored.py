"""Case lifecycles over REST with few and with many cases stored, in turns between two platforms, and what they take.

Each platform is a real `hetao serve` with PostgreSQL of its own and fsync on. While one is measured the other is stopped, as a process is
stopped with Ctrl-Z, so that it takes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, field
from statistics import median

from rich.table import Table

from tests.load import lifecycles
from tests.load.lifecycles import Outcome
from tests.load.matters import ACCOUNT
from tests.load.programs import ask
from tests.load.served import Served, Usage, folder, serve
from tests.load.stored import store

STORED = (10_000, 200_000)
TURNS = 3


@dataclass
class Measured:
    """What came of all turns with so many cases stored."""

    stored: int
    outcomes: list[Outcome] = field(default_factory=list)
    process_cpu: float = 0.0
    postgres_cpu: float = 0.0
    usage: Usage | None = None

    @property
    def calls(self) -> int:
        return sum(outcome.all_calls for outcome in self.outcomes)


async def measure(seconds: float) -> Table:
    async with contextlib.AsyncExitStack() as stack:
        platforms = [(Measured(stored), await stack.enter_async_context(_platform(stored))) for stored in STORED]
        for _, platform in platforms:
            platform.process.send_signal(signal.SIGSTOP)
        for turn in range(TURNS):
            for measured, platform in platforms:
                platform.process.send_signal(signal.SIGCONT)
                await _turn(measured, platform, seconds / TURNS, turn)
                platform.process.send_signal(signal.SIGSTOP)
        for _, platform in platforms:
            platform.process.send_signal(signal.SIGCONT)
    return _table([measured for measured, _ in platforms])


@contextlib.asynccontextmanager
async def _platform(stored: int) -> AsyncIterator[Served]:
    """A platform with so many cases, all of them written by the service or cloned from those."""
    with folder() as data:
        async with serve(data) as platform:
            sample = await _run(platform, seconds=1.0, warm_up=0.0, writers=2, seed=stored)
            await _settled(platform)
            settings = platform.settings
        await store(settings, stored - sample.all_calls // lifecycles.CALLS)
        async with serve(data) as platform:
            yield platform


async def _settled(platform: Served) -> None:
    """Until every event has left for the log."""
    connection = await platform.connect()
    try:
        while await connection.fetchval("select exists (select from cases.outbox)"):
            await asyncio.sleep(0.1)
        await asyncio.sleep(0.5)
    finally:
        await connection.close()


async def _turn(measured: Measured, platform: Served, seconds: float, turn: int) -> None:
    connection = await platform.connect()
    await connection.execute("checkpoint")  # else it may come in the middle of one turn and not of the other
    await connection.close()
    before = platform.usage()
    outcome = await _run(platform, seconds=seconds, warm_up=2.0, writers=16, seed=measured.stored + turn + 1)
    measured.usage = platform.usage()
    measured.outcomes.append(outcome)
    measured.process_cpu += measured.usage.process_cpu - before.process_cpu
    measured.postgres_cpu += measured.usage.postgres_cpu - before.postgres_cpu


async def _run(platform: Served, *, seconds: float, warm_up: float, writers: int, seed: int) -> Outcome:
    order = lifecycles.Order(
        *platform.rest, platform.token(ACCOUNT), seconds=seconds, warm_up=warm_up, writers=writers, seed=seed
    )
    outcome = Outcome(**await ask("tests.load.lifecycles", asdict(order)))
    if outcome.errors:
        raise RuntimeError(f"{len(outcome.errors)} calls failed, such as {outcome.errors[0]}")
    return outcome


def _table(found: list[Measured]) -> Table:
    title = "Case lifecycles over REST: create and accept, dispatch to three desks, conclude, read (4 calls)"
    table = Table(title=title, title_justify="left")
    times, parts = ("p50", "p95", "p99"), ("process", "PostgreSQL", "load")
    for column in ("cases stored", "calls/s", *times, *(f"CPU {part}" for part in parts), "MiB process", "PostgreSQL"):
        table.add_column(column, justify="right")
    for one in found:
        assert one.usage
        outcomes = one.outcomes
        load = sum(outcome.cpu_share * outcome.seconds for outcome in outcomes) / sum(
            outcome.calls for outcome in outcomes
        )
        table.add_row(
            f"{one.stored:,}",
            f"{median(outcome.rate for outcome in outcomes):.0f}",
            *(f"{median(getattr(outcome, name) for outcome in outcomes):.1f}" for name in times),
            f"{one.process_cpu / one.calls * 1000:.2f}",
            f"{one.postgres_cpu / one.calls * 1000:.2f}",
            f"{load * 1000:.2f}",
            f"{one.usage.resident:.0f}",
            f"{one.usage.postgres:.0f}",
        )
    few, many = found
    ratios = [b.rate / a.rate for a, b in zip(few.outcomes, many.outcomes, strict=True)]
    table.caption = (
        f"{STORED[1]:,} against {STORED[0]:,}: {median(ratios):.0%} ({min(ratios):.0%}–{max(ratios):.0%} in {TURNS} turns). Times and CPU per call "
        "in ms. Aims: ≥ 600 calls/s, p95 < 60 ms, within 10 % of each other, process ≤ 250 MiB"
    )
    return table

"""The drill of the timers: many open ones, half of them due during a storm of crashes. `python -m tests.drill.timers --open 100000`.

None is lost, none fires twice, the oldest go first, and those whose work always fails keep nobody waiting. Printed, not judged: how fast the backlog
drains, and how late those are that fall due when it has drained.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import click
from rich.console import Console
from rich.table import Table

from kit.ids import uuid7
from kit.postgres import EmbeddedPostgres
from tests.fault.books import ShelfProcess

#: Timers whose work always fails; they are the oldest of all.
STUBBORN = 20

#: How many fall due in a second, when the storm is over and the backlog has drained, and for how many seconds.
AFTER, FOR = 100, 6.0

#: Seconds from the start of the storm until the first of its timers is due.
LEAD = 1.0

#: Seconds at the end of the storm in which nobody starts anything again: so long a backlog is there for sure.
DARK = 3.0

#: So many places may a timer be ahead of one that was due before it: what is being done at the same time, and once more for each crash.
TOGETHER = 500

Progress = Callable[[str], None]


@dataclass(slots=True)
class Storm:
    """What came of it. Times in seconds; `ahead`: the most timers that one overtook; `rate`: of the backlog, fired a second once nobody died any more."""

    due: int
    fired: int
    lost: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    early: list[str] = field(default_factory=list)
    ahead: int = 0
    stubborn_fired: int = 0
    stubborn_tried: int = 0
    left: int = 0
    kills: int = 0
    backlog: int = 0
    rate: float = 0.0
    lateness: list[float] = field(default_factory=list)

    @property
    def wrong(self) -> list[str]:
        """Empty is well."""
        found = [f"lost: {key}" for key in self.lost] + [f"twice: {key}" for key in self.twice]
        found += [f"before its time: {key}" for key in self.early]
        if self.ahead > TOGETHER:
            found.append(f"a timer overtook {self.ahead} that were due before it")
        if self.stubborn_fired or self.stubborn_tried < STUBBORN:
            found.append(
                f"of {STUBBORN} that always fail, {self.stubborn_tried} were tried, {self.stubborn_fired} fired"
            )
        return found

    def late(self, share: float) -> float:
        ordered = sorted(self.lateness)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


class TimerDrill:
    """`open_`: timers in all; `seconds`: how long the storm lasts."""

    def __init__(self, open_: int, seed: int, seconds: float, progress: Progress):
        self.open, self.seconds, self.progress = open_, seconds, progress
        self.chance = random.Random(f"timers {seed}")
        self.due: dict[str, datetime] = {}
        self.kills = 0

    async def run(self, process: ShelfProcess) -> Storm:
        self.progress("starting")
        await process.start()
        self.connection = await asyncpg.connect(EmbeddedPostgres(process.data_dir).dsn(database="hetao"))
        try:
            self.progress(f"setting {self.open} timers")
            later, stubborn = await self._set()
        finally:
            await self.connection.close()
        await self._storm(process)
        self.connection = await asyncpg.connect(EmbeddedPostgres(process.data_dir).dsn(database="hetao"))
        try:
            backlog, rate = await self._drained()
            await self._later(later)
            return await self._judge(stubborn, backlog, rate)
        finally:
            await self.connection.close()

    async def _set(self) -> tuple[list[str], list[str]]:
        """Half of them fall due in the storm. Returns those that will be set nearer afterwards, and those that always fail."""
        ids = [uuid7() for _ in range(self.open)]
        stubborn, storm, rest = ids[:STUBBORN], ids[STUBBORN : self.open // 2], ids[self.open // 2 :]
        begin = datetime.now(UTC) + timedelta(seconds=LEAD + self.open / 20_000)  # setting them takes a while
        moments = {one: begin - timedelta(hours=1) for one in stubborn}
        self.due = {str(one): begin + timedelta(seconds=self.chance.uniform(0, self.seconds)) for one in storm}
        moments |= {one: self.due[str(one)] for one in storm}
        moments |= {one: begin + timedelta(days=1, seconds=self.chance.uniform(0, 3600)) for one in rest}
        titles = dict.fromkeys(stubborn, "stubborn")
        await self.connection.copy_records_to_table(
            "thing",
            schema_name="shelf",
            columns=["id", "division", "title", "version"],
            records=[(one, "150802", titles.get(one, "still"), 1) for one in ids],
        )
        shuffled = self.chance.sample(ids, len(ids))  # they do not lie in the order of their time
        await self.connection.copy_records_to_table(
            "timer",
            schema_name="shelf",
            columns=["kind", "key", "due"],
            records=[("shelf.check", str(one), moments[one]) for one in shuffled],
        )
        await self.connection.execute("analyze shelf.timer")
        return [str(one) for one in rest[: round(AFTER * FOR)]], [str(one) for one in stubborn]

    async def _storm(self, process: ShelfProcess) -> None:
        end = time.monotonic() + LEAD + self.seconds - DARK
        while time.monotonic() < end:
            self.progress(f"the storm: {self.kills} times killed")
            match self.chance.randrange(3):
                case 0:
                    await asyncio.sleep(self.chance.uniform(0.2, 1.0))
                    await process.kill()
                case 1:
                    await asyncio.sleep(self.chance.uniform(0.2, 1.0))
                    await process.kill()
                    process.kill_postgres()
                case _:
                    await process.kill()
                    await process.start(SHELF_DIES=f"timer:{self.chance.randrange(1, 400)}")
                    await asyncio.wait([asyncio.ensure_future(process.died())], timeout=15)
                    await process.kill()
            self.kills += 1
            await process.start()
        await process.kill()
        self.progress("dark until the last of the storm is due")
        last = max(self.due.values())
        while datetime.now(UTC) < last:
            await asyncio.sleep(0.1)
        await process.start()

    async def _drained(self) -> tuple[int, float]:
        """How many were due and waiting when nobody died any more, and how many of them went in a second."""
        began, first = time.monotonic(), await self._waiting()
        while left := await self._waiting():
            self.progress(f"the backlog: {left} of {first}")
            await asyncio.sleep(0.1)
        return first, first / (time.monotonic() - began)

    async def _waiting(self) -> int:
        count: int = await self.connection.fetchval(
            "select count(*) from shelf.timer where due <= $1 and attempts = 0", datetime.now(UTC)
        )
        return count

    async def _later(self, keys: list[str]) -> None:
        """Some more, one after the other, while there is no backlog."""
        self.progress("those that fall due afterwards")
        begin = datetime.now(UTC) + timedelta(seconds=1.5)
        for n, key in enumerate(keys):
            self.due[key] = begin + timedelta(seconds=n / AFTER)
        rows = [(self.due[key], key) for key in keys]
        await self.connection.executemany(
            "update shelf.timer set due = $1, generation = nextval('shelf.timer_generation') where key = $2", rows
        )
        while len(await self.connection.fetch("select from shelf.timer where key = any($1)", keys)):
            await asyncio.sleep(0.2)
        self.after = set(keys)

    async def _judge(self, stubborn: list[str], backlog: int, rate: float) -> Storm:
        fired = await self.connection.fetch("select key, at from shelf.fired order by n")
        keys = Counter(row["key"] for row in fired)
        tried = "select count(*) from shelf.timer where key = any($1) and attempts > 0 and error is not null"
        return Storm(
            due=len(self.due),
            fired=len(fired),
            lost=[key for key in self.due if key not in keys],
            twice=[key for key, count in keys.items() if count > 1],
            early=[row["key"] for row in fired if row["key"] not in self.due or row["at"] < self.due[row["key"]]],
            ahead=overtaken([self.due[row["key"]] for row in fired if row["key"] in self.due]),
            stubborn_fired=sum(keys[key] for key in stubborn),
            stubborn_tried=await self.connection.fetchval(tried, stubborn),
            left=await self.connection.fetchval("select count(*) from shelf.timer"),
            kills=self.kills,
            backlog=backlog,
            rate=rate,
            lateness=[(row["at"] - self.due[row["key"]]).total_seconds() for row in fired if row["key"] in self.after],
        )


def overtaken(moments: list[datetime]) -> int:
    """The most that any of these, in the order in which they fired, went before others that were due earlier."""
    ranks = {moment: rank for rank, moment in enumerate(sorted(set(moments)), 1)}
    tree, most = [0] * (len(ranks) + 1), 0  # a Fenwick tree of those that fire later
    for moment in reversed(moments):
        rank = ranks[moment]
        earlier, at = 0, rank - 1
        while at:
            earlier, at = earlier + tree[at], at & (at - 1)
        most = max(most, earlier)
        while rank < len(tree):
            tree[rank] += 1
            rank += rank & -rank
    return most


async def run(open_: int, seed: int, seconds: float, progress: Progress) -> Storm:
    folder = Path(tempfile.mkdtemp(prefix="hetao-timers-", dir="/tmp"))
    folder.chmod(0o711)
    process = ShelfProcess(folder / "data", {})
    try:
        return await TimerDrill(open_, seed, seconds, progress).run(process)
    finally:
        await process.end()
        shutil.rmtree(folder, ignore_errors=True)


def show(console: Console, storm: Storm) -> None:
    table = Table(title=f"{storm.due} timers were due, {storm.kills} times everything was killed", title_justify="left")
    for name in ("fired", "lost", "twice", "too early", "most overtaken", "always failing", "still open"):
        table.add_column(name, justify="right")
    numbers = (
        storm.fired,
        len(storm.lost),
        len(storm.twice),
        len(storm.early),
        storm.ahead,
        storm.stubborn_tried,
        storm.left,
    )
    table.add_row(*map(str, numbers))
    console.print(table)
    console.print(
        f"the backlog of {storm.backlog} drained at {storm.rate:.0f}/s; {len(storm.lateness)} that fell due after it were late by "
        f"{storm.late(0.5) * 1000:.0f} ms (p50), {storm.late(0.99) * 1000:.0f} ms (p99), {storm.late(1) * 1000:.0f} ms (most)",
        highlight=False,
    )
    for what in storm.wrong[:20]:
        console.print(f"  {what}", markup=False, highlight=False)


@click.command()
@click.option("--open", "open_", default=100_000, show_default=True, help="open timers; half fall due in the storm")
@click.option("--seed", default=7, show_default=True)
@click.option("--seconds", default=20.0, show_default=True, help="how long the storm lasts")
def main(open_: int, seed: int, seconds: float) -> None:
    console = Console(width=None if sys.stdout.isatty() else 160)
    said = [""]

    def progress(what: str) -> None:
        if what.partition(":")[0] != said[0].partition(":")[0]:
            said[0] = what
            console.print(what, markup=False, highlight=False)

    storm = asyncio.run(run(open_, seed, seconds, progress))
    show(console, storm)
    sys.exit(1 if storm.wrong else 0)


if __name__ == "__main__":
    main()

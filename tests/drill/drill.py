"""The drill itself: clients at work, victims one after the other, quiet, and the audit."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import orjson

from tests.drill import audit, journal, lives, report
from tests.drill.books import Books
from tests.drill.clients import Client, Switchboard, play
from tests.drill.journal import Journal
from tests.drill.site import Site
from tests.drill.victims import order, rounds_of
from tests.functional.story import OFFICERS

#: Clients that live at the same time.
CLIENTS = 16

ACCOUNTS = (
    *("dispatcher", "follow-up-clerk", "grid-worker"),
    *("dispatcher-2", "follow-up-clerk-2", "grid-worker-2"),
    *OFFICERS.values(),
)

#: Seconds that everything may take to come to rest.
REST = 300.0

#: Every limit is over after so many days.
OVER = timedelta(days=60)

#: (what is going on, accepted writes so far)
Progress = Callable[[str, int], None]


@dataclass(slots=True)
class Drill:
    """`folder`: where the journal and what the audit found are kept."""

    site: Site
    writes: int
    seed: int
    folder: Path
    progress: Progress

    async def run(self) -> tuple[journal.Pages, Books]:
        """Plays, strikes, waits for quiet, and reads the books."""
        told = Journal(self.folder / "journal.jsonl")
        switchboard = Switchboard(self.site)
        await asyncio.to_thread(self.site.sign_in, ACCOUNTS)
        clients = [Client(n, self.seed, self.site, switchboard, told, self.writes) for n in range(CLIENTS)]
        told.begin("nobody", "all is well")
        playing = asyncio.create_task(play(clients, lives.life))
        try:
            await self._strike(told, playing)
            told.allow(self.writes)
            while not playing.done():
                self.progress("the last writes", told.accepted)
                await asyncio.wait([playing], timeout=0.5)
            await playing
        finally:
            playing.cancel()
            await asyncio.gather(playing, return_exceptions=True)
            await switchboard.close()
            await told.close()
        self.progress("all limits run out", told.accepted)
        await quiet(
            self.site, lambda what: self.progress(what, told.accepted)
        )  # else what is still on its way would be judged by a clock that has run on
        self.site.travel(OVER)
        await quiet(self.site, lambda what: self.progress(what, told.accepted))
        self.progress("reading the books", told.accepted)
        return journal.read(told.path), await self.site.books()

    async def _strike(self, told: Journal, playing: asyncio.Task[None]) -> None:
        """One victim after the other, each when its share of the writes is accepted."""
        victims = self.site.victims()
        chosen = order(victims, self.seed, rounds_of(self.writes, len(victims)))
        chance = random.Random(f"clock {self.seed}")
        for number, victim in enumerate(chosen, 1):
            goal = self.writes * number // (len(chosen) + 1)
            told.allow(goal)
            while told.accepted < goal and not playing.done() and not told.faults:
                self.progress(f"{told.phase.victim}: {told.phase.what}", told.accepted)
                await asyncio.sleep(0.05)
            if playing.done() or told.faults:
                return
            told.begin(victim.name, victim.what)
            allowed = goal + self.writes // (len(chosen) + 1) // 2  # the other half comes when it is at work again
            told.allow(allowed)
            striking = asyncio.ensure_future(victim.strike())
            self.site.travel(timedelta(hours=chance.uniform(6, 30)))  # some limits run out while it is dead
            while not striking.done():
                self.progress(f"{victim.name}: {victim.what}", told.accepted)
                await asyncio.wait([striking], timeout=0.5)
                if told.accepted >= allowed:  # a few more: a moment in which to die may still have to come
                    allowed += 2
                    told.allow(allowed)
            await striking


async def quiet(site: Site, progress: Callable[[str], None]) -> None:
    """Waits until nothing is under way any more."""
    end = asyncio.get_running_loop().time() + REST
    calm = 0
    while calm < 3:  # what is in effect may have left something else to do
        waits = await site.waits()
        calm = 0 if waits else calm + 1
        if waits and asyncio.get_running_loop().time() > end:
            raise AssertionError(f"it does not come to rest: {waits}\n{site.said()}")
        first = next(iter(waits.items()), None)
        progress(f"waiting for quiet{f': {first[0]} {first[1]}' if first else ''}")
        await asyncio.sleep(0.2)


async def run(site: Site, writes: int, seed: int, folder: Path, progress: Progress) -> report.Outcome:
    """The whole drill on a platform that runs. What was found is written beside the journal."""
    pages, there = await Drill(site, writes, seed, folder, progress).run()
    found = audit.differences(pages, there)
    (folder / "differences.jsonl").write_bytes(
        b"".join(orjson.dumps({"kind": one.kind, "what": one.what}) + b"\n" for one in found)
    )
    return report.outcome(pages, found, there.repeats)

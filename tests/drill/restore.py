"""The drill of a restore: the database goes back to a backup that was taken while clients wrote. `python -m tests.drill.restore --writes 3000`.

Nothing that was accepted before the backup is gone; nothing that was asked after it is there; the report of the restore names exactly the writes that
are gone; the epoch has risen, and when the owners have said their state again, all books agree, also after more writes.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID

import click
import orjson
from rich.console import Console

from tests.drill import audit, journal, lives
from tests.drill.books import Books
from tests.drill.clients import Client, Switchboard, play
from tests.drill.drill import ACCOUNTS, CLIENTS, OVER, quiet
from tests.drill.journal import Journal, Pages
from tests.drill.site import Site
from tests.drill.sites import SITES

#: What the report must name: the aggregates whose every version is an event.
NAMED = {"hetao.cases.v1.CaseChanged": ("cases", "case_file"), "hetao.grid.v1.ReportChanged": ("grid", "report")}

Progress = Callable[[str, int], None]


@dataclass(slots=True)
class Restored:
    """`kept` and `gone`: accepted writes that are there and that are not; `named`: events that the report tells of; `after`: writes accepted since."""

    kept: int
    gone: int
    named: int
    after: int
    epoch: int
    wrong: list[str]


@dataclass
class RestoreDrill:
    """`before`, `restored`: the books at rest before and after; `gone`: lines of the restore's report."""

    site: Site
    writes: int
    seed: int
    folder: Path
    progress: Progress

    async def run(self) -> Restored:
        backup, report = self.folder / "backup", self.folder / "gone.jsonl"
        await asyncio.to_thread(self.site.sign_in, ACCOUNTS)
        began, ended, pages = await self._first(backup)
        before = self.before = await self.site.books()
        self.progress("restoring", len(pages.accepted))
        await self.site.stop()
        await self.site.command("restore", str(backup), "--force", "--report", str(report))
        await self.site.start()
        gone = self.gone = [orjson.loads(line) for line in report.read_bytes().splitlines()]
        without = {UUID(one["event_id"]) for one in gone}
        self.progress("the owners say their state again", len(pages.accepted))
        await self.site.command("rebuild")
        await self._quiet(len(pages.accepted))
        restored = self.restored = await self.site.books(without)
        kept = _kept(pages, restored)
        wrong = _judged(pages, kept, began, ended) + named(before, restored, gone)
        for service, epoch in restored.epochs.items():
            if epoch <= before.epochs[service]:
                wrong.append(f"the epoch of {service} is {epoch}, it was {before.epochs[service]}")
        wrong += [one.what for one in audit.differences(kept, restored)]
        later = await self._then(kept)
        whole = replace(kept, accepted=[*kept.accepted, *later.accepted], faults=later.faults, unknown=later.unknown)
        wrong += [one.what for one in audit.differences(whole, await self.site.books(without))]
        lost = len(pages.accepted) - len(kept.accepted)
        return Restored(len(kept.accepted), lost, len(gone), len(later.accepted), restored.epochs["cases"], wrong)

    async def _first(self, backup: Path) -> tuple[float, float, Pages]:
        """Clients write; in the middle a backup is taken. When that began and ended, and what was accepted."""
        told, clients, playing = self._clients("journal", self.writes, 0)
        told.allow(self.writes * 2 // 5)
        began = ended = 0.0
        try:
            while told.accepted < self.writes * 2 // 5:
                self.progress("before the backup", told.accepted)
                await asyncio.wait([playing], timeout=0.1)
            told.begin("the backup", "taken while clients write")
            began = told.now()
            taking = asyncio.create_task(self.site.command("backup", str(backup)))
            told.allow(self.writes * 9 // 10)
            await taking
            ended = told.now()
            told.begin("after the backup", "")
            told.allow(self.writes)
            await self._played(told, clients, playing, "after the backup")
        finally:
            await _over(told, clients, playing)
        await self._quiet(told.accepted)
        return began, ended, journal.read(told.path)

    async def _then(self, kept: Pages) -> Pages:
        """Life goes on, and all limits run out."""
        told, clients, playing = self._clients("journal-after", self.writes // 5, 1)
        try:
            told.allow(self.writes)
            await self._played(told, clients, playing, "after the restore")
        finally:
            await _over(told, clients, playing)
        await self._quiet(told.accepted)
        self.site.travel(OVER)
        await self._quiet(told.accepted)
        return journal.read(told.path)

    def _clients(self, name: str, goal: int, turn: int) -> tuple[Journal, Switchboard, asyncio.Task[None]]:
        told, switchboard = Journal(self.folder / f"{name}.jsonl"), Switchboard(self.site)
        told.begin("nobody", name)
        clients = [Client(n, self.seed * 10 + turn, self.site, switchboard, told, goal) for n in range(CLIENTS)]
        return told, switchboard, asyncio.create_task(play(clients, lives.life))

    async def _played(self, told: Journal, _: Switchboard, playing: asyncio.Task[None], what: str) -> None:
        while not playing.done():
            self.progress(what, told.accepted)
            await asyncio.wait([playing], timeout=0.5)
        await playing

    async def _quiet(self, accepted: int) -> None:
        await quiet(self.site, lambda what: self.progress(what, accepted))


async def _over(told: Journal, switchboard: Switchboard, playing: asyncio.Task[None]) -> None:
    playing.cancel()
    await asyncio.gather(playing, return_exceptions=True)
    await switchboard.close()
    await told.close()


def _kept(pages: Pages, restored: Books) -> Pages:
    """What of the journal is there: the answers that are stored."""
    answers = set(restored.replies)
    there = [write for write in pages.accepted if (write.account, write.rpc, write.id) in answers]
    return replace(pages, accepted=there, unknown=[])


def _judged(pages: Pages, kept: Pages, began: float, ended: float) -> list[str]:
    """What was accepted before the backup began is there, what was asked after it had ended is not; in between it may be either."""
    there = {write.id for write in kept.accepted}
    wrong = [
        f"{write.rpc} {write.id} was accepted before the backup and is gone"
        for write in pages.accepted
        if write.at < began and write.id not in there
    ]
    wrong += [
        f"{write.rpc} {write.id} was asked after the backup and is there"
        for write in kept.accepted
        if write.asked > ended
    ]
    return wrong


def named(before: Books, restored: Books, gone: list[dict[str, object]]) -> list[str]:
    """The report names each version that is gone, once, and no other."""
    wrong = []
    for kind, (service, table) in NAMED.items():
        was = {(one.row_id, one.version) for one in before.stored[service] if one.row == table}
        is_ = {(one.row_id, one.version) for one in restored.stored[service] if one.row == table}
        # What happened again after the restore, by itself, has the same numbers and is another change.
        undone = {(one.key, one.message.version) for one in before.said if one.type == kind} - {
            (one.key, one.message.version) for one in restored.said if one.type == kind
        }
        told = [(one["key"], one["version"]) for one in gone if one["type"] == kind]
        wrong += [f"the report does not name version {version} of {key}" for key, version in undone - set(told)]
        wrong += [
            f"the report names version {version} of {key} twice"
            for key, version in set(told)
            if told.count((key, version)) > 1
        ]
        wrong += [f"the report names version {version} of {key}, which never was" for key, version in set(told) - was]
        wrong += [f"version {version} of {key} is gone, and not named" for key, version in was - is_ - set(told)]
    return wrong


def show(console: Console, done: Restored) -> None:
    console.print(
        f"{done.kept} accepted writes are there, {done.gone} were after the backup and are gone; the report names {done.named} events of them; "
        f"epoch {done.epoch}; {done.after} writes since",
        highlight=False,
    )
    for what in done.wrong[:20]:
        console.print(f"  {what}", markup=False, highlight=False)
    console.print(f"{len(done.wrong)} differences", highlight=False)


@click.command()
@click.option("--writes", default=3000, show_default=True, help="accepted writes before the restore")
@click.option("--seed", default=7, show_default=True)
@click.option("--mode", default="split", show_default=True, type=click.Choice(list(SITES)))
def main(writes: int, seed: int, mode: str) -> None:
    console = Console(width=None if sys.stdout.isatty() else 160)
    folder = Path(tempfile.mkdtemp(prefix="hetao-drill-", dir="/tmp"))
    said = [""]

    def progress(what: str, accepted: int) -> None:
        if what.partition(":")[0] != said[0]:
            said[0] = what.partition(":")[0]
            console.print(f"{accepted:>8}  {what}", markup=False, highlight=False)

    with SITES[mode]() as site:
        done = asyncio.run(RestoreDrill(site, writes, seed, folder, progress).run())
    show(console, done)
    console.print(f"seed {seed}, mode {mode}; journals, backup and report: {folder}", markup=False, highlight=False)
    sys.exit(1 if done.wrong else 0)


if __name__ == "__main__":
    main()

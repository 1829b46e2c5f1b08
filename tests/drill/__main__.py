"""`python -m tests.drill --writes 100000 --seed 7 [--mode all]` (`make drill`). Exits with 1 on any difference."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from tests.drill import drill, report
from tests.drill.sites import SITES

#: Seconds between two lines of progress where there is no terminal.
PLAIN = 15.0


class Told:
    """Progress for people: a bar on a terminal, a line now and then elsewhere."""

    def __init__(self, console: Console, writes: int):
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        self._console, self._writes = console, writes
        self._bar = Progress(*columns, console=console, transient=True) if console.is_terminal else None
        self._task = self._bar.add_task("", total=writes) if self._bar else None
        self._last, self._said = "", 0.0

    def __call__(self, what: str, accepted: int) -> None:
        if self._bar and self._task is not None:
            self._bar.start()
            self._bar.update(self._task, description=what, completed=accepted)
        elif what.partition(" ")[0] != self._last or time.monotonic() > self._said + PLAIN:
            self._last, self._said = what.partition(" ")[0], time.monotonic()
            self._console.print(f"{accepted:>8} / {self._writes}  {what}", markup=False, highlight=False)

    def end(self) -> None:
        if self._bar:
            self._bar.stop()


@click.command()
@click.option("--writes", default=3000, show_default=True, help="accepted writes")
@click.option("--seed", default=7, show_default=True, help="gives the order of the victims and what clients do")
@click.option("--mode", default="split", show_default=True, type=click.Choice(list(SITES)))
@click.option(
    "--keep",
    type=click.Path(path_type=Path),
    help="folder for the journal and what was found; a temporary one if unset",
)
def main(writes: int, seed: int, mode: str, keep: Path | None) -> None:
    console = Console(width=None if sys.stdout.isatty() else 160)
    folder = keep or Path(tempfile.mkdtemp(prefix="hetao-drill-", dir="/tmp"))
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "journal.jsonl").exists():
        raise click.ClickException(f"{folder} holds the journal of another drill")
    told = Told(console, writes)
    try:
        told("starting the platform", 0)
        with SITES[mode]() as running:
            result = asyncio.run(drill.run(running, writes, seed, folder, told))
    finally:
        told.end()
    report.show(console, result)
    console.print(f"seed {seed}, mode {mode}; journal and differences: {folder}", markup=False, highlight=False)
    sys.exit(0 if result.sound else 1)


if __name__ == "__main__":
    main()

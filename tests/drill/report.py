"""What a drill came to, as a table: a row for each victim and the total."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

from tests.drill.audit import DOUBLED, LOST, ORDER, Difference
from tests.drill.journal import Pages

#: So many differences are shown; all are in the file beside the journal.
SHOWN = 20


@dataclass(slots=True)
class Row:
    """`unknown`: attempts without an answer; `gap`: the longest, in seconds, that a client was without service: from asking to the answer."""

    victim: str
    what: str
    strikes: int = 0
    accepted: int = 0
    unknown: int = 0
    gap: float = 0.0
    found: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Outcome:
    """`never`: requests that were never answered; `repeats`: of the log, which were removed before books were compared."""

    rows: list[Row]
    differences: Sequence[Difference]
    never: Sequence[str]
    repeats: int
    seconds: float

    @property
    def sound(self) -> bool:
        return not self.differences

    @property
    def accepted(self) -> int:
        return sum(row.accepted for row in self.rows)


def outcome(pages: Pages, differences: Sequence[Difference], repeats: int) -> Outcome:
    rows: dict[tuple[str, str], Row] = {}
    of_phase: dict[int, Row] = {}
    for phase in pages.phases:
        row = rows.setdefault((phase.victim, phase.what), Row(phase.victim, phase.what))
        row.strikes += 1
        of_phase[phase.number] = row
    for write in pages.accepted:
        row = of_phase[write.phase]
        row.accepted, row.gap = row.accepted + 1, max(row.gap, write.at - write.asked)
    for attempt in pages.attempts:
        of_phase[attempt["phase"]].unknown += 1
    nowhere = Row("—", "not to be told whose")
    phases = _phases(pages)
    for one in differences:
        number = phases.get((one.root_id, one.version), phases.get((one.root_id, 0)))
        (nowhere if number is None else of_phase[number]).found[one.kind] += 1
    found = [*rows.values(), *([nowhere] if nowhere.found else [])]
    never = [f"{line['id']} {line['rpc']} by {line['account']}" for line in pages.unknown]
    return Outcome(found, differences, never, repeats, max([write.at for write in pages.accepted], default=0.0))


def _phases(pages: Pages) -> dict[tuple[str, int], int]:
    """(aggregate, version) → the phase in which it was accepted; version 0: the last one of the aggregate."""
    found: dict[tuple[str, int], int] = {}
    steps: dict[str, int] = defaultdict(int)
    for write in sorted(pages.accepted, key=lambda one: one.at):
        steps[write.root_id] += 1
        found[write.root_id, steps[write.root_id]] = write.phase
        found[write.row_id, write.version] = found[write.root_id, 0] = write.phase
    return found


def show(console: Console, result: Outcome) -> None:
    table = Table(title=f"{result.accepted} accepted writes in {result.seconds:.0f} s", title_justify="left")
    for name in ("victim", "what was done", "×"):
        table.add_column(name, justify="right" if name == "×" else "left")
    for name in ("accepted", "unknown attempts", "lost", "doubled", "out of order per key", "other", "longest gap s"):
        table.add_column(name, justify="right")
    for row in result.rows:
        table.add_row(row.victim, row.what, str(row.strikes), *_numbers([row]))
    table.add_section()
    table.add_row("total", "", str(sum(row.strikes for row in result.rows)), *_numbers(result.rows))
    console.print(table)
    console.print(
        "Unknown attempts were repeated under their request id until they were answered; "
        f"{len(result.never)} requests never were. {result.repeats} repeats in the log were removed before books were compared.",
        highlight=False,
    )
    for line in result.never[:SHOWN]:
        console.print(f"  unknown to the end: {line}", markup=False, highlight=False)
    for one in result.differences[:SHOWN]:
        console.print(f"  {one.kind}: {one.what}", markup=False, highlight=False)
    if len(result.differences) > SHOWN:
        console.print(f"  … and {len(result.differences) - SHOWN} more", highlight=False)


def _numbers(rows: Iterable[Row]) -> list[str]:
    rows = list(rows)
    found: Counter[str] = sum((row.found for row in rows), Counter())
    kinds = [found[LOST], found[DOUBLED], found[ORDER], found.total() - found[LOST] - found[DOUBLED] - found[ORDER]]
    counts = [sum(row.accepted for row in rows), sum(row.unknown for row in rows), *kinds]
    return [*map(str, counts), f"{max((row.gap for row in rows), default=0.0):.1f}"]

"""Writes that wait, to go to the database as one statement: a round trip and the start of an executor are most of what a small write costs.

A unit of work gathers its rows and changes here and sends them together at its next read or at its end. They see the same snapshot and run in
no order that anybody may rely on; the rows of one table keep theirs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

#: More rows of one table than this are sent row by row, in one round trip still: a statement for every number of rows has its limits.
MOST_ROWS = 16

_PLACE = re.compile(r"\$(\d+)")

Rows = Sequence[Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Insert:
    """New rows of a table. `columns` separated by commas; `more`: what follows the values, such as `on conflict do nothing`."""

    table: str
    columns: str
    more: str = ""

    @property
    def width(self) -> int:
        return self.columns.count(",") + 1

    def statement(self, rows: int = 1, first: int = 1) -> str:
        """For so many rows, whose parameters begin at $first."""
        width = self.width
        places = (range(first + n * width, first + (n + 1) * width) for n in range(rows))
        values = ", ".join(f"({', '.join(f'${place}' for place in row)})" for row in places)
        return f"insert into {self.table} ({self.columns}) values {values} {self.more}"


@dataclass(slots=True)
class Gathered:
    """`rows` by their insert; `changes`: updates and deletes of one row each, those first that must find theirs; `newest`: by statement, the
    newest version of the row for each key."""

    rows: dict[Insert, list[Sequence[Any]]] = field(default_factory=dict)
    changes: list[tuple[str, Sequence[Any]]] = field(default_factory=list)
    required: int = 0
    newest: dict[str, dict[Any, tuple[tuple[int, ...], Sequence[Any]]]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.rows or self.changes or self.newest)

    def insert(self, into: Insert, rows: Rows) -> None:
        self.rows.setdefault(into, []).extend(rows)

    def change(self, sql: str, args: Sequence[Any], *, required: bool) -> None:
        self.changes.insert(self.required if required else len(self.changes), (sql, args))
        self.required += required

    def keep_newest(self, sql: str, key: Any, version: tuple[int, ...], row: Sequence[Any]) -> None:
        kept = self.newest.setdefault(sql, {})
        if key not in kept or kept[key][0] < version:
            kept[key] = version, row

    def take_bulk(self) -> list[tuple[str, Rows]]:
        """The rows, where they are too many for one statement, as (statement for one, rows): all, since rows may refer to rows before them."""
        if all(len(rows) <= MOST_ROWS for rows in self.rows.values()):
            return []
        bulk: list[tuple[str, Rows]] = [(into.statement(), rows) for into, rows in self.rows.items()]
        self.rows = {}
        return bulk

    def projections(self) -> Iterator[tuple[str, list[list[Any]]]]:
        """The statements that keep what is newest, each with an array for each column."""
        for sql, kept in self.newest.items():
            rows = [row for _, (_, row) in sorted(kept.items())]
            yield sql, [list(column) for column in zip(*rows, strict=True)]

    def statement(self) -> tuple[str, list[Any]]:
        """All rows and changes in one, with its arguments; ("", []) for nothing.

        Where a required change does not find its row it fails, by a division by zero, and writes nothing: it may be a transaction by itself.
        """
        if not (self.rows or self.changes):
            return "", []
        shape = tuple((into, len(rows)) for into, rows in self.rows.items())
        args = [value for rows in self.rows.values() for row in rows for value in row]
        for _, more in self.changes:
            args += more
        return _together(shape, tuple(sql for sql, _ in self.changes), self.required), args


@lru_cache(maxsize=1024)
def _together(inserts: tuple[tuple[Insert, int], ...], changes: tuple[str, ...], required: int) -> str:
    parts = ", ".join(f"w{n} as ({part})" for n, part in enumerate(_parts(inserts, changes, required)))
    found = " + ".join(f"(select count(*) from w{len(inserts) + n})" for n in range(required))
    return f"with {parts} select 1" + (f" / (({found}) = {required})::int" if required else "")


def _parts(inserts: tuple[tuple[Insert, int], ...], changes: tuple[str, ...], required: int) -> Iterator[str]:
    first = 1
    for into, rows in inserts:
        yield into.statement(rows, first)
        first += rows * into.width
    for n, sql in enumerate(changes):
        yield _moved(sql, first - 1) + (" returning 1" if n < required else "")
        first += max(int(place) for place in _PLACE.findall(sql))


def _moved(sql: str, by: int) -> str:
    """The statement with its parameters' places moved."""
    return _PLACE.sub(lambda place: f"${int(place[1]) + by}", sql)

"""Rows that have an id and a version: aggregates and their parts.

The one place that locks a root for a change, raises versions, tells the audit and hides rows from callers whom they do not concern. Everything
else about SQL stands in the stores, as SQL.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any, ClassVar, Generic, Protocol, TypeVar
from uuid import UUID

import asyncpg

from kit.errors import Aborted, NotFound
from kit.unit import Unit


class Row(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def id(self) -> UUID: ...

    @property
    def version(self) -> int: ...


R = TypeVar("R", bound=Row)


class Table(Generic[R]):
    """A table whose columns are the fields of a frozen dataclass, in their order.

    `visible(unit, row)`: whether the caller may know that the row exists. By default its division decides, where it has one.
    """

    def __init__(self, name: str, of: type[R], *, visible: Callable[[Unit, R], bool] | None = None):
        names = [f.name for f in fields(of)]
        self.name, self._of = name, of
        self.columns = ", ".join(names)
        self._visible = visible or (_by_division if "division" in names else _always)
        places = ", ".join(f"${n}" for n in range(1, len(names) + 1))
        changes = ", ".join(f"{column} = ${n}" for n, column in enumerate(names, 1) if column != "id")
        self._names = names
        self._insert = f"insert into {name} ({self.columns}) values ({places})"
        self._update = (
            f"update {name} set {changes} where id = ${names.index('id') + 1} and version = ${len(names) + 1}"
        )

    def load(self, unit: Unit, row: asyncpg.Record) -> R:
        """A row read by a statement that lists `columns`."""
        loaded = self._of(*row)
        if unit.writes:
            unit.remember(self.name, loaded)
        return loaded

    async def find(self, unit: Unit, where: str, *args: Any) -> R | None:
        """The one visible row, or None. Locked until the commit when the unit writes."""
        row = await unit.fetchrow(f"select {self.columns} from {self.name} where {where} {unit.lock}", *args)
        if row is None:
            return None
        loaded = self.load(unit, row)
        return loaded if self._visible(unit, loaded) else None

    async def get(self, unit: Unit, row_id: UUID) -> R:
        """The visible row; NotFound says the same of a row that is not there and of one that the caller must not know of."""
        found = await self.find(unit, "id = $1", row_id)
        if found is None:
            raise NotFound("NOT_FOUND", resource=self.name)
        return found

    async def list(self, unit: Unit, where: str, *args: Any) -> list[R]:
        """Rows by a condition that may go on with `order by` and `limit`. Not locked: parts are safe under their root's lock.

        The condition must keep to what the caller may see; nothing is filtered afterwards, or pages would come out short.
        """
        return [
            self.load(unit, row)
            for row in await unit.fetch(f"select {self.columns} from {self.name} where {where}", *args)
        ]

    async def add(self, unit: Unit, row: R) -> R:
        await self.add_all(unit, [row])
        return row

    async def add_all(self, unit: Unit, rows: Sequence[R]) -> None:
        """New rows, each at the version it carries (1), in one round trip."""
        if len(rows) == 1:
            await unit.execute(self._insert, *self._values(rows[0]))
        else:
            await unit.executemany(self._insert, [self._values(row) for row in rows])
        for row in rows:
            unit.changed(self.name, None, row)

    async def save(self, unit: Unit, row: R) -> R:
        """The row with its version raised. Aborted if it is no longer the version that was read."""
        before = unit.loaded(self.name, row.id)
        saved = replace(row, version=row.version + 1)
        if await unit.execute(self._update, *self._values(saved), row.version) != "UPDATE 1":
            raise Aborted("ETAG_STALE", present="")
        unit.changed(self.name, before, saved)
        return saved

    def _values(self, row: R) -> tuple[Any, ...]:
        return tuple(getattr(row, name) for name in self._names)


def _by_division(unit: Unit, row: Any) -> bool:
    return unit.principal.covers(row.division)


def _always(unit: Unit, row: Any) -> bool:
    return True

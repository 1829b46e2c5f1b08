"""Rows that have an id and a version: aggregates and their parts.

The one place that locks a root for a change, raises versions, tells the audit and hides rows from callers whom they do not concern. Everything
else about SQL stands in the stores, as SQL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Any, ClassVar, Generic, Protocol, TypeVar
from uuid import UUID

from kit.errors import NotFound
from kit.gathered import Insert
from kit.rows import altered
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
        self._names = names
        self._values: Callable[[R], tuple[Any, ...]] = attrgetter(*names)
        self._insert = Insert(name, self.columns)
        self._updates: dict[tuple[str, ...], str] = {}

    def load(self, unit: Unit, row: Iterable[Any]) -> R:
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
            for row in await unit.peek(f"select {self.columns} from {self.name} where {where}", *args)
        ]

    def remembered(self, unit: Unit) -> Sequence[R]:
        """The rows that a writing unit has read or written so far, as they are now."""
        return unit.all_loaded(self.name)

    async def add(self, unit: Unit, row: R) -> R:
        await self.add_all(unit, [row])
        return row

    async def add_all(self, unit: Unit, rows: Sequence[R]) -> None:
        """New rows, each at the version it carries (1). They are written with whatever else the unit writes."""
        for row in rows:
            await unit.touch(self.name, row.id)
            unit.insert(self._insert, self._values(row))
            unit.changed(self.name, None, row)

    async def save(self, unit: Unit, row: R) -> R:
        """The row with its version raised; written with whatever else the unit writes, which is Aborted if it is no longer the version that
        was read."""
        await unit.touch(self.name, row.id)
        before = unit.loaded(self.name, row.id)
        saved = altered(row, version=row.version + 1)
        columns, values = self._differing(before, saved)
        unit.change(self._update(columns), *values, row.id, row.version, required=True)
        unit.changed(self.name, before, saved)
        return saved

    async def save_all(self, unit: Unit, rows: Sequence[R]) -> Sequence[R]:
        return [await self.save(unit, row) for row in rows]

    def _differing(self, before: R | None, after: R) -> tuple[tuple[str, ...], tuple[Any, ...]]:
        """The columns that a change writes, all where it is not known what was."""
        columns, values = [], []
        for name in self._names:
            value = getattr(after, name)
            if name != "id" and (before is None or value != getattr(before, name)):
                columns.append(name)
                values.append(value)
        return tuple(columns), tuple(values)

    def _update(self, columns: tuple[str, ...]) -> str:
        sql = self._updates.get(columns)
        if sql is None:
            changes = ", ".join(f"{column} = ${n}" for n, column in enumerate(columns, 1))
            places = len(columns) + 1, len(columns) + 2
            sql = self._updates[columns] = (
                f"update {self.name} set {changes} where id = ${places[0]} and version = ${places[1]}"
            )
        return sql


def _by_division(unit: Unit, row: Any) -> bool:
    return unit.principal.covers(row.division)


def _always(unit: Unit, row: Any) -> bool:
    return True

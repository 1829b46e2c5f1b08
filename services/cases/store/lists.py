"""Pages of cases and of tasks: what a caller may list, narrowed and ordered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from kit.unit import Unit
from services.cases import model
from services.cases.model import CaseFile, Task
from services.cases.store.cases import CASES, OPEN_TASKS, TASKS, states_sql


@dataclass(frozen=True, slots=True)
class Scope:
    """What a list of cases keeps to: a column and its values, then a division and centres that narrow it where they are given.

    `column`: one of the table, or "city" with a prefix, or "department" with ids. Only centres and departments may be several.
    """

    column: str
    values: Sequence[str]
    division: str = ""
    centres: Sequence[str] = ()


#: Whose limit runs, as the partial indexes say it.
LIMITED = "state not in ('not_accepted', 'transferred', 'closed', 'follow_up')"

#: Rows that a total looks at. There may be more; then it says so.
COUNTED = 10_000


@dataclass(frozen=True, slots=True)
class Filters:
    """What a list of cases is narrowed to.

    `state`, `kind` and `risk` are names of the model, never text of a caller: a literal state lets the partial indexes of open cases serve.
    `first` and `last`: ids of the bounds of registration, which ids follow; `department`: id of one that was given a task.
    """

    state: str = ""
    kind: str = ""
    risk: str = ""
    category: str = ""
    department: str = ""
    overdue: bool = False
    first: UUID | None = None
    last: UUID | None = None

    def sql(self, arg: Callable[[Any], str]) -> str:
        """Conditions, each with its `and`; `arg` takes a value and tells its parameter."""
        parts = [f"{name} = '{value}'" for name, value in (("kind", self.kind), ("risk", self.risk)) if value]
        if self.state:
            parts.append(f"state = '{self.state}'")
        if self.category:
            parts.append(f"category = {arg(self.category)}")
        if self.department:
            parts.append(f"departments @> array[{arg(self.department)}::text]")
        if self.overdue:
            parts.append("overdue_since is not null")
        if self.first is not None:
            parts.append(f"id >= {arg(self.first)}")
        if self.last is not None:
            parts.append(f"id < {arg(self.last)}")
        return "".join(f" and {part}" for part in parts)


class _Arguments(list[Any]):
    def __call__(self, value: Any) -> str:
        self.append(value)
        return f"${len(self)}"


async def page_of_cases(unit: Unit, scope: Scope, filters: Filters, before: UUID, limit: int) -> list[CaseFile]:
    """Cases of one scope, the newest first."""
    arg = _Arguments()
    value, shown = arg(_value(scope)), arg(before)
    most = arg(limit)
    narrowed = _narrowed(scope, arg) + filters.sql(arg)
    match scope.column:
        case "department":
            given = f"department = any({value}) and case_id < {shown} and state not in {states_sql(model.OVER)}"
            tasks = f"select case_id from task where {given}"
            where = f"id in ({tasks}) and id < {shown}{narrowed}"
        case "centre" if len(scope.values) > 1:  # a page of each, so that the index gives every one in its order
            each = f"select id from case_file where centre = c.centre and id < {shown}{narrowed} order by id desc limit {most}"
            where = f"id in (select p.id from unnest({value}::text[]) as c (centre) cross join lateral ({each}) as p)"
        case _:
            where = f"{_within(scope, value)} and id < {shown}{narrowed}"
    return await CASES.list(unit, f"{where} order by id desc limit {most}", *arg)


async def page_by_limit(
    unit: Unit, scope: Scope, filters: Filters, after: tuple[datetime, UUID], limit: int
) -> list[CaseFile]:
    """Cases of one scope whose limit runs, the nearest limit first."""
    arg = _Arguments()
    value = arg(_value(scope))
    shown, most = f"({arg(after[0])}, {arg(after[1])})", arg(limit)
    narrowed = f" and {LIMITED} and (due_at, id) > {shown}{_narrowed(scope, arg)}{filters.sql(arg)}"
    order = f"order by due_at, id limit {most}"
    match scope.column:
        case "city":
            each = f"select id from case_file where county = c.division{narrowed} {order}"
            counties = (
                f"centre as c cross join lateral ({each}) as p where c.level = 'county' and c.division >= {value}"
            )
            where = f"id in (select p.id from {counties} and c.division < {value} || 'x')"
        case "centre" if len(scope.values) > 1:
            each = f"select id from case_file where centre = c.centre{narrowed} {order}"
            where = f"id in (select p.id from unnest({value}::text[]) as c (centre) cross join lateral ({each}) as p)"
        case "department":
            where = f"id in (select case_id from task where department = any({value}) and {OPEN_TASKS}){narrowed}"
        case _:
            where = f"{_within(scope, value)}{narrowed}"
    return await CASES.list(unit, f"{where} {order}", *arg)


async def count_of_cases(unit: Unit, scope: Scope, filters: Filters) -> tuple[int, bool]:
    """How many there are of one scope, and whether that is all: no more than COUNTED of the scope are looked at."""
    arg = _Arguments()
    value = arg(_value(scope))
    within = (
        f"id in (select case_id from task where department = any({value}) and state not in {states_sql(model.OVER)})"
        if scope.column == "department"
        else _within(scope, value)
    )
    narrowed = _narrowed(scope, arg)
    state = f" and state = '{filters.state}'" if filters.state else ""
    matching = filters.sql(arg).removeprefix(" and ") or "true"
    rows = await unit.peek(
        f"select count(*) filter (where {matching}), count(*) "
        f"from (select * from case_file where {within}{narrowed}{state} limit {COUNTED + 1}) as looked_at",
        *arg,
    )
    matching_count, looked_at = rows[0]
    return matching_count, looked_at <= COUNTED


def _value(scope: Scope) -> Any:
    several = scope.column in ("centre", "department") and (scope.column == "department" or len(scope.values) > 1)
    return list(scope.values) if several else scope.values[0]


def _narrowed(scope: Scope, arg: Callable[[Any], str]) -> str:
    """The scope's own division and centres."""
    narrowed = ""
    if scope.division:
        division = arg(scope.division)
        narrowed += f" and division >= {division} and division < {division} || 'x'"
    if scope.centres:
        narrowed += f" and centre = any({arg(list(scope.centres))})"
    return narrowed


def _within(scope: Scope, value: str) -> str:
    """The scope as a condition on the case itself; not of departments."""
    match scope.column:
        case "city":
            # Only the city's leaders come here: nearly every row is theirs, and the order by id is what pages.
            return f"county >= {value} and county < {value} || 'x'"
        case "community":
            return f"township = left({value}, 9) and community = {value}"
        case "centre" if len(scope.values) > 1:
            return f"centre = any({value}::text[])"
        case column:
            return f"{column} = {value}"


async def page_of_tasks(
    unit: Unit, department: str, state: str, after: tuple[datetime, UUID], limit: int
) -> list[Task]:
    """A department's tasks, the nearest limit first; all that are open when `state` is empty."""
    narrowed = OPEN_TASKS + (f" and state = '{state}'" if state else "")
    if state in (model.RESULT_SUBMITTED, model.ACCEPTED, *model.OVER):
        narrowed = f"state = '{state}'"
    where = f"department = $1 and {narrowed} and (due_at, id) > ($2, $3) order by due_at, id limit $4"
    return await TASKS.list(unit, where, department, *after, limit)

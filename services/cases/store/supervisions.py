"""The statements about supervision orders, and who may see which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from kit.identity import Principal
from kit.table import Table
from kit.unit import Unit
from services.cases.model import ISSUED, REPLIED, Supervision


def visible(principal: Principal, order: Supervision) -> bool:
    """The centre of the case, the department that it is addressed to, who is above them by division, and who issued it."""
    if principal.system:
        return True
    if not principal.covers(order.division):
        return False
    return (
        (order.centre in principal.departments and principal.may("cases.scope.centre"))
        or (order.department in principal.departments and principal.may("cases.scope.department"))
        or principal.may("cases.scope.division")
    )


SUPERVISIONS = Table("supervision", Supervision, visible=lambda unit, order: visible(unit.principal, order))


async def case_id_of(unit: Unit, supervision_id: UUID) -> UUID | None:
    """Read first without a lock: the case is locked before its orders."""
    found: UUID | None = await unit.fetchval("select case_id from supervision where id = $1", supervision_id)
    return found


async def next_number(unit: Unit, centre: str, year: int) -> int:
    """Counted without gaps: whoever takes the next one waits until this unit has ended."""
    number: int = await unit.fetchval(
        "insert into supervision_number as n (centre, year, last) values ($1, $2, 1) "
        "on conflict (centre, year) do update set last = n.last + 1 returning last",
        centre,
        year,
    )
    return number


async def is_open(unit: Unit, case_id: UUID, department: str) -> bool:
    """Whether a department stands under an order in this case."""
    found: bool = await unit.fetchval(
        f"select exists (select from supervision where case_id = $1 and department = $2 and state in ('{ISSUED}', '{REPLIED}'))",
        case_id,
        department,
    )
    return found


async def page(
    unit: Unit,
    principal: Principal,
    centre: str,
    department: str,
    state: str,
    case_id: UUID | None,
    before: UUID,
    limit: int,
) -> list[Supervision]:
    """Orders that the caller may see, the newest first. `state` is a name of the model."""
    args: list[Any] = [before, limit]

    def arg(value: Any) -> str:
        args.append(value)
        return f"${len(args)}"

    where = ["id < $1", _scope(principal, arg)]
    if centre:
        where.append(f"centre = {arg(centre)}")
    if department:
        where.append(f"department = {arg(department)}")
    if case_id:
        where.append(f"case_id = {arg(case_id)}")
    if state:
        where.append(f"state = '{state}'")
    return await SUPERVISIONS.list(unit, f"{' and '.join(where)} order by id desc limit $2", *args)


def _scope(principal: Principal, arg: Any) -> str:
    """What `visible` says, as a condition."""
    if principal.system:
        return "true"
    parts = []
    if not principal.may("cases.scope.division"):
        columns = {"cases.scope.centre": "centre", "cases.scope.department": "department"}
        own = [column for scope, column in columns.items() if principal.may(scope)]
        if not own:
            return "false"
        mine = arg(list(principal.departments))
        parts = [f"({' or '.join(f'{column} = any({mine})' for column in own)})"]
    within = [_within(code, arg) for code in principal.divisions]
    return " and ".join([*parts, f"({' or '.join(within)})" if within else "false"])


def _within(code: str, arg: Any) -> str:
    """What lies in a division; the county, where it is named, is what the index begins with."""
    county = f"county = {arg(code[:6])} and " if len(code) >= 6 else ""
    return f"({county}division >= {arg(code)} and division < {arg(code + 'x')})"


async def restricted(unit: Unit, case_ids: Sequence[UUID]) -> set[UUID]:
    """Those of the cases that are for participants alone."""
    rows = await unit.fetch("select id from case_file where id = any($1) and restricted", list(case_ids))
    return {row["id"] for row in rows}


async def after(unit: Unit, last: UUID, limit: int) -> list[Supervision]:
    """For snapshots: every order once, by id."""
    return await SUPERVISIONS.list(unit, "id > $1 order by id limit $2", last, limit)

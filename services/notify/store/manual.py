"""Of what clerks do: work items and their tries."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from kit.table import Table
from kit.unit import Unit
from services.notify.model import ManualDelivery, ManualTry


def _at_the_centre(unit: Unit, row: ManualDelivery) -> bool:
    return unit.principal.system or str(row.centre) in unit.principal.departments


MANUAL = Table("manual_delivery", ManualDelivery, visible=_at_the_centre)
TRIES = Table("manual_try", ManualTry)


async def list_manual(
    unit: Unit, centres: Sequence[UUID], state: str, case_id: UUID | None, after: tuple[datetime, UUID], limit: int
) -> list[ManualDelivery]:
    """Of these centres, the nearest due first. `state` "": still to be done."""
    only = "m.state = $5" if state else "m.state in ('waiting', 'taken') and $5 = ''"
    of_case = "and m.case_id = $6" if case_id else "and $6::uuid is null"
    columns = ", ".join(f"m.{name}" for name in MANUAL.columns.split(", "))
    # Each centre's rows come from its index in order, so no more than a page of each is read.
    return [
        MANUAL.load(unit, row)
        for row in await unit.peek(
            f"select {columns} from unnest($1::uuid[]) c cross join lateral ("
            f"select {columns} from manual_delivery m where m.centre = c and {only} {of_case} and (m.due_at, m.id) > ($2, $3) "
            "order by m.due_at, m.id limit $4) m order by m.due_at, m.id limit $4",
            list(centres),
            *after,
            limit,
            state,
            case_id,
        )
    ]


async def tries(unit: Unit, delivery_id: UUID) -> list[ManualTry]:
    """The oldest first."""
    return await TRIES.list(unit, "delivery_id = $1 order by number", delivery_id)


async def count_open(unit: Unit, most: int) -> tuple[int, int]:
    """(still to be done, of these late), counted no further than `most`."""
    row = await unit.fetchrow(
        "select count(*), count(*) filter (where due_at < $1) from "
        "(select due_at from manual_delivery where state in ('waiting', 'taken') limit $2) as open",
        unit.now,
        most,
    )
    return (row[0], row[1]) if row else (0, 0)

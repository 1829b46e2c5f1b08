"""The statements about suspensions. They are reached through their case, which decides who may see them."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from kit.errors import NotFound
from kit.table import Table
from kit.unit import Unit
from services.cases.model import Suspension

SUSPENSIONS = Table("suspension", Suspension)


async def of_case(unit: Unit, case_id: UUID) -> Sequence[Suspension]:
    """All of a case, the oldest first."""
    return await SUSPENSIONS.list(unit, "case_id = $1 order by id limit 200", case_id)


async def page(unit: Unit, case_id: UUID, after: UUID, limit: int) -> list[Suspension]:
    return await SUSPENSIONS.list(unit, "case_id = $1 and id > $2 order by id limit $3", case_id, after, limit)


async def get(unit: Unit, case_id: UUID, suspension_id: UUID) -> Suspension:
    """NotFound for one of another case."""
    found = await SUSPENSIONS.find(unit, "id = $1 and case_id = $2", suspension_id, case_id)
    if found is None:
        raise NotFound("NOT_FOUND", resource="suspension")
    return found


async def case_id_of(unit: Unit, suspension_id: UUID) -> UUID | None:
    """Read first without a lock: the case is locked before its suspension."""
    found: UUID | None = await unit.fetchval("select case_id from suspension where id = $1", suspension_id)
    return found

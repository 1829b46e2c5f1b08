"""The present state of everything that is told, said again for those who build their picture anew."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from uuid import UUID

from kit.events import Event
from kit.paging import FIRST_ID
from kit.unit import Unit
from services.grid.model.directory import Department, Post, Staff
from services.grid.model.reports import Report
from services.grid.service import telling
from services.grid.store import directory, reports

#: Aggregates that are told at once.
BATCH = 500


async def snapshots(unit: Unit, after: UUID | None) -> tuple[Sequence[Event], UUID | None]:
    """Departments, posts, staff and reports whose ids follow `after`, in the order of ids, and the id to go on after (None at the end)."""
    found: list[Department | Post | Staff | Report] = []
    for table in (directory.DEPARTMENTS, directory.POSTS, directory.STAFF, reports.REPORTS):
        found += await table.list(unit, "id > $1 order by id limit $2", after or FIRST_ID, BATCH)
    rows = sorted(found, key=lambda row: row.id)[:BATCH]
    events = await _told(unit, rows)
    return events, rows[-1].id if len(rows) == BATCH else None


async def _told(unit: Unit, rows: Sequence[Department | Post | Staff | Report]) -> list[Event]:
    duties, leaves = defaultdict(list), defaultdict(list)
    for duty in await directory.duties_of(unit, [row.id for row in rows if isinstance(row, Post)], unit.today):
        duties[duty.post_id].append(duty)
    for leave in await directory.leaves_of(unit, [row.account for row in rows if isinstance(row, Staff)], unit.today):
        leaves[leave.account].append(leave)
    handed = [row.handover_id for row in rows if isinstance(row, Report) and row.handover_id is not None]
    handovers = await reports.handovers(unit, handed)
    events: list[Event] = []
    for row in rows:
        match row:
            case Department():
                events.append(telling.department_changed(unit, row))
            case Post():
                events.append(telling.post_changed(unit, row, duties[row.id]))
            case Staff():
                events.append(telling.staff_changed(unit, row, leaves[row.account]))
            case Report():
                handover = handovers.get(row.handover_id) if row.handover_id is not None else None
                events.append(telling.report_changed(unit, row, "snapshot", handover))
    return events

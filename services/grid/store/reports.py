"""Reports, their photos, hand-overs and timeline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson

from kit.table import Table
from kit.unit import Unit
from services.grid.model.divisions import CITY, COUNTY, DIGITS, TOWNSHIP, VILLAGE
from services.grid.model.reports import MERGED, OFFERED, Handover, Photo, Report
from services.grid.store.scope import after

#: Seeing reports of others takes this permission; without it one sees one's own.
OTHERS = "grid.reports.others"


def visible(unit: Unit, report: Report) -> bool:
    """Who reported it, deals with it or handed it over sees it wherever it is; others where it is or is offered to, if their post lets them
    see others' reports at all."""
    who = unit.principal
    if who.system or who.account in (report.reporter, report.handler, report.sender):
        return True
    offered = report.offered_to != "" and who.covers(report.offered_to)
    return who.may(OTHERS) and (offered or who.covers(report.division))


REPORTS = Table("report", Report, visible=visible)
PHOTOS = Table("report_photo", Photo)
HANDOVERS = Table("handover", Handover)

#: The column that holds a division of so many digits.
COLUMN = {DIGITS[COUNTY]: "county", DIGITS[TOWNSHIP]: "township", DIGITS[VILLAGE]: "community"}


async def in_division(unit: Unit, division: str, state: str, before: UUID, limit: int) -> Sequence[Report]:
    """The newest first. One scope at a time: an equality that an index serves."""
    if len(division) == DIGITS[CITY]:
        where, args = "county >= $1 and county < $2", [division, after(division)]
    else:
        where, args = f"{COLUMN[len(division)]} = $1", [division]
    if state:
        where += f" and state = ${len(args) + 1}"
        args.append(state)
    return await _newest(unit, where, args, before, limit)


async def in_grid(unit: Unit, grid_code: str, state: str, before: UUID, limit: int) -> Sequence[Report]:
    return await _newest(unit, "grid_code = $1 and ($2 = '' or state = $2)", [grid_code, state], before, limit)


async def reported_by(unit: Unit, account: str, state: str, before: UUID, limit: int) -> Sequence[Report]:
    return await _newest(unit, "reporter = $1 and ($2 = '' or state = $2)", [account, state], before, limit)


async def offered_to(
    unit: Unit, department_ids: Sequence[UUID], grid_ids: Sequence[UUID], before: UUID, limit: int
) -> Sequence[Report]:
    """Reports that wait for an answer of departments or of grids, the newest first."""
    offered: set[UUID] = set()
    for column, ids in (("department_id", department_ids), ("grid_id", grid_ids)):
        sql = f"""
        select report_id from handover where state = '{OFFERED}' and {column} = any($1) and report_id < $2
        order by report_id desc limit $3
        """
        offered.update(row["report_id"] for row in await unit.fetch(sql, list(ids), before, limit))
    newest = sorted(offered, reverse=True)[:limit]
    return await REPORTS.list(unit, "id = any($1) order by id desc", newest)


async def _newest(unit: Unit, where: str, args: list[Any], before: UUID, limit: int) -> Sequence[Report]:
    n = len(args)
    return await REPORTS.list(unit, f"{where} and id < ${n + 1} order by id desc limit ${n + 2}", *args, before, limit)


async def alike(unit: Unit, reporter: str, kind: str, at: datetime, apart: timedelta) -> Sequence[Report]:
    """What the same person reported of the same kind around the same time, or before and it closed since; the oldest first, without what was
    merged."""
    sql = f"""
    select {REPORTS.columns} from report
    where reporter = $1 and kind = $2 and occurred_at between $3 and $4 and merged_into is null
    union all
    select {REPORTS.columns} from report
    where reporter = $1 and kind = $2 and closed_at >= $3 and occurred_at < $3 and merged_into is null
    order by occurred_at, id limit 100
    """
    return [Report(*row) for row in await unit.fetch(sql, reporter, kind, at - apart, at + apart)]


async def merged_into(unit: Unit, report_id: UUID) -> Sequence[Report]:
    return await REPORTS.list(unit, f"merged_into = $1 and state = '{MERGED}' order by id limit 500", report_id)


async def photos(unit: Unit, report_id: UUID) -> Sequence[Photo]:
    return await PHOTOS.list(unit, "report_id = $1 order by phase desc, added_at, id", report_id)


async def handovers(unit: Unit, ids: Sequence[UUID]) -> dict[UUID, Handover]:
    return {h.id: h for h in await HANDOVERS.list(unit, "id = any($1)", list(ids))}


async def offers(unit: Unit, after_id: UUID, limit: int) -> list[UUID]:
    """Ids of hand-overs that wait for an answer."""
    sql = f"select id from handover where state = '{OFFERED}' and id > $1 order by id limit $2"
    return [row["id"] for row in await unit.fetch(sql, after_id, limit)]


# -- the timeline -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened. `facts`: codes and numbers that its sentence is made of; `id` follows the order of commits."""

    report_id: UUID
    at: datetime
    account: str
    action: str
    facts: dict[str, Any]
    id: int = 0


async def write(unit: Unit, entries: Sequence[Entry]) -> None:
    sql = "insert into report_entry (report_id, at, account, action, facts) values ($1, $2, $3, $4, $5)"
    rows = [(e.report_id, e.at, e.account, e.action, orjson.dumps(e.facts).decode()) for e in entries]
    if len(rows) == 1:
        await unit.execute(sql, *rows[0])
    else:
        await unit.executemany(sql, rows)


async def entries(unit: Unit, report_id: UUID, after_id: int, limit: int) -> Sequence[Entry]:
    sql = """
    select report_id, at, account, action, facts, id from report_entry
    where report_id = $1 and id > $2 order by id limit $3
    """
    rows = await unit.fetch(sql, report_id, after_id, limit)
    return [Entry(r["report_id"], r["at"], r["account"], r["action"], orjson.loads(r["facts"]), r["id"]) for r in rows]

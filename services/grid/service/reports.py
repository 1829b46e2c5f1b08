"""Reports: how they come in, where they are routed, how they are read."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson

from hetao.common.v1 import common_pb2
from kit.actions import Actions
from kit.clock import business_date
from kit.errors import FailedPrecondition, InvalidArgument, PermissionDenied
from kit.identity import Principal
from kit.notices import To
from kit.paging import LAST_ID, Page
from kit.statutory import Deadline, Deadlines
from kit.texts import Texts
from kit.unit import Unit
from services.grid.model.directory import CENTRE, DISPATCHER, HEAD, Department
from services.grid.model.divisions import Ancestors
from services.grid.model.grids import BASIC, WORKER, Grid
from services.grid.model.points import Point
from services.grid.model.reports import (
    MERGED,
    MOST_PHOTOS,
    SUBMITTED,
    TO_COMMUNITY,
    TO_GRID,
    Handover,
    Photo,
    Report,
    check_times,
    same_place,
)
from services.grid.service import telling
from services.grid.service.actions import ON_REPORT, Seen
from services.grid.service.territory import Counties, grid_at
from services.grid.store import directory, divisions, grids
from services.grid.store import reports as store
from services.grid.store.reports import Entry
from services.grid.store.scope import scope
from services.grid.words import Words

#: Timers by report: nobody verified it; the reporter did not acknowledge it.
VERIFY, ACKNOWLEDGE = "grid.verify", "grid.acknowledge"

#: A timer by hand-over: nobody answered it.
ANSWER = "grid.answer"

#: Levels that break the quiet hours.
GRAVE = ("critical", "major")


@dataclass(frozen=True, slots=True)
class NewPhoto:
    """A photo as it was given. `field`: where in the request, for errors."""

    media_id: str
    phase: str
    captured_at: datetime | None
    field: str


@dataclass(frozen=True, slots=True)
class NewReport:
    """A report as it was given. Times are None where they were left out."""

    kind: str
    level: str
    title: str
    description: str
    place: str
    point: Point | None
    grid_code: str
    community: str
    occurred_at: datetime | None
    captured_at: datetime | None
    late_reason: str
    photos: Sequence[NewPhoto]


@dataclass(frozen=True, slots=True)
class Where:
    """Where a report belongs. `desk`: the department that deals with it where no worker does."""

    grid: Grid | None
    division: str
    outside: bool
    desk: Department | None


@dataclass(frozen=True, slots=True)
class Whole:
    """A report as its reader sees it now. `content`: opened; `deadline`: of the answer to its hand-over; `actions`: what the reader may do."""

    report: Report
    now: datetime
    content: dict[str, str]
    result: str
    photos: Sequence[Photo] = ()
    handover: Handover | None = None
    note: str = ""
    answer_reason: str = ""
    deadline: Deadline | None = None
    actions: Sequence[common_pb2.AllowedAction] = ()


class Reports:
    """`require_photos`: refuses photos that nobody uploaded, by their fields. `lend_photo`: lets a division see a photo that the principal may see."""

    def __init__(
        self,
        deadlines: Deadlines,
        words: Words,
        counties: Counties,
        require_photos: Callable[[Iterable[tuple[str, str]]], Awaitable[None]],
        lend_photo: Callable[[str, Principal, str], Awaitable[None]],
        texts: Texts,
    ):
        self._actions = Actions(texts, ON_REPORT)
        self.deadlines, self.words, self.counties = deadlines, words, counties
        self._require_photos, self._lend_photo = require_photos, lend_photo

    # -- coming in ----------------------------------------------------------------------------------------------------

    async def create(self, unit: Unit, new: NewReport) -> Report:
        await self.require(new.photos)
        captured = new.captured_at or unit.now
        occurred = new.occurred_at or captured
        check_times(occurred, captured, unit.now, self.hours(unit, "grid.report.past"), new.late_reason)
        where = await self._locate(unit, new)
        at = Ancestors.of(where.division)
        words = {"title": new.title, "description": new.description, "place": new.place, "late_reason": new.late_reason}
        report_id = unit.new_id()
        report = Report(
            id=report_id,
            kind=new.kind,
            level=new.level or "ordinary",
            state=SUBMITTED,
            content=unit.seal("grid.report.content", report_id, orjson.dumps(words).decode()),
            lat=new.point.lat if new.point else None,
            lon=new.point.lon if new.point else None,
            division=where.division,
            county=at.county,
            township=at.township,
            community=at.community,
            grid_id=where.grid.id if where.grid else None,
            grid_code=where.grid.code if where.grid else "",
            department_id=where.desk.id if where.desk else None,
            reporter=unit.principal.account,
            outside=where.outside,
            occurred_at=occurred,
            captured_at=captured,
            received_at=unit.now,
        )
        earlier = await self._same(unit, report, new.place)
        merged = earlier is not None and earlier.open
        if earlier:
            report = report.merge(earlier, unit.now) if merged else replace(report, follows=earlier.id)
        await store.REPORTS.add(unit, report)
        await self.add_photos(unit, report, [], new.photos)
        facts = {"kind": report.kind, "level": report.level, "outside": report.outside}
        steps: list[tuple[str, dict[str, Any]]] = [("submit", facts)]
        if earlier:
            steps.append(("merge", {"into": earlier.code}) if merged else ("follow", {"earlier": earlier.code}))
        await write(unit, report, steps)
        unit.emit(telling.report_changed(unit, report, "merge" if merged else "submit"))
        if not merged:
            await self._expect(unit, report)
        return report

    async def _locate(self, unit: Unit, new: NewReport) -> Where:
        """The outline in which the point lies decides; then the grid that was named; then the reporter's own in the community, or anywhere."""
        own = await grids.own(unit, unit.principal.account, unit.today)
        county = self.counties.at(new.point) if new.point else ""
        if new.point and not county:
            raise InvalidArgument("POINT_OUTSIDE", field="point")
        grid = await grid_at(unit, new.point) if new.point else None
        if grid is None and new.grid_code:
            grid = await grids.by_code(unit, new.grid_code)
            if grid is None or not grid.active:
                raise InvalidArgument("GRID_UNKNOWN", field="grid_code", grid=new.grid_code)
        if grid is None:
            here = [one for one in own if one.division.startswith(new.community)]
            # A school or a market in her care makes it no less plain which ground is hers.
            here = [one for one in here if one.kind == BASIC] or here
            grid = here[0] if len(here) == 1 else None
        community = grid.division if grid else new.community
        if not community:
            raise InvalidArgument("GRID_OR_COMMUNITY", field="grid_code")
        if grid is None and await divisions.find(unit, community) is None:
            raise InvalidArgument("DIVISION_UNKNOWN", field="community", division=community)
        if not unit.runtime.system.covers(community):
            raise InvalidArgument("DIVISION_ELSEWHERE", field="community", division=community)
        if county and not community.startswith(county):
            raise InvalidArgument("POINT_ELSEWHERE", field="point", county=county)
        served = grid is not None and bool(await grids.serving(unit, grid.id, [WORKER], unit.today))
        outside = grid is None or grid.id not in {one.id for one in own}
        return Where(grid, community, outside, None if served else await self.desk(unit, community))

    async def _same(self, unit: Unit, report: Report, place: str) -> Report | None:
        """What the same reporter said before about the same place and kind: what is open, and is one problem with this, else the last that has
        ended. What lies in a place that was cleaned is new."""
        await directory.claim(unit, f"reporter {report.reporter}")
        apart = self.hours(unit, "grid.report.merge")
        metres = self.words.parameters.on(unit.today).same_place_metres
        ended: Report | None = None
        for other in await store.alike(unit, report.reporter, report.kind, report.occurred_at, apart):
            words = self.content(unit, other)["place"]
            near = same_place(report.point, place, other.point, words, metres)
            if near and (other.grid_id, other.community) == (report.grid_id, report.community):
                # Locked, lest it end at this moment without what is merged into it.
                found = await store.REPORTS.get(unit, other.id) if other.open else other
                if found.open:
                    return found
                ended = found
        return ended

    async def _expect(self, unit: Unit, report: Report) -> None:
        """Tells who is to verify it, and waits for that. A full-time worker need not be told of her own report."""
        to = await self.responsible(unit, report)
        if To(account=report.reporter) not in to:
            urgent = report.level in GRAVE
            unit.emit(telling.notice("grid.report-submitted", report, report.id, to, urgent=urgent))
        unit.schedule(VERIFY, report.id, at=self._limit(unit, "grid.report.verify").due_at)

    # -- who is responsible -------------------------------------------------------------------------------------------

    async def desk(self, unit: Unit, division: str) -> Department:
        """The department that deals with what no worker does: the community's, else the centre of the township, else that of the county."""
        at = Ancestors.of(division)
        codes = [f"{at.community}-community"] if at.community else []
        for code in (*codes, *(f"{place}-centre" for place in (at.township, at.county) if place)):
            found = await directory.department_by_code(unit, code)
            if found is not None and found.active:
                return found
        raise FailedPrecondition("NO_RECEIVER", division=division)

    async def responsible(self, unit: Unit, report: Report) -> list[To]:
        """Whom to tell what a report needs: the workers of its grid, else the department that deals with it."""
        if report.department_id is None and report.grid_id is not None:
            workers = await grids.serving(unit, report.grid_id, [WORKER], unit.today)
            if workers:
                return [To(account=account) for account in workers]
        desk = None
        if report.department_id is not None:
            desk = await directory.department_by_id(unit, report.department_id)
        return [post_of(desk or await self.desk(unit, report.division))]

    async def check_responsible(self, unit: Unit, report: Report) -> None:
        if not await self.is_responsible(unit, report):
            raise PermissionDenied("REPORT_OF_OTHERS")

    async def is_responsible(self, unit: Unit, report: Report) -> bool:
        """A full-time worker of the grid, who stands in for one, the department that deals with it or the community's, or who has it in hand."""
        who = unit.principal
        if who.account == report.handler and report.state not in (SUBMITTED, MERGED):
            return True
        if report.department_id is not None and str(report.department_id) in who.departments:
            return True
        if report.grid_id is not None and await self.serves(unit, report.grid_id):
            return True
        community = await directory.department_by_code(unit, f"{report.community}-community")
        return community is not None and str(community.id) in who.departments

    async def receives(self, unit: Unit, handover: Handover | None) -> bool:
        """Whether the caller answers for the grid or the community that it was offered to."""
        if handover is None or handover.target not in (TO_GRID, TO_COMMUNITY):
            return False
        if handover.grid_id is not None:
            return await self.serves(unit, handover.grid_id)
        return str(handover.department_id) in unit.principal.departments

    async def serves(self, unit: Unit, grid_id: UUID) -> bool:
        """Whether the caller is a full-time worker of the grid today, or stands in for one."""
        account = unit.principal.account
        if account in await grids.serving(unit, grid_id, [WORKER], unit.today):
            return True
        return await grids.stands_in(unit, grid_id, account, unit.today)

    # -- photos -------------------------------------------------------------------------------------------------------

    async def require(self, photos: Sequence[NewPhoto]) -> None:
        """InvalidArgument(PHOTO_UNKNOWN). Before the unit's first statement: a connection must not wait for the media store."""
        await self._require_photos((f"{photo.field}.media_id", photo.media_id) for photo in photos)

    async def add_photos(
        self, unit: Unit, report: Report, present: Sequence[Photo], new: Sequence[NewPhoto]
    ) -> list[Photo]:
        """All photos of the report then. The same photo for the same phase is one."""
        known = {(photo.media_id, photo.phase) for photo in present}
        by, at = unit.principal.account, unit.now
        added: list[Photo] = []
        for photo in new:
            if (photo.media_id, photo.phase) not in known:
                known.add((photo.media_id, photo.phase))
                added.append(Photo(unit.new_id(), report.id, photo.media_id, photo.phase, photo.captured_at, by, at))
        if len(known) > MOST_PHOTOS:
            raise FailedPrecondition("PHOTOS_TOO_MANY", most=MOST_PHOTOS)
        if added:
            await store.PHOTOS.add_all(unit, added)
        if not unit.principal.touches(
            report.county
        ):  # it was routed out of the reporter's county, where its photos are at home
            await asyncio.gather(*(self._lend_photo(p.media_id, unit.principal, report.division) for p in added))
        return [*present, *added]

    # -- reading ------------------------------------------------------------------------------------------------------

    async def get(self, unit: Unit, report_id: UUID) -> Whole:
        return await self.whole(unit, await store.REPORTS.get(unit, report_id))

    async def whole(self, unit: Unit, report: Report) -> Whole:
        photos = await store.photos(unit, report.id)
        handover = None
        if report.handover_id is not None:
            handover = (await store.handovers(unit, [report.handover_id]))[report.handover_id]
        opened = self._opened(unit, report, photos, handover)
        if not self._actions.concern(unit.principal):
            return opened
        seen = Seen(
            report,
            handover,
            unit.principal.account,
            await self.is_responsible(unit, report),
            await self.receives(unit, handover),
        )
        return replace(opened, actions=self._actions.of(unit.principal, report.state, seen))

    def _opened(self, unit: Unit, report: Report, photos: Sequence[Photo], handover: Handover | None) -> Whole:
        note = reason = ""
        deadline = None
        if handover is not None:
            note = unit.open("grid.handover.note", handover.id, handover.note) if handover.note else ""
            answer = handover.answer_reason
            reason = unit.open("grid.handover.answer", handover.id, answer) if answer else ""
            deadline = self.answer_due(handover) if handover.due_at else None
        result = unit.open("grid.report.result", report.id, report.result) if report.result else ""
        return Whole(report, unit.now, self.content(unit, report), result, photos, handover, note, reason, deadline)

    async def page(
        self, unit: Unit, page: Page, division: str, grid_code: str, state: str, *, mine: bool, offered: bool
    ) -> tuple[Sequence[Whole], str]:
        """The newest first. Who may not see reports of others sees their own."""
        before, who = (page.after or (LAST_ID,))[0], unit.principal
        if offered:
            own = await grids.own(unit, who.account, unit.today)
            departments = [department.id for department in await directory.departments_named(unit, who.departments)]
            rows = await store.offered_to(unit, departments, [grid.id for grid in own], before, page.limit)
        elif mine or not who.may(store.OTHERS):
            rows = await store.reported_by(unit, who.account, state, before, page.limit)
        elif grid_code:
            scope(unit, grid_code, "grid_code")
            rows = await store.in_grid(unit, grid_code, state, before, page.limit)
        else:
            rows = await store.in_division(unit, scope(unit, division), state, before, page.limit)
        shown, token = page.cut(rows, key=lambda report: (report.id,))
        handovers = await store.handovers(unit, [r.handover_id for r in shown if r.handover_id])
        return [
            self._opened(unit, r, (), handovers.get(r.handover_id) if r.handover_id else None) for r in shown
        ], token

    async def timeline(
        self, unit: Unit, report_id: UUID, after_id: int, limit: int
    ) -> tuple[Sequence[Entry], Mapping[str, tuple[str, str]]]:
        """Entries, and what their persons are called at work, in Chinese and English."""
        report = await store.REPORTS.get(unit, report_id)
        entries = await store.entries(unit, report.id, after_id, limit)
        return entries, await directory.titles(unit, list({entry.account for entry in entries}))

    def content(self, unit: Unit, report: Report) -> dict[str, str]:
        opened: dict[str, str] = orjson.loads(unit.open("grid.report.content", report.id, report.content))
        return opened

    # -- limits -------------------------------------------------------------------------------------------------------

    def hours(self, unit: Unit, rule: str) -> timedelta:
        return timedelta(hours=self.deadlines.rule(rule, unit.today).amount)

    def _limit(self, unit: Unit, rule: str) -> Deadline:
        return self.deadlines.due(self.deadlines.rule(rule, unit.today), unit.now)

    def acknowledge_by(self, unit: Unit) -> datetime:
        return self._limit(unit, "grid.report.acknowledge").due_at

    def answer_limit(self, unit: Unit) -> Deadline:
        return self._limit(unit, "grid.handover.answer")

    def answer_due(self, handover: Handover) -> Deadline:
        """The limit of an answer from its facts; the hand-over keeps the version it started with."""
        day = business_date(handover.handed_at)
        rule = self.deadlines.rule("grid.handover.answer", day, handover.rule_version)
        return self.deadlines.due(rule, handover.handed_at)


def post_of(desk: Department) -> To:
    """Who is told for a department: its head, or a centre's dispatcher."""
    return To(desk.id, DISPATCHER if desk.kind == CENTRE else HEAD)


async def write(unit: Unit, report: Report, steps: Sequence[tuple[str, dict[str, Any]]]) -> None:
    """Lines of the timeline."""
    by = "system" if unit.principal.system else unit.principal.account
    await store.write(unit, [Entry(report.id, unit.now, by, action, facts) for action, facts in steps])

"""What is done about a report by those who are responsible for it, and how it ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from kit.errors import FailedPrecondition, InvalidArgument
from kit.notices import To
from kit.unit import Unit
from services.grid.model.reports import (
    CLOSED,
    HANDED_OVER,
    INVALID,
    SOLVED,
    SUBMITTED,
    VERIFIED,
    Handover,
    Report,
)
from services.grid.service import telling
from services.grid.service.reports import ACKNOWLEDGE, VERIFY, NewPhoto, Reports, post_of, write
from services.grid.store import reports as store

#: (action, facts) of the timeline.
Step = tuple[str, dict[str, Any]]


class Handling:
    def __init__(self, reports: Reports):
        self.reports = reports

    async def verify(self, unit: Unit, report_id: UUID, level: str, etag: str) -> Report:
        report = await self._acting(unit, report_id, etag)
        verified = report.verify(unit.principal.account, unit.now, level)
        unit.cancel(VERIFY, report.id)
        return await self.keep(unit, verified, [("verify", {"level": verified.level})])

    async def handle(self, unit: Unit, report_id: UUID, etag: str) -> Report:
        report = await self._acting(unit, report_id, etag)
        return await self.keep(unit, report.handle(unit.principal.account), [("handle", {})])

    async def add_photos(self, unit: Unit, report_id: UUID, photos: Sequence[NewPhoto], etag: str) -> Report:
        """By the reporter or whoever is responsible, while the report is open."""
        await self.reports.require(photos)
        report = await store.REPORTS.get(unit, report_id)
        unit.match(etag, report)
        if report.reporter != unit.principal.account:
            await self.reports.check_responsible(unit, report)
        report.check_open()
        before = await store.photos(unit, report.id)
        after = await self.reports.add_photos(unit, report, before, photos)
        return await self.keep(unit, report, [("add photos", {"count": len(after) - len(before)})])

    async def solve(self, unit: Unit, report_id: UUID, result: str, photos: Sequence[NewPhoto], etag: str) -> Report:
        await self.reports.require(photos)
        report = await self._acting(unit, report_id, etag)
        by = unit.principal.account
        evidence = await self.reports.add_photos(unit, report, await store.photos(unit, report.id), photos)
        sealed = unit.seal("grid.report.result", report.id, result)
        solved = report.in_hand(by).solve(by, unit.now, sealed, evidence)
        steps: list[Step] = [("handle", {})] if report.state == VERIFIED else []
        return await self._end(unit, solved, [*steps, ("solve", {})])

    async def invalidate(self, unit: Unit, report_id: UUID, reason: str, etag: str) -> Report:
        report = await self._acting(unit, report_id, etag)
        sealed = unit.seal("grid.report.result", report.id, reason)
        unit.cancel(VERIFY, report.id)
        return await self._end(unit, report.invalidate(unit.principal.account, sealed), [("invalidate", {})])

    async def merge(self, unit: Unit, report_id: UUID, into: UUID, etag: str) -> Report:
        report = await self._acting(unit, report_id, etag)
        main = await store.REPORTS.get(unit, into)
        merged = report.merge(main, unit.now)
        unit.cancel(VERIFY, report.id)
        steps: list[Step] = [("merge", {"into": main.code})]
        if merged.state == CLOSED:
            steps.append(("close", {"how": "merged"}))
        for follower in await store.merged_into(
            unit, report.id
        ):  # what was merged into this one goes on with the other
            moved = replace(follower, merged_into=main.id)
            await self.keep(unit, moved.close(unit.now) if merged.state == CLOSED else moved, steps)
        return await self.keep(unit, merged, steps)

    async def close(self, unit: Unit, report_id: UUID, result: str, etag: str) -> Report:
        """The reporter has seen how it ended, or the worker says what the emergency number did."""
        report = await store.REPORTS.get(unit, report_id)
        unit.match(etag, report)
        by = unit.principal.account
        if report.state == HANDED_OVER:
            handover = await self.handover(unit, report)
            report.check_close(by, handover, await self.reports.is_responsible(unit, report))
            if not result:
                raise InvalidArgument("RESULT_MISSING", field="result")
            sealed = unit.seal("grid.report.result", report.id, result)
            return await self.end(unit, report, "emergency", result=sealed, outcome="handed_over")
        report.check_close(by, None, False)
        return await self.end(unit, report, "acknowledged")

    # -- by itself ----------------------------------------------------------------------------------------------------

    async def not_acknowledged(self, unit: Unit, report_id: UUID) -> None:
        report = await store.REPORTS.get(unit, report_id)
        if report.state in (SOLVED, INVALID):
            await self.end(unit, report, "automatic")

    async def not_verified(self, unit: Unit, report_id: UUID) -> None:
        """Tells the responsible once more; the community hears of it too."""
        report = await store.REPORTS.get(unit, report_id)
        if report.state != SUBMITTED:
            return
        to = await self.reports.responsible(unit, report)
        desk = post_of(await self.reports.desk(unit, report.division))
        unit.emit(
            telling.notice("grid.report-unverified", report, report.id, [*to, *([desk] if desk not in to else [])])
        )

    # -- shared -------------------------------------------------------------------------------------------------------

    async def _acting(self, unit: Unit, report_id: UUID, etag: str) -> Report:
        report = await store.REPORTS.get(unit, report_id)
        unit.match(etag, report)
        await self.reports.check_responsible(unit, report)
        return report

    async def _end(self, unit: Unit, ended: Report, steps: Sequence[Step]) -> Report:
        """Solved or invalid: closed at once where the reporter did it, otherwise the reporter is asked."""
        if ended.reporter == ended.handler:
            return await self.end(unit, ended, "own", before=steps)
        unit.schedule(ACKNOWLEDGE, ended.id, at=self.reports.acknowledge_by(unit))
        unit.emit(telling.notice("grid.report-ended", ended, ended.id, [To(account=ended.reporter)]))
        return await self.keep(unit, ended, steps)

    async def end(
        self,
        unit: Unit,
        report: Report,
        how: str,
        *,
        before: Sequence[Step] = (),
        outcome: str = "",
        result: bytes | None = None,
        handover: Handover | None = None,
    ) -> Report:
        """Closes a report and all that were merged into it."""
        closed = report.close(unit.now, outcome=outcome, result=result)
        unit.cancel(ACKNOWLEDGE, report.id)
        kept = await self.keep(unit, closed, [*before, ("close", {"how": how})], handover)
        for follower in await store.merged_into(unit, report.id):
            done = await self.keep(unit, follower.close(unit.now), [("close", {"how": "merged"})])
            if follower.reporter != report.reporter:
                unit.emit(telling.notice("grid.report-closed", done, done.id, [To(account=done.reporter)]))
        return kept

    async def handover(self, unit: Unit, report: Report) -> Handover:
        """The report's last hand-over; it has one wherever this is asked."""
        if report.handover_id is None:
            raise FailedPrecondition("NOT_HANDED_OVER")
        return await store.HANDOVERS.get(unit, report.handover_id)

    async def keep(self, unit: Unit, report: Report, steps: Sequence[Step], handover: Handover | None = None) -> Report:
        """Saves the report, writes its timeline and tells others."""
        saved = await store.REPORTS.save(unit, report)
        await write(unit, saved, steps)
        if handover is None and saved.handover_id is not None:
            handover = await self.handover(unit, saved)
        unit.emit(telling.report_changed(unit, saved, steps[-1][0], handover))
        return saved

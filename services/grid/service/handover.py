"""Handing a report over to somebody who can do more, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from uuid import UUID

from kit.errors import FailedPrecondition, InvalidArgument, PermissionDenied
from kit.notices import To
from kit.paging import FIRST_ID
from kit.unit import Unit
from services.grid.model.directory import CENTRE, COMMUNITY, DIRECTOR, HEAD, Department
from services.grid.model.divisions import Ancestors
from services.grid.model.grids import WORKER, Grid
from services.grid.model.reports import (
    ACCEPTED,
    HANDED_OVER,
    LAPSED,
    OFFERED,
    REFUSED,
    TO_CENTRE,
    TO_COMMUNITY,
    TO_EMERGENCY,
    TO_GRID,
    VERIFIED,
    Handover,
    Report,
)
from services.grid.service import telling
from services.grid.service.handling import Handling, Step
from services.grid.service.reports import ANSWER, GRAVE, Reports, post_of
from services.grid.store import directory, grids
from services.grid.store import reports as store


@dataclass(frozen=True, slots=True)
class Offer:
    """A hand-over as it was asked for."""

    target: str
    department_id: UUID | None
    grid_code: str
    emergency_number: str
    reason: str
    note: str
    category: str


@dataclass(frozen=True, slots=True)
class CaseNews:
    """What was heard of a case that came from a hand-over."""

    handover_id: UUID
    case_id: UUID
    case_code: str
    state: str
    outcome: str
    epoch: int
    version: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a centre did not accept a case: the ground's code and words, and the right channel."""

    ground: str
    ground_zh: str
    ground_en: str
    channel: str


class Handovers:
    def __init__(self, reports: Reports, handling: Handling):
        self.reports, self.handling = reports, handling

    async def hand_over(self, unit: Unit, report_id: UUID, offer: Offer, etag: str) -> Report:
        report = await store.REPORTS.get(unit, report_id)
        unit.match(etag, report)
        await self.reports.check_responsible(unit, report)
        department, grid = await self._receiver(unit, report, offer)
        by, limit = unit.principal.account, self.reports.answer_limit(unit)
        handover_id = unit.new_id()
        handover = Handover(
            id=handover_id,
            report_id=report.id,
            target=offer.target,
            department_id=department.id if department else None,
            grid_id=grid.id if grid else None,
            grid_code=grid.code if grid else "",
            emergency_number=offer.emergency_number,
            reason=offer.reason,
            note=unit.seal("grid.handover.note", handover_id, offer.note) if offer.note else b"",
            state=ACCEPTED if offer.target == TO_EMERGENCY else OFFERED,
            handed_by=by,
            handed_at=unit.now,
            due_at=None if offer.target == TO_EMERGENCY else limit.due_at,
            rule_version=limit.rule.version,
        )
        offered_to = (
            grid.division if grid else department.division if department and offer.target == TO_COMMUNITY else ""
        )
        handed = report.in_hand(by).hand_over(by, handover_id, offered_to)
        await store.HANDOVERS.add(unit, handover)
        to = offer.emergency_number or (grid.code if grid else "")
        steps: list[Step] = [("handle", {})] if report.state == VERIFIED else []
        steps.append(("hand over", {"target": offer.target, "reason": offer.reason, "to": to}))
        kept = await self.handling.keep(unit, handed, steps, handover)
        if handover.due_at:
            unit.schedule(ANSWER, handover.id, at=handover.due_at)
        if offer.target == TO_CENTRE and department is not None:
            await self._tell_centre(unit, kept, handover, department, offer)
        else:
            await self._tell_receiver(unit, kept, handover)
        return kept

    async def _receiver(self, unit: Unit, report: Report, offer: Offer) -> tuple[Department | None, Grid | None]:
        if offer.target == TO_EMERGENCY:
            if not offer.emergency_number:
                raise InvalidArgument("EMERGENCY_NUMBER_MISSING", field="emergency_number")
            return None, None
        if offer.target == TO_GRID:
            grid = await grids.by_code(unit, offer.grid_code) if offer.grid_code else None
            if grid is None or not grid.active or not unit.runtime.system.covers(grid.division):
                raise InvalidArgument("GRID_UNKNOWN", field="grid_code", grid=offer.grid_code)
            if grid.id == report.grid_id:
                raise InvalidArgument("HANDOVER_TO_ITSELF", field="grid_code")
            return None, grid
        return await self._department(unit, report, offer), None

    async def _department(self, unit: Unit, report: Report, offer: Offer) -> Department:
        """The one that was named, of the right kind; else the responsible one of the place."""
        kind = CENTRE if offer.target == TO_CENTRE else COMMUNITY
        if offer.department_id is not None:
            found = await directory.department_by_id(unit, offer.department_id)
            if found is None or not found.active or found.kind != kind:
                raise InvalidArgument("RECEIVER_UNKNOWN", field="department_id", kind=kind)
        else:
            at = Ancestors.of(report.division)
            codes = (
                [f"{at.community}-community"] if kind == COMMUNITY else [f"{at.township}-centre", f"{at.county}-centre"]
            )
            candidates = [await directory.department_by_code(unit, code) for code in codes]
            found = next((one for one in candidates if one is not None and one.active), None)
            if found is None:
                raise FailedPrecondition("NO_RECEIVER", division=report.division)
        if kind == COMMUNITY and found.id == report.department_id:
            raise InvalidArgument("HANDOVER_TO_ITSELF", field="department_id")
        return found

    async def _tell_centre(
        self, unit: Unit, report: Report, handover: Handover, centre: Department, offer: Offer
    ) -> None:
        """The whole file goes along: content, photos and history."""
        content = {**self.reports.content(unit, report), "note": offer.note}
        content.pop("late_reason", None)
        entries = await store.entries(unit, report.id, 0, 100)
        titles = await directory.titles(unit, list({entry.account for entry in entries}))
        photos = await store.photos(unit, report.id)
        unit.emit(
            telling.report_handed_over(unit, report, handover, centre, content, offer.category, photos, entries, titles)
        )

    async def _tell_receiver(self, unit: Unit, report: Report, handover: Handover) -> None:
        if handover.target == TO_EMERGENCY:
            return
        to = await self._receivers(unit, handover)
        urgent = report.level in GRAVE
        unit.emit(telling.notice("grid.handover-offered", report, handover.id, to, urgent=urgent))

    async def _receivers(self, unit: Unit, handover: Handover) -> list[To]:
        if handover.grid_id is not None:
            workers = await grids.serving(unit, handover.grid_id, [WORKER], unit.today)
            if workers:
                return [To(account=account) for account in workers]
            return [post_of(await self.reports.desk(unit, handover.grid_code[:12]))]
        post = DIRECTOR if handover.target == TO_CENTRE else HEAD
        return [To(handover.department_id, post)]

    # -- the answer ---------------------------------------------------------------------------------------------------

    async def accept(self, unit: Unit, report_id: UUID, etag: str) -> Report:
        """By the receiving grid or community, who go on with it."""
        report, handover = await self._answering(unit, report_id, etag)
        by = unit.principal.account
        answered = await store.HANDOVERS.save(unit, handover.answer(ACCEPTED, by, unit.now))
        grid = (handover.grid_id, handover.grid_code) if handover.grid_id else None
        unit.cancel(ANSWER, handover.id)
        self._tell_sender(unit, report, answered, "grid.handover-accepted")
        taken = report.take_over(by, grid, handover.department_id)
        return await self.handling.keep(unit, taken, [("take over", {"target": handover.target})], answered)

    async def refuse(self, unit: Unit, report_id: UUID, reason: str, etag: str) -> Report:
        report, handover = await self._answering(unit, report_id, etag)
        by = unit.principal.account
        self._tell_sender(unit, report, handover, "grid.handover-refused")
        return await self._back(unit, report, handover, REFUSED, by, reason)

    async def _answering(self, unit: Unit, report_id: UUID, etag: str) -> tuple[Report, Handover]:
        report = await store.REPORTS.get(unit, report_id)
        unit.match(etag, report)
        report.check_handed_over()
        handover = await self.handling.handover(unit, report)
        if handover.target not in (TO_GRID, TO_COMMUNITY):
            raise FailedPrecondition("ANSWERED_ELSEWHERE", target=handover.target)
        if not await self.reports.receives(unit, handover):
            raise PermissionDenied("HANDOVER_OF_OTHERS")
        return report, handover

    async def _back(
        self, unit: Unit, report: Report, handover: Handover, state: str, by: str, reason: str, **facts: str
    ) -> Report:
        """Refused, or not answered in time: whoever handed it over has it again. `facts`: more for the sentence that tells of it."""
        sealed = unit.seal("grid.handover.answer", handover.id, reason) if reason else b""
        answered = await store.HANDOVERS.save(unit, handover.answer(state, by, unit.now, sealed))
        unit.cancel(ANSWER, handover.id)
        return await self.handling.keep(unit, report.give_back(), [("give back", {"state": state, **facts})], answered)

    def _tell_sender(self, unit: Unit, report: Report, handover: Handover, template: str, ground: str = "") -> None:
        if handover.handed_by != unit.principal.account:
            unit.emit(telling.notice(template, report, handover.id, [To(account=handover.handed_by)], ground=ground))

    # -- by itself, and from the centres ------------------------------------------------------------------------------

    async def not_answered(self, unit: Unit, handover_id: UUID) -> None:
        """A grid or community that does not answer has refused; a centre's director hears of it, for its case goes on."""
        report, handover = await self._locked(unit, handover_id)
        if report is None or handover is None or handover.state != OFFERED:
            return
        if unit.now < self.reports.answer_due(handover).due_at:  # the calendar has changed since the timer was set
            await self._due_again(unit, handover)
            return
        if handover.target != TO_CENTRE:
            self._tell_sender(unit, report, handover, "grid.handover-lapsed")
            await self._back(unit, report, handover, LAPSED, "", "")
            return
        late = await store.HANDOVERS.save(unit, replace(handover, overdue=True))
        unit.emit(telling.notice("grid.handover-overdue", report, handover.id, await self._receivers(unit, handover)))
        await self.handling.keep(unit, report, [("overdue", {})], late)

    async def calendar_changed(self, unit: Unit) -> None:
        """Computes again when answers are due: the due time is a cache of the facts and of the calendar."""
        after = FIRST_ID
        while ids := await store.offers(unit, after, 500):
            for handover_id in ids:
                _, handover = await self._locked(unit, handover_id)
                if handover is not None and handover.state == OFFERED and not handover.overdue:
                    await self._due_again(unit, handover)
            after = ids[-1]

    async def _due_again(self, unit: Unit, handover: Handover) -> None:
        due = self.reports.answer_due(handover).due_at
        if handover.due_at != due:
            await store.HANDOVERS.save(unit, replace(handover, due_at=due))
        unit.schedule(ANSWER, handover.id, at=due)

    async def case_accepted(self, unit: Unit, handover_id: UUID, case_id: UUID, case_code: str, by: str) -> None:
        """The centre has taken it; the report waits for the case's end."""
        report, handover = await self._locked(unit, handover_id)
        if report is None or handover is None or handover.state != OFFERED:
            return
        answered = replace(handover.answer(ACCEPTED, by, unit.now), case_id=case_id, case_code=case_code)
        answered = await store.HANDOVERS.save(unit, answered)
        unit.cancel(ANSWER, handover.id)
        self._tell_workers(unit, report, answered, "grid.case-opened", case=case_code)
        facts = {"target": TO_CENTRE, "case_code": case_code}
        await self.handling.keep(unit, report, [("take over", facts)], answered)

    async def case_refused(self, unit: Unit, handover_id: UUID, case_id: UUID, refusal: Refusal, by: str) -> None:
        """The centre did not accept it; who handed it over learns why, and which channel is the right one."""
        report, handover = await self._locked(unit, handover_id)
        if report is None or handover is None or handover.state != OFFERED:
            return
        refused = replace(
            handover,
            case_id=case_id,
            answer_ground=refusal.ground,
            answer_ground_zh=refusal.ground_zh,
            answer_ground_en=refusal.ground_en,
            answer_channel=refusal.channel,
        )
        self._tell_sender(unit, report, refused, "grid.case-not-accepted", ground=refusal.ground)
        words = {"ground_zh": refusal.ground_zh, "ground_en": refusal.ground_en, "channel": refusal.channel}
        await self._back(unit, report, refused, REFUSED, by, refusal.ground_zh, **words)

    async def case_transferred(self, unit: Unit, handover_id: UUID, case_id: UUID, case_code: str, by: str) -> None:
        """The centre has passed it to an emergency service at once: that is its end."""
        report, handover = await self._locked(unit, handover_id)
        if report is None or handover is None or handover.state != OFFERED:
            return
        answered = replace(handover.answer(ACCEPTED, by, unit.now), case_id=case_id, case_code=case_code)
        answered = await store.HANDOVERS.save(unit, answered)
        unit.cancel(ANSWER, handover.id)
        self._tell_workers(unit, report, answered, "grid.report-closed")
        await self.handling.end(unit, report, "case", outcome="handed_over", handover=answered)

    async def case_moved(self, unit: Unit, news: CaseNews) -> None:
        """Keeps the newest state of the case; the report closes with it."""
        report, handover = await self._locked(unit, news.handover_id)
        if report is None or handover is None or not handover.newer(news.epoch, news.version):
            return
        known = handover.case_state
        moved = replace(
            handover,
            case_id=news.case_id,
            case_code=news.case_code,
            case_state=news.state,
            case_outcome=news.outcome,
            case_epoch=news.epoch,
            case_version=news.version,
        )
        moved = await store.HANDOVERS.save(unit, moved)
        if report.state != HANDED_OVER or report.handover_id != handover.id or news.state == known:
            return
        step: Step = ("case", {"case_code": news.case_code, "state": news.state})
        if news.state == "closed":
            self._tell_workers(unit, report, moved, "grid.report-closed")
            await self.handling.end(unit, report, "case", before=[step], outcome="handed_over", handover=moved)
        else:
            await self.handling.keep(unit, report, [step], moved)

    async def _locked(self, unit: Unit, handover_id: UUID) -> tuple[Report | None, Handover | None]:
        """The report first: it is the root of its hand-overs. (None, None) for a hand-over of another installation, whose cases are heard
        here too where a city listens to its counties."""
        known = (await store.handovers(unit, [handover_id])).get(handover_id)
        if known is None:
            return None, None
        report = await store.REPORTS.get(unit, known.report_id)
        return report, await store.HANDOVERS.get(unit, handover_id)

    def _tell_workers(self, unit: Unit, report: Report, handover: Handover, template: str, case: str = "") -> None:
        """Who handed it over, and who reported it."""
        to = [To(account=one) for one in dict.fromkeys((handover.handed_by, report.reporter))]
        unit.emit(telling.notice(template, report, handover.id, to, case=case))

"""Suspension (挂起): asked for with evidence, decided by somebody else, ended by itself or earlier by hand.

While a case is suspended its clock and those of its open tasks stand: their timers are taken away, and set again when it goes on. A suspension that
ends late, because the process was dead, has ended when it was to end all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from kit.errors import NotFound, PermissionDenied
from kit.paging import FIRST_ID, Page
from kit.unit import Unit
from services.cases import model
from services.cases.model import Allowance, CaseFile, Suspension, Task
from services.cases.service import telling
from services.cases.service.chain import Chain
from services.cases.service.limits import CASE_CLOCK, SUSPENSION_CLOCK, TASK_CLOCK
from services.cases.service.sealed import seal_note
from services.cases.service.steps import both, day, step
from services.cases.store import cases as store
from services.cases.store import suspensions
from services.cases.store.cases import FULL, Folder, view
from services.cases.words import SuspensionGround

#: A suspension ends at midnight: the last day on which the clocks stand is the one before.
MOMENT = timedelta(milliseconds=1)


class Suspensions:
    def __init__(self, chain: Chain):
        self.chain = chain

    async def request(
        self, unit: Unit, case_id: UUID, ground: str, days: int, note: str, media_ids: Sequence[str], etag: str
    ) -> Suspension:
        """By the responsible centre or the lead department; PermissionDenied(SUSPENSION_BY_LEAD) for other departments."""
        await self.chain.require_photos(media_ids)
        found = await store.folder(unit, case_id)
        if not _may_ask(unit, found):
            raise PermissionDenied("SUSPENSION_BY_LEAD")
        unit.match(etag, found.case)
        word = self.chain.words.suspension_grounds.get(ground, unit.today, field="ground")
        suspension_id = unit.new_id()
        case = found.case.ask_suspension(suspension_id, unit.principal.account, unit.now)
        times = await self._check(unit, case, word, days)
        suspension = Suspension(
            id=suspension_id,
            case_id=case.id,
            state=model.REQUESTED,
            ground=ground,
            days=days,
            note=seal_note(unit, case.id, note),
            media_ids=list(media_ids),
            requested_by=unit.principal.account,
            requested_at=unit.now,
        )
        await suspensions.SUSPENSIONS.add(unit, suspension)
        await self.chain.save(unit, case, "ask suspension", step("ask suspension", _facts(word, days)))
        by_director = times > 0 or case.centre in unit.principal.departments
        to = [(case.centre, "director" if by_director else "dispatcher")]
        unit.emit(telling.notice("cases.suspension_asked", case, suspension_id, 1, to, days=str(days)))
        return suspension

    async def decide(
        self, unit: Unit, case_id: UUID, suspension_id: UUID, approve: bool, note: str, etag: str
    ) -> Suspension:
        """PermissionDenied: APPROVER_IS_ASKER for one's own request, SUSPENSION_BY_DIRECTOR beyond the first suspension of a case."""
        found = await self.chain.own(unit, case_id, "")
        suspension = await suspensions.get(unit, case_id, suspension_id)
        unit.match(etag, suspension)
        if suspension.requested_by == unit.principal.account:
            raise PermissionDenied("APPROVER_IS_ASKER")
        sealed = seal_note(unit, case_id, note)
        if approve:
            decided = await self._approve(unit, found, suspension, sealed)
        else:
            decided = suspension.refuse(unit.principal.account, unit.now, sealed)
            word = self._word(suspension)
            case = replace(found.case, suspension=None)
            said = step("refuse suspension", _facts(word, suspension.days), note=sealed)
            await self.chain.save(unit, case, "refuse suspension", said)
        saved = await suspensions.SUSPENSIONS.save(unit, decided)
        self._tell_lead(unit, found, "cases.suspension_decided", suspension.id)
        return saved

    async def resume(self, unit: Unit, case_id: UUID, note: str, etag: str) -> Suspension:
        """By hand, before the days are over."""
        found = await self.chain.own(unit, case_id, etag)
        case = found.case.resume()
        suspension = await suspensions.get(unit, case_id, _open_one(found.case))
        unit.cancel(SUSPENSION_CLOCK, suspension.id)
        return await self._resume(unit, replace(found, case=case), suspension, seal_note(unit, case.id, note))

    async def end(self, unit: Unit, suspension_id: UUID) -> None:
        """By itself: the days are over."""
        case_id = await suspensions.case_id_of(unit, suspension_id)
        if case_id is None:
            return
        found = await store.folder_locked(unit, case_id)
        suspension = await suspensions.get(unit, case_id, suspension_id)
        if suspension.state != model.STANDING or suspension.ends is None:
            return
        if suspension.ends > unit.now:
            unit.schedule(SUSPENSION_CLOCK, suspension.id, at=suspension.ends)
            return
        await self._resume(unit, replace(found, case=found.case.resume()), suspension, None)

    async def page(self, unit: Unit, case_id: UUID, request: Any) -> tuple[Sequence[Suspension], str]:
        """NotFound also for those who may know the stage alone."""
        case = await store.CASES.get(unit, case_id)
        if view(unit.principal, case) != FULL:
            raise NotFound("NOT_FOUND", resource="case_file")
        page = Page.of(unit, request)
        (after,) = page.after or (FIRST_ID,)
        return page.cut(await suspensions.page(unit, case.id, after, page.limit), key=lambda one: (one.id,))

    # -- inside -----------------------------------------------------------------------------------------------------------

    async def _check(self, unit: Unit, case: CaseFile, word: SuspensionGround, days: int) -> int:
        """How often the case has stood already; refuses what goes beyond the rules."""
        parameters = self.chain.words.parameters(unit.today)
        stood = [one.stand for one in await suspensions.of_case(unit, case.id) if one.stand]
        used = sum(self.chain.limits.deadlines.days_within(stand.begins, stand.ends) for stand in stood)
        Allowance(word.most_days, parameters.suspension_days, parameters.suspensions).check(days, used, len(stood))
        return len(stood)

    async def _approve(self, unit: Unit, found: Folder, suspension: Suspension, note: bytes | None) -> Suspension:
        """The clocks stand from now on."""
        word = self._word(suspension)
        ends = self.chain.limits.deadlines.days_on(unit.now, suspension.days)
        approved = suspension.approve(unit.principal.account, unit.now, ends, note)
        case = found.case.suspend(unit.now)
        for task in found.tasks:
            task.check_decided()
        await self._check(unit, case, word, suspension.days)
        if found.case.suspensions and not unit.principal.may("cases.suspensions.repeat"):
            raise PermissionDenied("SUSPENSION_BY_DIRECTOR")
        case, _ = await self._stand(unit, replace(found, case=case), approved)
        unit.cancel(CASE_CLOCK, case.id)
        for task in found.tasks:
            unit.cancel(TASK_CLOCK, task.id)
        unit.schedule(SUSPENSION_CLOCK, suspension.id, at=ends)
        facts = {**_facts(word, suspension.days), "until": last_day(ends)}
        await self.chain.save(unit, case, "suspend", step("suspend", facts, note=note))
        return approved

    async def _resume(self, unit: Unit, found: Folder, suspension: Suspension, note: bytes | None) -> Suspension:
        """The clocks go on, each limit moved by the days for which it stood. `found`: with the case as resumed."""
        ended = await suspensions.SUSPENSIONS.save(unit, suspension.end("resume", unit.principal.account, unit.now))
        case, tasks = await self._stand(unit, found, ended)
        self.chain.limits.set_clock(unit, case)
        for task in tasks:
            if not task.desk:
                self.chain.limits.set_clock(unit, task)
        self._tell_lead(unit, replace(found, case=case), "cases.resumed", suspension.id, due=day(case.due_at))
        await self.chain.save(unit, case, "resume", step("resume", {"due": day(case.due_at)}, note=note))
        return ended

    async def _stand(self, unit: Unit, found: Folder, suspension: Suspension) -> tuple[CaseFile, Sequence[Task]]:
        """The case, not saved yet, and its open tasks with their limits as the suspension moves them."""
        stand = suspension.stand
        assert stand is not None
        limits = self.chain.limits
        standing = [limits.stand(task, stand) for task in found.tasks if task.running]
        return limits.stand(found.case, stand), await store.TASKS.save_all(unit, standing)

    def _word(self, suspension: Suspension) -> SuspensionGround:
        return self.chain.words.suspension_grounds.get(suspension.ground, suspension.requested_at.date())

    def _tell_lead(self, unit: Unit, found: Folder, template: str, about: UUID, **facts: Any) -> None:
        """The lead department, or the centre where it does the work itself."""
        lead = next((task.department for task in found.tasks if task.lead and not task.desk), "")
        to = [(lead, "duty_officer")] if lead else [(found.case.centre, "dispatcher")]
        unit.emit(telling.notice(template, found.case, about, 1, to, **facts))


async def conclude_suspension(unit: Unit, case: CaseFile) -> None:
    """With the case ends what was asked for or is running. `case`: before its conclusion."""
    if case.suspension is None:
        return
    suspension = await suspensions.get(unit, case.id, case.suspension)
    unit.cancel(SUSPENSION_CLOCK, suspension.id)
    await suspensions.SUSPENSIONS.save(unit, suspension.end("conclude", unit.principal.account, unit.now))


def last_day(ends: datetime) -> str:
    """The last day on which the clocks stand."""
    return day(ends - MOMENT)


def _may_ask(unit: Unit, found: Folder) -> bool:
    own = unit.principal.departments
    return found.case.centre in own or found.case.led_by(own, found.tasks)


def _open_one(case: CaseFile) -> UUID:
    assert case.suspension is not None  # a suspended case names its suspension
    return case.suspension


def _facts(word: SuspensionGround, days: int) -> dict[str, object]:
    return {**both("ground", word), "days": days}

"""What happens by itself: the reminder (催办) before a limit, the notice to the superior after it, then the supervision order (督办), each once.

A timer is only a reminder of the facts. When it fires late, because the process was dead, the steps that were missed follow one another at once,
in their order.
"""

from __future__ import annotations

from uuid import UUID

from kit.unit import Unit
from services.cases import model
from services.cases.model import CaseFile, Task
from services.cases.service import signals, telling
from services.cases.service.chain import Chain
from services.cases.service.limits import CASE_CLOCK, SUPPLEMENT_CLOCK, TASK_CLOCK
from services.cases.service.steps import day, of_department, step
from services.cases.service.supervisions import Supervisions
from services.cases.store import cases as store


class Clocks:
    def __init__(self, chain: Chain, supervisions: Supervisions):
        self.chain, self.supervisions = chain, supervisions

    async def case(self, unit: Unit, case_id: UUID) -> None:
        """Before acceptance: the decision on it is waited for. After: the conclusion. The clock of a suspended case stands."""
        case = await store.CASES.get(unit, case_id)
        moment = self.chain.limits.next_moment(case)
        if not case.running or moment is None:
            return
        if moment > unit.now:
            unit.schedule(CASE_CLOCK, case.id, at=moment)
            return
        told = case.tell(case.told + 1, unit.now)
        if told.told == model.DIRECTOR:
            await self.supervisions.by_itself(unit, case, None, await store.tasks_of(unit, case.id))
            await self.chain.save(unit, told, "supervise")
            return
        late = told.told == model.SUPERIOR
        what = "overdue" if late else "remind"
        facts = {"due": day(case.due_at)}
        if case.accepted_at is None:
            what, template = "acceptance " + what, "cases.acceptance_overdue" if late else "cases.acceptance_reminder"
        else:
            template = "cases.case_overdue" if late else "cases.case_reminder"
        if late:
            signals.breached(unit, signals.HANDLING if case.accepted_at else signals.ACCEPTANCE)
        to = [(case.centre, "director" if late else "dispatcher")]
        account = "" if case.answered else case.first_receiver
        unit.emit(telling.notice(template, told, case.id, case.round, to, urgent=late, account=account, **facts))
        self._next(unit, told)
        await self.chain.save(unit, told, what, step(what, facts))

    async def task(self, unit: Unit, task_id: UUID) -> None:
        """The duty officer before the limit, the department's head at the limit; a little later the centre's director, with a supervision order."""
        case_id = await store.case_id_of_task(unit, task_id)
        if case_id is None:
            return
        case = await store.CASES.get(unit, case_id)
        task = await store.TASKS.get(unit, task_id)
        moment = self.chain.limits.next_moment(task)
        if not task.running or moment is None or not case.running:
            return
        if moment > unit.now:
            unit.schedule(TASK_CLOCK, task.id, at=moment)
            return
        told = await store.TASKS.save(unit, task.tell(task.told + 1))
        template, to = {
            model.REMINDED: ("cases.task_reminder", (task.department, "duty_officer")),
            model.SUPERIOR: ("cases.task_overdue", (task.department, "head")),
            model.DIRECTOR: ("cases.task_supervision", (case.centre, "director")),
        }[told.told]
        if told.told == model.SUPERIOR:
            signals.breached(unit, signals.TASK)
        facts = {**of_department(task), "due": day(task.due_at)}
        urgent = told.told > model.REMINDED
        unit.emit(telling.notice(template, case, task.id, task.round, [to], urgent=urgent, due=facts["due"]))
        store.add_steps(unit, case.id, [step(template.removeprefix("cases."), facts)])
        if told.told == model.DIRECTOR:
            await self.supervisions.by_itself(unit, case, told, ())
        self._next(unit, told)

    async def supplement(self, unit: Unit, case_id: UUID) -> None:
        """Who received the case first is reminded to ask the applicant, and told when her limit is over: then it may be closed on that ground."""
        case = await store.CASES.get(unit, case_id)
        last = await store.supplement(unit, case.id)
        if case.state != model.SUPPLEMENT_ASKED or last is None:
            return
        moment = self.chain.limits.next_moment(last)
        if moment is None:
            return
        if moment > unit.now:
            unit.schedule(SUPPLEMENT_CLOCK, case.id, at=moment)
            return
        told = await store.SUPPLEMENTS.save(unit, last.tell(last.told + 1))
        what = "supplement lapsed" if told.told == model.SUPERIOR else "supplement remind"
        facts = {"due": day(last.due_at)}
        to = [] if case.first_receiver else [(case.centre, "dispatcher")]
        template = f"cases.{what.replace(' ', '_')}"
        unit.emit(telling.notice(template, case, last.id, 1, to, urgent=False, account=case.first_receiver, **facts))
        store.add_steps(unit, case.id, [step(what, facts)])
        if (then := self.chain.limits.next_moment(told)) is not None:
            unit.schedule(SUPPLEMENT_CLOCK, case.id, at=then)

    def _next(self, unit: Unit, row: CaseFile | Task) -> None:
        """The next step's timer, if there is one. The present one goes by itself when it has fired."""
        if self.chain.limits.next_moment(row) is not None:
            self.chain.limits.set_clock(unit, row)

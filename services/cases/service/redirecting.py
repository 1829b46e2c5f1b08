"""The dispatcher's changes of mind while departments work: another department, nobody, or another lead."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from kit.errors import FailedPrecondition
from kit.unit import Unit
from services.cases.model import Assignment, CaseFile, Task
from services.cases.service import telling
from services.cases.service.assigning import Assigning
from services.cases.service.chain import Chain
from services.cases.service.sealed import seal_note
from services.cases.service.steps import of_department, step
from services.cases.store.cases import Folder


class Redirecting:
    def __init__(self, chain: Chain):
        self.chain, self.assigning = chain, Assigning(chain)

    async def waive(self, unit: Unit, case_id: UUID, task_id: UUID, reason: str, etag: str) -> Folder:
        """A co-handler that stays silent or has nothing to add need not answer (免办). Its head is told that this stands against it."""
        found, task = await self.chain.own_task(unit, case_id, task_id, etag)
        waived = task.waive(_sealed(unit, task, reason), unit.now)
        self._tell(unit, found.case, task, "cases.waived", "head")
        steps = [step("waive", of_department(task), note=seal_note(unit, case_id, reason))]
        return await self.assigning.changed(unit, found, "waive", steps, [waived])

    async def cancel(self, unit: Unit, case_id: UUID, task_id: UUID, reason: str, etag: str) -> Folder:
        """A co-handler's task is not needed (撤销)."""
        found, task = await self.chain.own_task(unit, case_id, task_id, etag)
        cancelled = task.cancel(_sealed(unit, task, reason), unit.now)
        self._tell(unit, found.case, task, "cases.task_ended")
        steps = [step("cancel task", of_department(task), note=seal_note(unit, case_id, reason))]
        return await self.assigning.changed(unit, found, "cancel task", steps, [cancelled])

    async def reassign(
        self, unit: Unit, case_id: UUID, task_id: UUID, instead: Assignment, reason: str, etag: str
    ) -> Folder:
        """Another department does it (改派), before there is a result; the lead is replaced instead."""
        found, task = await self.chain.own_task(unit, case_id, task_id, etag)
        ended = task.reassign(_sealed(unit, task, reason), unit.now)
        new = await self.assigning.another(unit, found, task, instead)
        self._tell(unit, found.case, task, "cases.task_ended")
        steps = [step("reassign", of_department(task), note=seal_note(unit, case_id, reason))]
        steps.append(self.assigning.give(unit, found.case, new))
        return await self.assigning.changed(unit, found, "reassign", steps, [ended], [new])

    async def replace_lead(
        self, unit: Unit, case_id: UUID, lead: Assignment, cancel_former: bool, reason: str, etag: str
    ) -> Folder:
        """Once per case: a co-handler or a new department leads; who led goes on as co-handler, or is out. FailedPrecondition(LEAD_ALREADY)."""
        found = await self.chain.own(unit, case_id, etag)
        case = found.case.replace_lead()
        former = next(task for task in found.tasks if task.lead)
        present = next((task for task in found.tasks if _works(task, lead.department)), None)
        if present is former:
            raise FailedPrecondition("LEAD_ALREADY", field="department_id")
        yielded = former.yield_lead()
        if cancel_former:
            yielded = yielded.cancel(_sealed(unit, former, reason), unit.now)
        leads = self._takes(unit, case, present) if present else await self.assigning.another(unit, found, former, lead)
        if not former.desk:
            self._tell(unit, case, former, "cases.task_ended" if cancel_former else "cases.lead_yielded")
        facts = {**of_department(leads), **{f"former{name[-3:]}": said for name, said in of_department(former).items()}}
        steps = [step("replace lead", facts, note=seal_note(unit, case_id, reason))]
        replaced = replace(found, case=case)
        if present:
            return await self.assigning.changed(unit, replaced, "replace lead", steps, [yielded, leads])
        steps.append(self.assigning.give(unit, case, leads))
        return await self.assigning.changed(unit, replaced, "replace lead", steps, [yielded], [leads])

    def _takes(self, unit: Unit, case: CaseFile, task: Task) -> Task:
        """A co-handler leads from now on."""
        leads = task.take_lead(self.chain.limits.new("cases.task", unit.now))
        if leads.round != task.round:
            self.chain.limits.set_clock(unit, leads)
        unit.emit(self.assigning.tell(case, leads, "cases.lead_taken"))
        return leads

    def _tell(self, unit: Unit, case: CaseFile, task: Task, template: str, post: str = "duty_officer") -> None:
        unit.emit(telling.notice(template, case, task.id, task.round, [(task.department, post)]))


def _works(task: Task, department: str) -> bool:
    return task.department == department and not task.desk and not task.over


def _sealed(unit: Unit, task: Task, reason: str) -> bytes:
    return unit.seal("cases.task", task.id, reason)

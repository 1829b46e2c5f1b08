"""The work: dispatch, the departments' tasks, the centre's review."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from kit.errors import InvalidArgument
from kit.unit import Unit
from services.cases import model
from services.cases.model import Assignment, CaseFile, Task
from services.cases.service.assigning import Assigning
from services.cases.service.chain import Chain
from services.cases.service.limits import TASK_CLOCK
from services.cases.service.sealed import seal_note
from services.cases.service.steps import day, of_department, step
from services.cases.store import cases as store
from services.cases.store.cases import Folder


class Handling:
    def __init__(self, chain: Chain):
        self.chain, self.assigning = chain, Assigning(chain)

    # -- dispatch ---------------------------------------------------------------------------------------------------------

    async def dispatch(self, unit: Unit, case_id: UUID, assignments: Sequence[Assignment], etag: str) -> Folder:
        """A task for each. Departments are told and have their own clock; a desk takes its task at the table at once."""
        found = await self.chain.own(unit, case_id, etag)
        case, present = found.case, found.tasks
        kind = self.chain.words.kinds.get(case.kind, unit.today)
        model.check_assignments(assignments, present)
        case = case.dispatch(kind, [one.department for one in assignments if one.department])
        names = await self.assigning.names(unit, case, assignments)
        tasks = [
            self.assigning.task(unit, case, one, name, len(present) + n)
            for n, (one, name) in enumerate(zip(assignments, names, strict=True))
        ]
        await store.TASKS.add_all(unit, tasks)
        steps = [self.assigning.give(unit, case, task) for task in tasks]
        case = await self.chain.save(unit, case, "dispatch", *steps)
        return replace(found, case=case, tasks=[*present, *tasks])

    # -- the departments ----------------------------------------------------------------------------------------------------

    async def sign_in(self, unit: Unit, case_id: UUID, task_id: UUID, etag: str) -> Task:
        found, task = await self.chain.task_for_work(unit, case_id, task_id, etag)
        signed = await store.TASKS.save(unit, task.sign_in(unit.principal.account, unit.now))
        await self.chain.save(unit, found.case, "sign in", step("sign in", of_department(task)))
        return signed

    async def start(self, unit: Unit, case_id: UUID, task_id: UUID, etag: str) -> Task:
        found, task = await self.chain.task_for_work(unit, case_id, task_id, etag)
        started = await store.TASKS.save(unit, task.start())
        await self.chain.save(unit, found.case, "start", step("start", of_department(task)))
        return started

    async def submit(
        self, unit: Unit, case_id: UUID, task_id: UUID, result: str, media_ids: Sequence[str], etag: str
    ) -> Task:
        """The department answers; when all have, the result goes to the centre. InvalidArgument(PHOTO_UNKNOWN)."""
        await self.chain.require_photos(media_ids)
        found, task = await self.chain.task_for_work(unit, case_id, task_id, etag)
        case, tasks = found.case, found.tasks
        sealed = unit.seal("cases.task", task.id, result)
        submitted = await store.TASKS.save(unit, task.submit(sealed, list(media_ids), unit.now, tasks))
        unit.cancel(TASK_CLOCK, task.id)
        steps = [step("submit", of_department(task))]
        what = "submit task"
        if model.all_answered([submitted if one.id == task.id else one for one in tasks]):
            case, what = self.assigning.all_in(unit, case, task, steps), "submit result"
        await self.chain.save(unit, case, what, *steps)
        return submitted

    # -- the centre's review --------------------------------------------------------------------------------------------------

    async def approve(self, unit: Unit, case_id: UUID, note: str, etag: str) -> Folder:
        found = await self.chain.own(unit, case_id, etag)
        case = found.case.approve()
        accepted = [task.accept(unit.now) for task in found.tasks if task.state == model.RESULT_SUBMITTED]
        tasks = await self.save_tasks(unit, found.tasks, accepted)
        said = step("approve", note=seal_note(unit, case.id, note))
        return replace(found, case=await self.chain.save(unit, case, "review", said), tasks=tasks)

    async def send_back(self, unit: Unit, case_id: UUID, task_ids: Sequence[UUID], note: str, etag: str) -> Folder:
        """The named departments, or the lead, work on under the limit of a rework. InvalidArgument(TASK_UNKNOWN)."""
        found = await self.chain.own(unit, case_id, etag)
        case = found.case.send_back()
        tasks = {task.id: task for task in found.tasks if not task.desk and not task.over}
        wanted = task_ids or [task.id for task in tasks.values() if task.lead]
        if not wanted:
            raise InvalidArgument("TASK_UNKNOWN", field="task_ids")
        steps, sent_back = [], []
        for n, task_id in enumerate(wanted):
            if task_id not in tasks:
                raise InvalidArgument("TASK_UNKNOWN", field=f"task_ids[{n}]")
            task = tasks[task_id].send_back(self.chain.limits.new("cases.rework", unit.now))
            sent_back.append(task)
            self.rework(unit, case, task)
            facts = {**of_department(task), "due": day(task.due_at)}
            steps.append(step("send back", facts, note=seal_note(unit, case.id, note)))
        all_tasks = await self.save_tasks(unit, found.tasks, sent_back)
        return replace(found, case=await self.chain.save(unit, case, "send back", *steps), tasks=all_tasks)

    def rework(self, unit: Unit, case: CaseFile, task: Task) -> None:
        """A department is told and its clock runs anew."""
        if not task.desk:
            self.chain.limits.set_clock(unit, task)
            unit.emit(self.assigning.tell(case, task, "cases.rework"))

    async def save_tasks(self, unit: Unit, tasks: Sequence[Task], changed: Sequence[Task]) -> list[Task]:
        """All tasks of the case, with those that were changed as they are now."""
        saved = {task.id: task for task in await store.TASKS.save_all(unit, changed)}
        return [saved.get(task.id, task) for task in tasks]

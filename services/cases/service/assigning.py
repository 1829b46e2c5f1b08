"""Who works on a case: tasks that are given, tasks that are over, and what follows from either."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from kit.errors import InvalidArgument
from kit.events import Event
from kit.unit import Unit
from services.cases import model
from services.cases.model import Assignment, CaseFile, Task
from services.cases.service import telling
from services.cases.service.chain import Chain
from services.cases.service.limits import TASK_CLOCK
from services.cases.service.steps import day, of_department, step
from services.cases.store import cases as store
from services.cases.store import directory
from services.cases.store.cases import Folder, Step


class Assigning:
    def __init__(self, chain: Chain):
        self.chain = chain

    # -- tasks that are given -----------------------------------------------------------------------------------------------

    async def names(
        self, unit: Unit, case: CaseFile, assignments: Sequence[Assignment], where: str = "assignments[{n}]."
    ) -> list[tuple[str, str]]:
        """The names of departments and desks in Chinese and English, in order. InvalidArgument for what the grid or the centre does not have.

        `where`: the place of an assignment in the request, for errors.
        """
        centre = (await self.chain.centres.all(unit))[case.centre]
        wanted = [one.department for one in assignments if one.department]
        departments = await directory.departments(unit, wanted) if wanted else {}
        names = []
        for n, one in enumerate(assignments):
            place = where.format(n=n)
            if one.desk:
                desk = self.chain.words.desks.get(one.desk, unit.today, field=f"{place}desk")
                if centre.level not in desk.levels:
                    raise InvalidArgument("DESK_UNKNOWN", field=f"{place}desk", desk=one.desk)
                names.append((desk.zh, desk.en))
                continue
            department = departments.get(one.department)
            # Departments of the case's own county and of the levels above it.
            if department is None or not _same_line(department.division, case.county):
                raise InvalidArgument("DEPARTMENT_UNKNOWN", field=f"{place}department_id")
            names.append((department.name, department.name_en))
        return names

    def task(self, unit: Unit, case: CaseFile, one: Assignment, names: tuple[str, str], nth: int) -> Task:
        task_id = unit.new_id(nth)
        task = Task(
            id=task_id,
            case_id=case.id,
            centre=case.centre,
            department=one.department or case.centre,
            department_name=names[0],
            department_name_en=names[1],
            desk=one.desk,
            lead=one.lead,
            state=model.DISPATCHED,
            dispatched_at=unit.now,
            **self.chain.limits.new("cases.task", unit.now, one.limit_days).columns(),
            demand=unit.seal("cases.task", task_id, one.demand) if one.demand else None,
        )
        return task.sign_in(unit.principal.account, unit.now).start() if one.desk else task

    async def another(self, unit: Unit, found: Folder, before: Task, one: Assignment) -> Task:
        """A task for another department in place of `before`, which leads if that did. What was asked goes on to it, unless something else is.

        FailedPrecondition(ALREADY_ASSIGNED), InvalidArgument(DEPARTMENT_UNKNOWN).
        """
        model.check_free(one.department, found.tasks)
        one = replace(one, lead=before.lead)
        if not one.demand and before.demand:
            one = replace(one, demand=unit.open("cases.task", before.id, before.demand))
        (names,) = await self.names(unit, found.case, [one], "")
        made = self.task(unit, found.case, one, names, len(found.tasks))
        return replace(made, follows=before.id, refusals=before.refusals)

    def give(self, unit: Unit, case: CaseFile, task: Task, template: str = "cases.dispatched") -> Step:
        """A department is told of its new task, whose clock runs; a desk took it at the table. The step of the timeline."""
        part = self.chain.named("part", "lead" if task.lead else "co")
        facts = {**of_department(task), **part, "days": task.limit_amount, "due": day(task.due_at)}
        if not task.desk:
            self.chain.limits.set_clock(unit, task)
            unit.emit(self.tell(case, task, template))
        return step("dispatch to desk" if task.desk else "dispatch", facts)

    def tell(self, case: CaseFile, task: Task, template: str) -> Event:
        """The duty officer of a task's department is told of its limit."""
        to = [(task.department, "duty_officer")]
        return telling.notice(
            template, case, task.id, task.round, to, due=day(task.due_at), days=str(task.limit_amount)
        )

    # -- tasks that changed ---------------------------------------------------------------------------------------------------

    async def changed(
        self,
        unit: Unit,
        found: Folder,
        what: str,
        steps: list[Step],
        changed: Sequence[Task] = (),
        new: Sequence[Task] = (),
    ) -> Folder:
        """The case after tasks were changed, ended or given: whom it concerns now, and whether the last that was waited for is gone."""
        saved = {task.id: task for task in await store.TASKS.save_all(unit, changed)}
        await store.TASKS.add_all(unit, new)
        tasks = [*(saved.get(task.id, task) for task in found.tasks), *new]
        over = [task for task in changed if task.over]
        for task in over:
            unit.cancel(TASK_CLOCK, task.id)
        case = found.case.held_by(model.holders(tasks))
        departments = [task for task in tasks if not task.desk and not task.over]
        if over and case.state == model.HANDLING and departments and model.all_answered(departments):
            case = self.all_in(unit, case, over[0], steps)
        return replace(found, case=await self.chain.save(unit, case, what, *steps), tasks=tasks)

    def all_in(self, unit: Unit, case: CaseFile, last: Task, steps: list[Step]) -> CaseFile:
        """Every department has answered: the result goes to the centre. `last`: the task with which that came about."""
        steps.append(step("submit result"))
        to = [(case.centre, "dispatcher")]
        unit.emit(telling.notice("cases.result_submitted", case, last.id, last.round, to))
        return case.submit_result()


def _same_line(division: str, county: str) -> bool:
    """Whether a department belongs to the county, to something in it, or to a level above it."""
    return division.startswith(county) or county.startswith(division)

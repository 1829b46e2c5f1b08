"""The work: dispatch, the departments' tasks, the centre's review, the conclusion, the follow-up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from kit.errors import InvalidArgument, NotFound, PermissionDenied
from kit.unit import Unit
from services.cases import model
from services.cases.model import Assignment, CaseFile, Party, Task
from services.cases.service import telling
from services.cases.service.assigning import Assigning
from services.cases.service.chain import Chain
from services.cases.service.limits import CASE_CLOCK, TASK_CLOCK
from services.cases.service.sealed import seal_note
from services.cases.service.steps import both, day, of_department, step
from services.cases.store import cases as store
from services.cases.store.cases import Folder, Step


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
        tasks = await self._save_tasks(unit, found.tasks, accepted)
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
            self._rework(unit, case, task)
            facts = {**of_department(task), "due": day(task.due_at)}
            steps.append(step("send back", facts, note=seal_note(unit, case.id, note)))
        all_tasks = await self._save_tasks(unit, found.tasks, sent_back)
        return replace(found, case=await self.chain.save(unit, case, "send back", *steps), tasks=all_tasks)

    def _rework(self, unit: Unit, case: CaseFile, task: Task) -> None:
        """A department is told and its clock runs anew."""
        if not task.desk:
            self.chain.limits.set_clock(unit, task)
            unit.emit(self.assigning.tell(case, task, "cases.rework"))

    async def _save_tasks(self, unit: Unit, tasks: Sequence[Task], changed: Sequence[Task]) -> list[Task]:
        """All tasks of the case, with those that were changed as they are now."""
        saved = {task.id: task for task in await store.TASKS.save_all(unit, changed)}
        return [saved.get(task.id, task) for task in tasks]

    # -- the conclusion and after ---------------------------------------------------------------------------------------------

    async def conclude(self, unit: Unit, case_id: UUID, outcome: str, note: str, etag: str) -> Folder:
        """Ends the procedure with an outcome. The desks' tasks end with it; one open task of a department refuses it."""
        found = await self.chain.own(unit, case_id, etag)
        before, parties = found.case, found.parties
        kind = self.chain.words.kinds.get(before.kind, unit.today)
        word = self.chain.words.outcomes.get(outcome, unit.today, field="outcome")
        sealed = seal_note(unit, before.id, note)
        case = before.conclude(word, sealed, unit.now, kind, found.tasks, len(parties))
        ended = [task.conclude(unit.now) for task in found.tasks if task.desk and task.running]
        tasks = await self._save_tasks(unit, found.tasks, ended)
        unit.cancel(CASE_CLOCK, case.id)
        steps = [step("conclude", both("outcome", word), note=sealed)]
        if not parties:
            case = case.close(unit.now)
            steps.append(step("close"))
        if word.tells_parties:
            unit.emit(*telling.parties("cases.party_concluded", case, parties, outcome=outcome))
        return replace(found, case=await self.chain.save(unit, case, "conclude", *steps), tasks=tasks)

    async def follow_up(
        self,
        unit: Unit,
        case_id: UUID,
        party_id: UUID,
        contacted: bool,
        solved: str,
        satisfaction: str,
        note: str,
        etag: str,
    ) -> Folder:
        """What one party said. The caller is not of a department that handled the case."""
        if contacted != bool(solved) or (satisfaction and not contacted):
            raise InvalidArgument("ANSWER_MISSING" if contacted else "ANSWER_WITHOUT_CONTACT", field="solved")
        found = await self.chain.own(unit, case_id, etag)
        case = found.case.follow_up()
        if case.handled_by(unit.principal.departments):
            raise PermissionDenied("FOLLOW_UP_BY_HANDLER")
        parties = {party.id: party for party in found.parties}
        party = parties.get(party_id)
        if party is None:
            raise NotFound("NOT_FOUND", resource="party", field="party_id")
        steps = [self._asked(unit, case, party, contacted, solved, satisfaction, note)]
        if contacted:
            party = party.answer(solved, satisfaction, unit.now, unit.today)
        else:
            party = party.not_reached(unit.now, unit.today, self.chain.words.parameters(unit.today).follow_up_tries)
        parties[party.id] = await store.PARTIES.save(unit, party)
        now = replace(found, case=case, parties=list(parties.values()))
        what = model.after_follow_up(case, now.parties) or "follow up"
        if what == "close":
            now = replace(now, case=case.close(unit.now))
            steps.append(step("close"))
        elif what == "reopen":
            now = await self._reopen(unit, now, steps)
        return replace(now, case=await self.chain.save(unit, now.case, what, *steps))

    def _asked(
        self, unit: Unit, case: CaseFile, party: Party, contacted: bool, solved: str, satisfaction: str, note: str
    ) -> Step:
        facts = self.chain.named("role", party.role)
        if contacted:
            facts |= self.chain.named("solved", solved) | self.chain.named("satisfaction", satisfaction or "not_said")
        return step("asked" if contacted else "not reached", facts, note=seal_note(unit, case.id, note))

    async def _reopen(self, unit: Unit, found: Folder, steps: list[Step]) -> Folder:
        """Under the shorter limit; the lead works on, and every party will be asked again."""
        limit = self.chain.limits.new("cases.reopened", unit.now)
        case = found.case.reopen(unit.now, limit)
        parties = [
            await store.PARTIES.save(unit, party.ask_again()) if party.asked_at else party for party in found.parties
        ]
        reworked = [task.send_back(limit) for task in found.tasks if task.lead]
        for task in reworked:
            self._rework(unit, case, task)
        tasks = await self._save_tasks(unit, found.tasks, reworked)
        self.chain.limits.set_clock(unit, case)
        steps.append(step("reopen", {"due": day(limit.due_at)}))
        to = [(case.centre, "dispatcher")]
        unit.emit(telling.notice("cases.reopened", case, case.id, case.round, to, due=day(limit.due_at)))
        return Folder(case, tasks, parties)

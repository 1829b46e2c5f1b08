"""What departments say against their tasks, and what the centre makes of it: returns before sign-in, the director's designation, more time.

The clocks of the case and of the task go on while somebody thinks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar
from uuid import UUID

from kit.errors import FailedPrecondition, InvalidArgument, PermissionDenied, Stale
from kit.unit import Unit
from services.cases import model
from services.cases.model import Assignment, CaseFile, Task, TaskExtension, TaskReturn
from services.cases.service import telling
from services.cases.service.assigning import Assigning
from services.cases.service.chain import Chain
from services.cases.service.sealed import seal_note
from services.cases.service.steps import both, day, of_department, step
from services.cases.store import cases as store
from services.cases.store.cases import Folder

T = TypeVar("T", TaskReturn, TaskExtension)


class Objections:
    def __init__(self, chain: Chain):
        self.chain, self.assigning = chain, Assigning(chain)

    # -- returns (退回) -----------------------------------------------------------------------------------------------------

    async def give_back(self, unit: Unit, case_id: UUID, task_id: UUID, ground: str, note: str, etag: str) -> Task:
        """Before sign-in alone. The dispatcher is told; of a second refusal, by whichever department, the director."""
        found, task = await self.chain.task_for_work(unit, case_id, task_id, etag)
        word = self.chain.words.return_grounds.get(ground, unit.today, field="ground")
        before = await store.returns(unit, [case_id])
        own = [one for one in before if one.department == task.department]
        to_director = bool(own or task.refusals)
        returned = await store.TASKS.save(unit, task.give_back(len(own)))
        sealed = seal_note(unit, case_id, note)
        said = TaskReturn(
            id=unit.new_id(len(before)),
            case_id=case_id,
            task_id=task.id,
            department=task.department,
            ground=ground,
            ground_version=word.version,
            note=sealed,
            returned_by=unit.principal.account,
            returned_at=unit.now,
            to_director=to_director,
        )
        await store.RETURNS.add(unit, said)
        facts = {**of_department(task), **both("ground", word)}
        if to_director:
            asked, template, post = step("return again", facts, note=sealed), "cases.returned_again", "director"
        else:
            asked, template, post = step("return", facts, note=sealed), "cases.returned", "dispatcher"
        to = [(found.case.centre, post)]
        unit.emit(telling.notice(template, found.case, said.id, 1, to, due=day(task.due_at)))
        await self.chain.save(unit, found.case, "return", asked)
        return returned

    async def overrule(self, unit: Unit, case_id: UUID, task_id: UUID, reason: str, etag: str) -> Folder:
        """The department keeps its task, which waits for its sign-in again. InvalidArgument(REASON_MISSING)."""
        found, task = await self.chain.own_task(unit, case_id, task_id, etag)
        if not reason.strip():
            raise InvalidArgument("REASON_MISSING", field="reason")
        kept = task.overrule()
        said = await self._undecided(unit, task, to_director=False)
        sealed = await self._decide(unit, said, model.OVERRULED, reason)
        self._tell_department(unit, found.case, kept, "cases.return_overruled", said.id, due=day(task.due_at))
        steps = [step("overrule return", of_department(task), note=sealed)]
        return await self.assigning.changed(unit, found, "decide return", steps, [kept])

    async def uphold(
        self, unit: Unit, case_id: UUID, task_id: UUID, instead: Assignment | None, reason: str, etag: str
    ) -> Folder:
        """`instead`: the department that has it now; without one nobody needs to do it, which is never so for the lead's task."""
        found, task = await self.chain.own_task(unit, case_id, task_id, etag)
        ends = task.pass_on if instead else task.call_off
        ended = ends(_ended_note(unit, task, reason), unit.now)
        said = await self._undecided(unit, task, to_director=False)
        new = [await self.assigning.another(unit, found, task, instead)] if instead else []
        sealed = await self._decide(unit, said, model.UPHELD, reason)
        self._tell_department(unit, found.case, task, "cases.return_upheld", said.id)
        steps = [step("uphold return", of_department(task), note=sealed)]
        steps += [self.assigning.give(unit, found.case, one) for one in new]
        return await self.assigning.changed(unit, found, "decide return", steps, [ended], new)

    async def designate(
        self, unit: Unit, case_id: UUID, task_id: UUID, department: str, limit_days: int, reason: str, etag: str
    ) -> Folder:
        """The director's word after a second refusal (指定承办): it binds, the same department or another one."""
        found, task = await self.chain.own_task(unit, case_id, task_id, etag)
        kept = task.designate()
        said = await self._undecided(unit, task, to_director=True)
        if department == task.department:
            sealed = await self._decide(unit, said, model.OVERRULED, reason)
            self._tell_department(
                unit, found.case, kept, "cases.designated", said.id, due=day(kept.due_at), days=str(kept.limit_amount)
            )
            steps = [step("designate", of_department(kept), note=sealed)]
            return await self.assigning.changed(unit, found, "designate", steps, [kept])
        one = Assignment(department, "", task.lead, limit_days, "")
        holder = (await self.assigning.another(unit, found, task, one)).bound()
        ended = task.pass_on(_ended_note(unit, task, reason), unit.now)
        sealed = await self._decide(unit, said, model.UPHELD, reason)
        self._tell_department(unit, found.case, task, "cases.return_upheld", said.id)
        steps = [step("designate", of_department(holder), note=sealed)]
        steps.append(self.assigning.give(unit, found.case, holder, "cases.designated"))
        return await self.assigning.changed(unit, found, "designate", steps, [ended], [holder])

    async def _undecided(self, unit: Unit, task: Task, *, to_director: bool) -> TaskReturn:
        """The return that waits. FailedPrecondition: RETURN_FOR_DIRECTOR, RETURN_FOR_DISPATCHER, where somebody else decides on it."""
        returns = await store.returns(unit, [task.case_id])
        said = _waiting(returns, task)
        if said.to_director != to_director:
            raise FailedPrecondition("RETURN_FOR_DIRECTOR" if said.to_director else "RETURN_FOR_DISPATCHER")
        return said

    async def _decide(self, unit: Unit, said: TaskReturn, decision: str, reason: str) -> bytes | None:
        """The reason, sealed, as the timeline keeps it too."""
        sealed = seal_note(unit, said.case_id, reason)
        await store.RETURNS.save(unit, said.decide(decision, sealed, unit.principal.account, unit.now))
        return sealed

    # -- more time (延期) ----------------------------------------------------------------------------------------------------

    async def ask_extension(
        self, unit: Unit, case_id: UUID, task_id: UUID, days: int, reason: str, media_ids: Sequence[str], etag: str
    ) -> Task:
        """`days`: working days. InvalidArgument(PHOTO_UNKNOWN)."""
        await self.chain.require_photos(media_ids)
        found, task = await self.chain.task_for_work(unit, case_id, task_id, etag)
        said_before = await store.extensions(unit, [case_id]) if task.asks else []
        before = [one for one in said_before if one.task_id == task.id]
        granted = [one.days for one in before if one.decision == model.GRANTED]
        most = self.chain.words.parameters(unit.today)
        asked = task.ask_extension(days, granted, most.most_extensions, most.most_extension_days, unit.now)
        for one in before:
            if not one.decision:  # its task was answered, and came back
                await store.EXTENSIONS.save(unit, one.decide(model.LAPSED, None, "", unit.now))
        sealed = seal_note(unit, case_id, reason)
        said = TaskExtension(
            id=unit.new_id(len(before)),
            case_id=case_id,
            task_id=task.id,
            department=task.department,
            days=days,
            reason=sealed,
            media_ids=list(media_ids),
            asked_by=unit.principal.account,
            asked_at=unit.now,
        )
        await store.EXTENSIONS.add(unit, said)
        saved = await store.TASKS.save(unit, asked)
        to = [(found.case.centre, "dispatcher")]
        due = day(task.due_at)
        unit.emit(telling.notice("cases.extension_asked", found.case, said.id, 1, to, due=due, days=str(days)))
        asked_for = step("ask extension", {**of_department(task), "days": days}, note=sealed)
        await self.chain.save(unit, found.case, "ask extension", asked_for)
        return saved

    async def decide_extension(
        self, unit: Unit, case_id: UUID, task_id: UUID, grant: bool, reason: str, etag: str
    ) -> Folder:
        """By somebody of the centre. PermissionDenied: EXTENSION_OWN_REQUEST, EXTENSION_BY_DEPARTMENT for who is not outside the department."""
        found, task = await self.chain.own_task(unit, case_id, task_id, etag)
        if not grant and not reason.strip():
            raise InvalidArgument("REASON_MISSING", field="reason")
        by = unit.principal.account
        version = self.chain.words.parameters(unit.today).version
        decided = task.extend(by, version) if grant else task.refuse_extension()
        asked = await store.extensions(unit, [case_id])
        said = _waiting(asked, task)
        if said.asked_by == by:
            raise PermissionDenied("EXTENSION_OWN_REQUEST")
        if task.department in unit.principal.departments:
            raise PermissionDenied("EXTENSION_BY_DEPARTMENT")
        sealed = seal_note(unit, case_id, reason)
        await store.EXTENSIONS.save(unit, said.decide(model.GRANTED if grant else model.REFUSED, sealed, by, unit.now))
        if grant:
            decided = decided.due_later(self.chain.limits.deadline(decided).due_at)
            self.chain.limits.set_clock(unit, decided)
        due = day(decided.due_at)
        facts = {**of_department(task), "days": said.days, "due": due}
        if grant:
            steps, template = [step("extend", facts, note=sealed)], "cases.extension_granted"
        else:
            steps, template = [step("refuse extension", facts, note=sealed)], "cases.extension_refused"
        self._tell_department(unit, found.case, decided, template, said.id, due=due)
        return await self.assigning.changed(unit, found, "decide extension", steps, [decided])

    def _tell_department(
        self, unit: Unit, case: CaseFile, task: Task, template: str, about: UUID, **variables: str
    ) -> None:
        to = [(task.department, "duty_officer")]
        unit.emit(telling.notice(template, case, about, 1, to, urgent=False, **variables))


def _waiting(said: Sequence[T], task: Task) -> T:
    """The one on which nobody has decided. Stale: somebody has, after the case was read and before these were."""
    for one in said:
        if one.task_id == task.id and not one.decision:
            return one
    raise Stale


def _ended_note(unit: Unit, task: Task, reason: str) -> bytes | None:
    return unit.seal("cases.task", task.id, reason) if reason else None

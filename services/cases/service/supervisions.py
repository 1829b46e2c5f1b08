"""Supervision orders (督办): issued by hand or by a clock, answered in writing by the department's head, released by who issued them.

Without a reply in time an order goes to the next level by itself, once per limit, also after a time without the platform.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from kit.errors import InvalidArgument, NotFound, PermissionDenied
from kit.paging import LAST_ID, Page
from kit.unit import Unit
from services.cases import model
from services.cases.model import CaseFile, Supervision, Task
from services.cases.service import telling
from services.cases.service.chain import Chain
from services.cases.service.limits import SUPERVISION_CLOCK
from services.cases.service.sealed import seal_note
from services.cases.service.steps import day, step
from services.cases.store import cases as store
from services.cases.store import supervisions
from services.cases.store.cases import Folder

#: What an order that comes by itself demands, by the reason of data/texts.
DEMANDS = {True: "demand.task", False: "demand.case"}


@dataclass(frozen=True, slots=True)
class Addressee:
    """Who owes the reply: a department of the case, or its centre. `task`: the one that it is about."""

    department: str
    name: str
    name_en: str
    task: UUID | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """An order as one caller sees it: without demand and reply for who may know the stage of the case alone."""

    order: Supervision
    demand: str
    reply: str


class Supervisions:
    def __init__(self, chain: Chain):
        self.chain = chain

    async def create(
        self, unit: Unit, case_id: UUID, task_id: UUID | None, department: str, level: int, demand: str
    ) -> Opened:
        """FailedPrecondition(MOVE_NOT_ALLOWED) for a case that is over; InvalidArgument for who does not work on it."""
        found = await store.folder_locked(unit, case_id)
        case = found.case
        case.check_supervised()
        centre = await self._centre(unit, case)
        to = _addressee(found, centre, task_id, department)
        if to.department in unit.principal.departments:
            raise PermissionDenied("SUPERVISION_OF_ONESELF")
        issuer = unit.principal.department or unit.principal.account
        order = await self._issue(unit, case, to, level or model.LOWEST, demand, issuer)
        return await self.opened(unit, order)

    async def by_itself(self, unit: Unit, case: CaseFile, task: Task | None, tasks: Sequence[Task]) -> None:
        """A limit ran out and nothing has happened since. Whoever stands under an order in this case already gets no second one."""
        lead = next((one for one in tasks if one.lead and one.waits_for_department), None)
        late = task or (lead if case.state == model.HANDLING else None)
        to = _task(late) if late else await self._centre(unit, case)
        if await supervisions.is_open(unit, case.id, to.department):
            return
        zh, _ = self.chain.runtime.texts.of(DEMANDS[task is not None], {"due": day((task or case).due_at)})
        await self._issue(unit, case, to, model.LOWEST, zh, "")

    async def reply(self, unit: Unit, supervision_id: UUID, text: str, media_ids: Sequence[str], etag: str) -> Opened:
        """By the department that it is addressed to; PermissionDenied(SUPERVISION_FOREIGN) for others who see it."""
        await self.chain.require_photos(media_ids)
        case, order = await self._locked(unit, supervision_id, etag)
        if order.department not in unit.principal.departments:
            raise PermissionDenied("SUPERVISION_FOREIGN")
        sealed = unit.seal("cases.supervision", order.id, text)
        answered = order.answer(sealed, list(media_ids), unit.principal.account, unit.now)
        unit.cancel(SUPERVISION_CLOCK, order.id)
        to, account = ([(order.centre, "director")], "") if order.automatic else ([], order.issued_by)
        unit.emit(self._notice("cases.supervision_replied", case, answered, to, account=account))
        return await self._saved(unit, answered, "reply", "supervision replied")

    async def release(self, unit: Unit, supervision_id: UUID, note: str, etag: str) -> Opened:
        """InvalidArgument(RELEASE_UNEXPLAINED) without a reply and without a reason."""
        case, order = await self._of_issuer(unit, supervision_id, etag)
        if order.state == model.ISSUED and not note.strip():
            raise InvalidArgument("RELEASE_UNEXPLAINED", field="note")
        released = order.release(unit.principal.account, unit.now)
        unit.cancel(SUPERVISION_CLOCK, order.id)
        unit.emit(self._notice("cases.supervision_released", case, released, self._head(released)))
        return await self._saved(unit, released, "release", "supervision released", note)

    async def send_back(self, unit: Unit, supervision_id: UUID, reason: str, etag: str) -> Opened:
        case, order = await self._of_issuer(unit, supervision_id, etag)
        owed = order.send_back(self.chain.limits.new(_rule(order.level), unit.now))
        unit.schedule(SUPERVISION_CLOCK, owed.id, at=owed.due_at)
        unit.emit(self._notice("cases.supervision_sent_back", case, owed, self._head(owed), due=day(owed.due_at)))
        return await self._saved(unit, owed, "send back", "supervision sent back", reason)

    async def late(self, unit: Unit, supervision_id: UUID) -> None:
        """The limit of a reply has passed: the next level, or beyond the highest the record that it is late."""
        case_id = await supervisions.case_id_of(unit, supervision_id)
        if case_id is None:
            return
        case = await store.CASES.get(unit, case_id)
        order = await supervisions.SUPERVISIONS.get(unit, supervision_id)
        if not order.waits or not case.limited:
            return
        if order.due_at > unit.now:
            unit.schedule(SUPERVISION_CLOCK, order.id, at=order.due_at)
            return
        if order.level == model.HIGHEST:
            late = order.late(None)
            unit.emit(
                self._notice("cases.supervision_late", case, late, await self._above(unit, late), level=str(late.level))
            )
            await self._saved(unit, late, "lapse", "supervision late")
            return
        raised = order.late(self.chain.limits.new(_rule(order.level + 1), unit.now))
        unit.schedule(SUPERVISION_CLOCK, raised.id, at=raised.due_at)
        to = [*self._head(raised), *await self._above(unit, raised)]
        unit.emit(self._notice("cases.supervision_raised", case, raised, to, **_urgent(raised)))
        await self._saved(unit, raised, "raise", "supervision raised")

    async def get(self, unit: Unit, supervision_id: UUID) -> Opened:
        return await self.opened(unit, await supervisions.SUPERVISIONS.get(unit, supervision_id))

    async def page(
        self, unit: Unit, request: Any, centre: str, department: str, state: str, case_id: UUID | None
    ) -> tuple[list[Opened], str]:
        page = Page.of(unit, request)
        (before,) = page.after or (LAST_ID,)
        found = await supervisions.page(unit, unit.principal, centre, department, state, case_id, before, page.limit)
        rows, token = page.cut(found, key=lambda order: (order.id,))
        hidden = await supervisions.restricted(unit, [order.case_id for order in rows]) if rows else set()
        return [self._open(unit, order, order.case_id in hidden) for order in rows], token

    async def opened(self, unit: Unit, order: Supervision) -> Opened:
        hidden = await supervisions.restricted(unit, [order.case_id])
        return self._open(unit, order, bool(hidden))

    # -- inside -----------------------------------------------------------------------------------------------------------

    async def _issue(
        self, unit: Unit, case: CaseFile, to: Addressee, level: int, demand: str, issued_for: str
    ) -> Supervision:
        """The order with its number, its clock, its place on the timeline, its event; the head is told at once."""
        order_id = unit.new_id()
        limit = self.chain.limits.new(_rule(level), unit.now)
        order = Supervision(
            id=order_id,
            year=unit.today.year,
            number=await supervisions.next_number(unit, case.centre, unit.today.year),
            centre=case.centre,
            division=case.division,
            county=case.county,
            township=case.township,
            case_id=case.id,
            code=case.code,
            task_id=to.task,
            department=to.department,
            department_name=to.name,
            department_name_en=to.name_en,
            level=level,
            state=model.ISSUED,
            demand=unit.seal("cases.supervision", order_id, demand),
            issued_by=unit.principal.account,
            issued_for=issued_for,
            issued_at=unit.now,
            **limit.columns(),
        )
        await supervisions.SUPERVISIONS.add(unit, order)
        unit.schedule(SUPERVISION_CLOCK, order.id, at=order.due_at)
        store.add_steps(unit, case.id, [step("supervise", _facts(order))])
        unit.emit(telling.supervision_changed(order, "supervise", self.chain.runtime.epoch))
        unit.emit(self._notice("cases.supervision", case, order, self._head(order), **_urgent(order)))
        return order

    async def _saved(self, unit: Unit, order: Supervision, what: str, said: str, note: str = "") -> Opened:
        saved = await supervisions.SUPERVISIONS.save(unit, order)
        sealed = seal_note(unit, order.case_id, note)
        store.add_steps(unit, order.case_id, [step(said, _facts(saved), note=sealed)])
        unit.emit(telling.supervision_changed(saved, what, self.chain.runtime.epoch))
        return await self.opened(unit, saved)

    async def _locked(self, unit: Unit, supervision_id: UUID, etag: str) -> tuple[CaseFile, Supervision]:
        case_id = await supervisions.case_id_of(unit, supervision_id)
        if case_id is None:
            raise NotFound("NOT_FOUND", resource="supervision")
        case = await store.CASES.find(unit, "id = $1", case_id)
        order = await supervisions.SUPERVISIONS.get(unit, supervision_id)
        if case is None:
            raise NotFound("NOT_FOUND", resource="supervision")
        unit.match(etag, order)
        return case, order

    async def _of_issuer(self, unit: Unit, supervision_id: UUID, etag: str) -> tuple[CaseFile, Supervision]:
        """PermissionDenied(SUPERVISION_BY_ISSUER) for who neither issued it nor holds the office that did.

        What came by itself belongs to the case's centre and to who is above it, never to the department that it is addressed to.
        """
        case, order = await self._locked(unit, supervision_id, etag)
        own = unit.principal.departments
        issuer = order.issued_for in own or order.issued_by == unit.principal.account
        if order.department in own or not (issuer or order.automatic):
            raise PermissionDenied("SUPERVISION_BY_ISSUER")
        return case, order

    async def _centre(self, unit: Unit, case: CaseFile) -> Addressee:
        centre = (await self.chain.centres.all(unit))[case.centre]
        return Addressee(centre.id, centre.name, centre.name_en)

    async def _above(self, unit: Unit, order: Supervision) -> list[tuple[str, str]]:
        """Who is told beside the head: of level 2 the centre's director, of level 3 the one of the centre above it too."""
        centre = (await self.chain.centres.all(unit))[order.centre]
        above = [(order.centre, "director")]
        return [*above, (centre.superior, "director")] if order.level == model.HIGHEST and centre.superior else above

    def _head(self, order: Supervision) -> list[tuple[str, str]]:
        return [(order.department, "director" if order.department == order.centre else "head")]

    def _notice(
        self,
        template: str,
        case: CaseFile,
        order: Supervision,
        to: Sequence[tuple[str, str]],
        account: str = "",
        **more: str,
    ) -> Any:
        facts = {"year": str(order.year), "number": str(order.number), **more}
        about = f"{order.id}:{order.round}:{order.sent_back_count}"
        return telling.notice(template, case, about, order.level, to, urgent=True, account=account, **facts)

    def _open(self, unit: Unit, order: Supervision, restricted: bool) -> Opened:
        """Of a restricted case the people of the centre and of the department alone read what is demanded, and who demands it."""
        own = unit.principal.departments
        part = {order.centre, order.department, order.issued_for} & set(own)
        if restricted and not part and not unit.principal.system:
            return Opened(order, "", "")
        reply = unit.open("cases.supervision", order.id, order.reply) if order.reply else ""
        return Opened(order, unit.open("cases.supervision", order.id, order.demand), reply)


def _rule(level: int) -> str:
    return f"cases.supervision.{level}"


def _task(task: Task) -> Addressee:
    return Addressee(task.department, task.department_name, task.department_name_en, task.id)


def _addressee(found: Folder, centre: Addressee, task_id: UUID | None, department: str) -> Addressee:
    """Who is meant: a task's department, one that works on the case, its centre; nobody named: the lead, or the centre where none leads."""
    tasks = [task for task in found.tasks if not task.desk]
    if task_id:
        named = next((task for task in tasks if task.id == task_id), None)
        if named is None or department not in ("", named.department):
            raise InvalidArgument("TASK_FOREIGN", field="task_id")
        return _task(named)
    if department == centre.department:
        return centre
    wanted = [task for task in tasks if (task.department == department if department else task.lead)]
    if not wanted and department:
        raise InvalidArgument("DEPARTMENT_NOT_ON_CASE", field="department_id")
    return _task(wanted[-1]) if wanted else centre


def _urgent(order: Supervision) -> dict[str, str]:
    return {"level": str(order.level), "due": day(order.due_at)}


def _facts(order: Supervision) -> dict[str, object]:
    return {
        "number_zh": order.written,
        "number_en": f"{order.year}/{order.number}",
        "level": order.level,
        "department_zh": order.department_name,
        "department_en": order.department_name_en or order.department_name,
        "due": day(order.due_at),
    }

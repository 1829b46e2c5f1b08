"""How a case ends: the conclusion, what its parties say of it, the performance of their agreement, the closing, and the reopening."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time
from uuid import UUID

from kit.clock import BUSINESS_ZONE
from kit.errors import InvalidArgument, NotFound, PermissionDenied
from kit.unit import Unit
from services.cases import model
from services.cases.model import Agreement, Assignment, CaseFile, Party, Task
from services.cases.service import telling
from services.cases.service.chain import Chain
from services.cases.service.handling import Handling
from services.cases.service.limits import CASE_CLOCK
from services.cases.service.sealed import seal_note
from services.cases.service.steps import both, day, of_department, step
from services.cases.service.suspensions import conclude_suspension
from services.cases.store import cases as store
from services.cases.store.cases import Folder, Step
from services.cases.words import Outcome

#: Fires when the date of performance begins.
PERFORMANCE_CLOCK = "cases.performance"

#: What the dispatcher has to do when a case comes to wait for it: the step of the timeline, and the notice.
DECISIONS = {model.REOPENING: ("to reopen", "cases.to_reopen"), model.EXPLANATION: ("to explain", "cases.to_explain")}


@dataclass(frozen=True, slots=True)
class Conclusion:
    """How a case came out, as it was given. `agreement`: only with an outcome that is one."""

    outcome: str
    note: str
    channel: str
    agreement: NewAgreement | None


@dataclass(frozen=True, slots=True)
class NewAgreement:
    """Either a date of performance, or performed on the spot."""

    terms: str
    perform_by: date | None
    performed: bool


@dataclass(frozen=True, slots=True)
class Answers:
    """What one party said; all empty when it was not reached. Only `solved` must be said."""

    contacted: bool
    in_time: str
    solved: str
    satisfaction: str
    note: str

    def check(self) -> None:
        """InvalidArgument: ANSWER_MISSING, ANSWER_WITHOUT_CONTACT."""
        if self.contacted and not self.solved:
            raise InvalidArgument("ANSWER_MISSING", field="solved")
        for name in ("solved", "in_time", "satisfaction"):
            if getattr(self, name) and not self.contacted:
                raise InvalidArgument("ANSWER_WITHOUT_CONTACT", field=name)


@dataclass(frozen=True, slots=True)
class Found:
    """What was found of the performance. `rest_by`: until when the rest is to be done, with a part alone."""

    state: str
    rest_by: date | None
    note: str
    media_ids: Sequence[str]


class Closing:
    def __init__(self, chain: Chain, handling: Handling):
        self.chain, self.handling = chain, handling

    # -- the conclusion ---------------------------------------------------------------------------------------------------

    async def conclude(self, unit: Unit, case_id: UUID, said: Conclusion, etag: str) -> Folder:
        """Ends the procedure with an outcome. The desks' tasks end with it; one open task of a department refuses it, unless the case is suspended."""
        found = await self.chain.own(unit, case_id, etag)
        before, parties = found.case, found.parties
        kind = self.chain.words.kinds.get(before.kind, unit.today)
        word = self.chain.words.outcomes.get(said.outcome, unit.today, field="outcome")
        note = seal_note(unit, before.id, said.note)
        agreement = self._agreement(unit, before, word, said.agreement) if said.agreement else None
        left = [self._fallen(unit, before, task, said.note) for task in found.tasks]
        case = before.conclude(word, note, said.channel.strip(), agreement, unit.now, kind, left, len(parties))
        case = case.after(parties)
        ended = [task.conclude(unit.now) for task in left if task.desk and task.running]
        ended += [after for after, task in zip(left, found.tasks, strict=True) if after != task]
        tasks = await self.handling.save_tasks(unit, found.tasks, ended)
        unit.cancel(CASE_CLOCK, case.id)
        await conclude_suspension(unit, before)
        steps = [step("conclude", both("outcome", word), note=note)]
        if agreement:
            await store.AGREEMENTS.add(unit, agreement)
            steps.append(self._agreed(unit, agreement))
        if not case.awaits:
            case = case.close(unit.now)
            steps.append(step("close"))
        if word.tells_parties:
            unit.emit(*telling.parties("cases.party_concluded", case, parties, outcome=said.outcome))
        case = await self.chain.save(unit, case, "conclude", *steps)
        return Folder(case, tasks, parties, agreement)

    def _fallen(self, unit: Unit, case: CaseFile, task: Task, note: str) -> Task:
        """Of a suspended case the departments' tasks end with the conclusion."""
        if task.desk or not case.suspended:
            return task
        return task.fall_away(unit.seal("cases.task", task.id, note) if note else None, unit.now)

    def _agreement(self, unit: Unit, case: CaseFile, outcome: Outcome, new: NewAgreement) -> Agreement:
        """InvalidArgument: PERFORM_BY_ONE_OF, PERFORM_BY_RANGE."""
        if (new.perform_by is not None) == new.performed:
            raise InvalidArgument("PERFORM_BY_ONE_OF", field="agreement.perform_by")
        if new.perform_by:
            most = self.chain.words.parameters(unit.today).most_performance_days
            model.check_performance_day(new.perform_by, unit.today, most, "agreement.perform_by")
        agreement_id = unit.new_id()
        return Agreement(
            id=agreement_id,
            case_id=case.id,
            form=outcome.agreement,
            terms=unit.seal("cases.agreement", agreement_id, new.terms),
            agreed_at=unit.now,
            perform_by=new.perform_by,
            state=model.PERFORMED if new.performed else model.NOT_DUE,
            recorded_by=unit.principal.account if new.performed else "",
            recorded_at=unit.now if new.performed else None,
        )

    def _agreed(self, unit: Unit, agreement: Agreement) -> Step:
        if agreement.perform_by is None:
            return step("agreement performed")
        unit.schedule(PERFORMANCE_CLOCK, agreement.case_id, at=_begins(agreement.perform_by))
        return step("agreement", {"due": agreement.perform_by})

    # -- the follow-up ----------------------------------------------------------------------------------------------------

    async def follow_up(self, unit: Unit, case_id: UUID, party_id: UUID, said: Answers, etag: str) -> Folder:
        """What one party said. The caller is not of a department that handled the case."""
        said.check()
        found = await self.chain.own(unit, case_id, etag)
        found = replace(found, case=found.case.follow_up())
        _check_no_handler(unit, found.case)
        parties = {party.id: party for party in found.parties}
        party = parties.get(party_id)
        if party is None:
            raise NotFound("NOT_FOUND", resource="party", field="party_id")
        parties[party.id] = await store.PARTIES.save(unit, self._asked(unit, party, said))
        steps = [self._asked_step(unit, found.case, party, said)]
        return await self._after(unit, replace(found, parties=list(parties.values())), "follow up", steps)

    def _asked(self, unit: Unit, party: Party, said: Answers) -> Party:
        if said.contacted:
            return party.answer(said.in_time, said.solved, said.satisfaction, unit.now, unit.today)
        rules = self.chain.words.parameters(unit.today)
        return party.not_reached(unit.now, unit.today, rules.follow_up_tries, rules.follow_up_calls)

    def _asked_step(self, unit: Unit, case: CaseFile, party: Party, said: Answers) -> Step:
        facts = self.chain.named("role", party.role)
        if said.contacted:
            facts |= self.chain.named("solved", said.solved)
            facts |= self.chain.named("satisfaction", said.satisfaction or "not_said")
            facts |= self.chain.named("in_time", said.in_time) if said.in_time else {}
        return step("asked" if said.contacted else "not reached", facts, note=seal_note(unit, case.id, said.note))

    # -- the performance --------------------------------------------------------------------------------------------------

    async def record_performance(self, unit: Unit, case_id: UUID, what: Found, etag: str) -> Folder:
        """What the centre found of the agreement's performance, before or at the second follow-up, or after the closing.

        InvalidArgument(PHOTO_UNKNOWN), FailedPrecondition: MOVE_NOT_ALLOWED, AGREEMENT_NONE.
        """
        await self.chain.require_photos(what.media_ids)
        found = await self.chain.own(unit, case_id, etag)
        _check_no_handler(unit, found.case)
        found.case.check_agreement()
        agreement = found.agreement
        assert agreement is not None
        note = unit.seal("cases.agreement", agreement.id, what.note) if what.note else None
        by = unit.principal.account
        recorded = agreement.record(what.state, what.rest_by, note, list(what.media_ids), by, unit.now, unit.today)
        case = found.case.record_performance(recorded)
        if what.rest_by:
            most = self.chain.words.parameters(unit.today).most_performance_days
            model.check_performance_day(what.rest_by, unit.today, most, "perform_by")
            unit.schedule(PERFORMANCE_CLOCK, case.id, at=_begins(what.rest_by))
        else:
            unit.cancel(PERFORMANCE_CLOCK, case.id)
        recorded = await store.AGREEMENTS.save(unit, recorded)
        steps = [_performance_step(recorded, seal_note(unit, case.id, what.note))]
        found = replace(found, case=case, agreement=recorded)
        return await self._after(unit, found, "record performance", steps)

    async def performance_due(self, unit: Unit, case_id: UUID) -> None:
        """The date has come: the second follow-up is due, and the centre is told once. Nothing for what was performed or reopened meanwhile."""
        found = await store.folder_locked(unit, case_id)
        case, agreement = found.case, found.agreement
        if case.state != model.FOLLOW_UP or case.performance not in model.UNPERFORMED or case.performance_due:
            return
        if agreement is None or agreement.perform_by is None or unit.now < _begins(agreement.perform_by):
            return
        due = agreement.perform_by.isoformat()
        case = case.fall_due()
        to = [(case.centre, "follow_up"), (case.centre, "dispatcher")]
        unit.emit(telling.notice("cases.performance_due", case, agreement.id, agreement.version, to, due=due))
        steps = [step("performance due", {"due": due})]
        await self._after(unit, replace(found, case=case), "performance due", steps)

    # -- after it ---------------------------------------------------------------------------------------------------------

    async def _after(self, unit: Unit, found: Folder, what: str, steps: list[Step]) -> Folder:
        """Where the case stands after something was said of it: it waits, or it is closed. Who comes to decide is told."""
        before, case = found.case.awaits, found.case.after(found.parties)
        if case.state == model.FOLLOW_UP and not case.awaits:
            case, what = case.close(unit.now), "close"
            steps.append(step("close"))
        elif case.awaits in DECISIONS and case.awaits != before:
            said, template = DECISIONS[case.awaits]
            steps.append(step(said))
            unit.emit(telling.notice(template, case, case.id, case.version, [(case.centre, "dispatcher")]))
        return replace(found, case=await self.chain.save(unit, case, what, *steps))

    async def close(self, unit: Unit, case_id: UUID, explanation: str, etag: str) -> Folder:
        """Solved, and a party that is not content was told why it stands so (解释结案)."""
        found = await self.chain.own(unit, case_id, etag)
        sealed = seal_note(unit, case_id, explanation)
        case = found.case.close_explained(sealed, found.parties, unit.now)
        steps = [step("close explained", note=sealed)]
        return replace(found, case=await self.chain.save(unit, case, "close", *steps))

    async def reopen(
        self, unit: Unit, case_id: UUID, ground: str, note: str, lead: Assignment | None, etag: str
    ) -> Folder:
        """Under the shorter limit; the lead, or another one, works on, and every party will be asked again."""
        found = await self.chain.own(unit, case_id, etag)
        word = self.chain.words.reopen_grounds.get(ground, unit.today, field="ground")
        limit = self.chain.limits.new("cases.reopened", unit.now)
        case = found.case.reopen(
            word,
            found.parties,
            unit.now,
            limit,
            noted=bool(note.strip()),
            most=self.chain.words.parameters(unit.today).most_reopenings,
            beyond=unit.principal.may("cases.cases.reopenBeyond"),
        )
        unit.cancel(PERFORMANCE_CLOCK, case.id)
        parties = [
            await store.PARTIES.save(unit, party.ask_again()) if party.asked_at else party for party in found.parties
        ]
        facts = {"why_zh": f"：{word.zh}", "why_en": f": {word.en}", "due": day(limit.due_at)}
        steps = [step("reopen", facts, note=seal_note(unit, case.id, note))]
        case, tasks = await self._worked_on(unit, replace(found, case=case), lead, steps)
        self.chain.limits.set_clock(unit, case)
        to = [(case.centre, "dispatcher")]
        due = day(limit.due_at)
        unit.emit(telling.notice("cases.reopened", case, case.id, case.round, to, due=due, reopen_ground=word.code))
        return Folder(await self.chain.save(unit, case, "reopen", *steps), tasks, parties)

    async def _worked_on(
        self, unit: Unit, found: Folder, lead: Assignment | None, steps: list[Step]
    ) -> tuple[CaseFile, list[Task]]:
        """The lead has its task back. With another lead that one has it, and the former is a co-handler whose part is done."""
        case, tasks = found.case, found.tasks
        if lead and bool(lead.department) == bool(lead.desk):
            raise InvalidArgument("ASSIGNEE_ONE_OF", field="lead.department_id")
        limit = self.chain.limits.new("cases.reopened", unit.now, lead.limit_days if lead else 0)
        former = next((task for task in tasks if task.lead), None)
        present = next((task for task in tasks if lead and _is_for(task, lead)), None) if lead else former
        changed = []
        if former and present is not former:
            changed.append(former.yield_lead())
        if present:
            reworked = replace(present.send_back(limit), lead=True)
            if lead and lead.demand:
                reworked = replace(reworked, demand=unit.seal("cases.task", present.id, lead.demand))
            changed.append(reworked)
            self.handling.rework(unit, case, reworked)
            if present is not former:
                steps.append(step("take the lead", of_department(present)))
        tasks = await self.handling.save_tasks(unit, tasks, changed)
        if lead and not present:
            case, task = await self._given(unit, found, lead, steps)
            tasks.append(task)
        return case, tasks

    async def _given(self, unit: Unit, found: Folder, lead: Assignment, steps: list[Step]) -> tuple[CaseFile, Task]:
        """A department that had no part in the case so far leads it."""
        assigning, case = self.handling.assigning, found.case
        (names,) = await assigning.names(unit, case, [lead], "lead.")
        task = assigning.task(unit, case, lead, names, len(found.tasks))
        await store.TASKS.add_all(unit, [task])
        steps.append(assigning.give(unit, case, task))
        kind = self.chain.words.kinds.get(case.kind, unit.today)
        return case.dispatch(kind, [lead.department] if lead.department else []), task


def _is_for(task: Task, lead: Assignment) -> bool:
    """Whether a task that goes on is the named department's, or the named desk's."""
    return not task.over and task.desk == lead.desk and (bool(lead.desk) or task.department == lead.department)


def _check_no_handler(unit: Unit, case: CaseFile) -> None:
    """PermissionDenied(FOLLOW_UP_BY_HANDLER): nobody asks after the work of their own department."""
    if case.handled_by(unit.principal.departments):
        raise PermissionDenied("FOLLOW_UP_BY_HANDLER")


def _performance_step(agreement: Agreement, note: bytes | None) -> Step:
    match agreement.state:
        case model.PERFORMED:
            return step("performed", note=note)
        case model.PARTLY_PERFORMED:
            return step("partly performed", {"due": agreement.perform_by}, note=note)
    return step("in default", note=note)


def _begins(day: date) -> datetime:
    """When a day begins where the work is done."""
    return datetime.combine(day, time(), BUSINESS_ZONE)

"""The front: registration, parties, the decision on acceptance, classification."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from hetao.cases.v1 import events_pb2
from kit.clock import CLOCK_SKEW, business_date
from kit.errors import InvalidArgument, PermissionDenied
from kit.unit import Unit
from services.cases import model
from services.cases.model import CaseFile, Centre, Classification
from services.cases.service import telling
from services.cases.service.chain import Chain
from services.cases.service.limits import CASE_CLOCK, SUPPLEMENT_CLOCK
from services.cases.service.newcase import Handover, NewCase, NewParty, Registered
from services.cases.service.orders import Order, Orders, brought, missing_kind
from services.cases.service.parties import Parties
from services.cases.service.receiving import check_desk
from services.cases.service.sealed import seal_content, seal_note
from services.cases.service.steps import both, day, of_centre, step
from services.cases.store import cases as store
from services.cases.store import orders
from services.cases.store.cases import Folder, Step
from services.cases.words import Word


class Intake:
    def __init__(self, chain: Chain, orders: Orders):
        self.chain, self.orders, self.parties = chain, orders, Parties(chain)

    async def create(self, unit: Unit, new: NewCase, order: Order, way: str) -> Registered:
        """InvalidArgument for a division that does not exist, an unknown photo or category, a time in the future, a wrong number of a party.

        `order`: what another system says of its order; `way`: what the caller says of the source, or "".
        """
        if (new.accept or new.transfer_to) and not unit.principal.may("cases.cases.accept"):
            raise PermissionDenied("PERMISSION_MISSING", permission="cases.cases.accept")
        if new.accept and new.transfer_to:
            raise InvalidArgument("ACCEPT_OR_TRANSFER", field="transfer_to")
        new, order = self.orders.placed(unit, new, order, way)
        if new.occurred_at and new.occurred_at > unit.now + CLOCK_SKEW:
            raise InvalidArgument("TIME_IN_FUTURE", field="occurred_at")
        await self.chain.require_photos(new.media_ids)
        responsible = await self._responsible(unit, new.division)
        if not unit.principal.covers(new.division):
            raise PermissionDenied("DIVISION_FOREIGN", field="division", division=new.division)
        # The caller's own centre where its area holds the division.
        own = (await self.chain.centres.all(unit)).get(unit.principal.department)
        centre = own if own and new.division.startswith(own.division) else responsible
        missing_kind(new)
        kind = self.chain.words.kinds.get(new.kind, unit.today, field="kind")
        check_desk(self.chain, unit, centre, new.desk)
        case_id = unit.new_id()
        if order:
            first = await self.orders.claim(unit, case_id, order, brought(new, order))
            if first != case_id:
                return Registered(await store.folder_told(unit, first), (), existing=True)
        facts = {**of_centre(centre), **both("kind", kind), **self.chain.named("source", new.source)}
        registered = await self._register(unit, new, centre, [step("register", facts)], case_id=case_id, order=order)
        if order:
            case, to = registered.folder.case, [(centre.id, "dispatcher")]
            unit.emit(telling.notice("cases.order_registered", case, case.id, case.round, to, due=day(case.due_at)))
            await orders.changed(unit, case.id, order.system)
        return registered

    async def from_handover(self, unit: Unit, new: NewCase, handover: Handover) -> CaseFile:
        """The case of a grid's hand-over: once, at the centre that it was handed to. The report's history opens its timeline."""
        centre = (await self.chain.centres.all(unit)).get(handover.centre)
        centre = centre or await self._responsible(unit, new.division)
        steps = [*handover.history, step("hand over", of_centre(centre))]
        case = (await self._register(unit, new, centre, steps, handover)).folder.case
        to = [(centre.id, "dispatcher")]
        unit.emit(telling.notice("cases.registered", case, case.id, case.round, to, due=day(case.due_at)))
        return case

    async def _register(
        self,
        unit: Unit,
        new: NewCase,
        centre: Centre,
        steps: list[Step],
        handover: Handover | None = None,
        *,
        case_id: UUID | None = None,
        order: Order | None = None,
    ) -> Registered:
        """The case with its parties, timeline, clock and event. `steps`: what its timeline begins with."""
        case = await self._case(unit, case_id or unit.new_id(), new, centre, handover, order or Order())
        case, what = self._classified(unit, case, new.classification, steps), "register"
        if new.accept:
            case, what = self._accepted(case, unit.now, steps), "accept"
        if new.transfer_to:
            case, what = self._transferred(unit, case, new.transfer_to, new.transfer_note, steps), "transfer"
        parties, pins = self.parties.rows(unit, case.id, new.parties, [])
        pairs = self.parties.pairs(unit, new.parties)
        duplicates = await self._duplicates(unit, case, [key for keys in pairs for key in keys])
        await store.CASES.add(unit, case)
        await store.PARTIES.add_all(unit, parties)
        store.add_pairs(unit, case.id, [current for current, *_ in pairs])
        store.add_steps(unit, case.id, steps)
        if case.running:
            self.chain.limits.set_clock(unit, case)
        unit.emit(telling.case_changed(case, what, self.chain.runtime.epoch))
        return Registered(Folder(case, (), parties), pins, duplicates)

    async def add_party(self, unit: Unit, case_id: UUID, new: NewParty, etag: str) -> tuple[Folder, str]:
        """The case, the new party last, and its PIN."""
        found = await self.chain.own(unit, case_id, etag)
        case, present = found.case, found.parties
        case.check_running("add party")
        given = [self.parties.given(unit, party) for party in present]
        parties, pins = self.parties.rows(unit, case.id, [new], present)
        await store.PARTIES.add_all(unit, parties)
        old_pairs = {current for current, *_ in self.parties.pairs(unit, given)}
        new_pairs = {current for current, *_ in self.parties.pairs(unit, [*given, new])} - old_pairs
        if new_pairs:
            store.add_pairs(unit, case.id, sorted(new_pairs))
        case = await self.chain.save(unit, case, "attach", step("add party", self.chain.named("role", new.role)))
        return replace(found, case=case, parties=[*present, *parties]), pins[0]

    # -- the decision -----------------------------------------------------------------------------------------------------

    async def accept(self, unit: Unit, case_id: UUID, classification: Classification, etag: str) -> Folder:
        found = await self.chain.own(unit, case_id, etag)
        steps: list[Step] = []
        case = self._accepted(self._classified(unit, found.case, classification, steps), unit.now, steps)
        self.chain.limits.set_clock(unit, case)
        self._answer(unit, case, events_pb2.HANDOVER_ANSWER_ACCEPTED)
        self._tell_answered(unit, case)
        return replace(found, case=await self.chain.save(unit, case, "accept", *steps))

    async def refuse(self, unit: Unit, case_id: UUID, ground: str, channel: str, etag: str) -> Folder:
        word = self.chain.words.grounds.get(ground, unit.today, field="ground")
        found = await self.chain.own(unit, case_id, etag)
        case = found.case.refuse(word, channel, unit.now)
        self._stop(unit, case)
        self._answer(unit, case, events_pb2.HANDOVER_ANSWER_REFUSED, ground, word)
        self._tell_answered(unit, case)
        applicants = [party for party in found.parties if party.role == "applicant"]
        unit.emit(*telling.parties("cases.party_not_accepted", case, applicants, ground=ground))
        said = step("refuse", {**both("ground", word), "channel": channel})
        return replace(found, case=await self.chain.save(unit, case, "refuse", said))

    async def transfer(self, unit: Unit, case_id: UUID, number: str, note: str, etag: str) -> Folder:
        found = await self.chain.own(unit, case_id, etag)
        steps: list[Step] = []
        case = self._transferred(unit, found.case, number, note, steps)
        self._stop(unit, case)
        self._answer(unit, case, events_pb2.HANDOVER_ANSWER_TRANSFERRED, number)
        self._tell_answered(unit, case)
        return replace(found, case=await self.chain.save(unit, case, "transfer", *steps))

    async def classify(self, unit: Unit, case_id: UUID, said: Classification, etag: str) -> Folder:
        """A new complexity gives an accepted case the limit that belongs to it, counted from its acceptance; not after a reopening."""
        found = await self.chain.own(unit, case_id, etag)
        steps: list[Step] = []
        case = self._classified(unit, found.case, said, steps)
        if case.accepted_at and not case.reopened_count:
            kind = self.chain.words.kinds.get(case.kind, unit.today)
            limit = self.chain.limits.new(kind.rule(case.complexity), case.accepted_at, pauses=case.pauses)
            if limit.rule != case.limit_rule:
                case = case.relimited(limit)
                self.chain.limits.set_clock(unit, case)
        return replace(found, case=await self.chain.save(unit, case, "classify", *steps))

    # -- inside -----------------------------------------------------------------------------------------------------------

    async def _responsible(self, unit: Unit, division: str) -> Centre:
        responsible = await self.chain.centres.responsible(unit, division)
        if responsible is None:
            raise InvalidArgument("DIVISION_UNKNOWN", field="division", division=division)
        return responsible

    async def _case(
        self, unit: Unit, case_id: UUID, new: NewCase, centre: Centre, handover: Handover | None, order: Order
    ) -> CaseFile:
        county, township = new.division[:6], new.division[:9] if len(new.division) > 6 else ""
        content = {"title": new.title, "description": new.description, "place": new.place}
        case = CaseFile(
            id=case_id,
            code=await self.chain.codes.new(unit, county),
            kind=new.kind,
            source=new.source,
            state=model.REGISTERED,
            division=new.division,
            county=county,
            township=township,
            community=new.division if len(new.division) == 12 else "",
            centre=centre.id,
            content=seal_content(unit, case_id, content),
            registered_by="" if handover else unit.principal.account,
            registered_at=unit.now,
            **self.chain.limits.new("cases.accept", unit.now).columns(),
            media_ids=list(new.media_ids),
            occurred_at=new.occurred_at,
            handover_id=handover.id if handover else None,
            report_id=handover.report_id if handover else None,
            reporter=handover.reporter if handover else "",
            source_system=order.system,
            external_id=order.external_id,
        )
        here = centre.id in unit.principal.departments
        return case.receive(unit.principal.account, new.desk) if here else case

    async def _duplicates(self, unit: Unit, case: CaseFile, pairs: Sequence[bytes]) -> Sequence[CaseFile]:
        """Recent cases of the same parties. What the caller could not open is not hinted at: that it is there would tell of its parties."""
        if not pairs:
            return ()
        parameters = self.chain.words.parameters(unit.today)
        since = unit.now - timedelta(days=parameters.duplicate_days)
        found = await store.duplicates(unit, case, pairs, since)
        seen = [one for one in found if store.view(unit.principal, one) == store.FULL]
        return seen[: parameters.most_duplicates]

    def _classified(self, unit: Unit, case: CaseFile, said: Classification, steps: list[Step]) -> CaseFile:
        if said == Classification():
            return case
        words, field = self.chain.words, "classification.category"
        category = words.categories.get(said.category, unit.today, field=field) if said.category else None
        classified = case.classify(said, category)
        found = [
            category,
            words.scales.find(said.scale, unit.today),
            words.risks.find(said.risk, unit.today),
            words.complexities.find(said.complexity, unit.today),
        ]
        told = [word for word in found if word]
        if told:
            said_zh, said_en = "、".join(word.zh for word in told), ", ".join(word.en for word in told)
            steps.append(step("classify", {"said_zh": said_zh, "said_en": said_en}))
        return classified

    def _accepted(self, case: CaseFile, at: datetime, steps: list[Step]) -> CaseFile:
        kind = self.chain.words.kinds.get(case.kind, business_date(at))
        limit = self.chain.limits.new(kind.rule(case.complexity), at)
        steps.append(step("accept", {"due": day(limit.due_at)}))
        return case.accept(at, limit)

    def _transferred(self, unit: Unit, case: CaseFile, number: str, note: str, steps: list[Step]) -> CaseFile:
        steps.append(step("transfer", {"number": number}, note=seal_note(unit, case.id, note)))
        return case.transfer(number, unit.now)

    def _stop(self, unit: Unit, case: CaseFile) -> None:
        """The applicant has her answer, and the case ends with it."""
        unit.cancel(CASE_CLOCK, case.id)
        unit.cancel(SUPPLEMENT_CLOCK, case.id)

    def _tell_answered(self, unit: Unit, case: CaseFile) -> None:
        """Who received it first learns that others have answered: it is hers no longer."""
        unit.emit(*telling.to_first_receiver("cases.first_answered", case, "answer", unit.principal.account))

    def _answer(self, unit: Unit, case: CaseFile, answer: int, reason: str = "", ground: Word | None = None) -> None:
        """The grid learns what became of its hand-over."""
        if case.handover_id:
            unit.emit(telling.handover_answered(case, answer, reason, unit.principal.account, unit.now, ground))

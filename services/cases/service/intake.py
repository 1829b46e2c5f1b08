"""The front: registration, parties, the decision on acceptance, classification."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from uuid import UUID

import orjson

from hetao.cases.v1 import events_pb2
from kit.clock import CLOCK_SKEW, business_date
from kit.errors import FailedPrecondition, InvalidArgument, PermissionDenied
from kit.identifiers import is_credit_code, is_phone, is_resident_id
from kit.sealing import canonical
from kit.unit import Unit
from services.cases import model
from services.cases.model import CaseFile, Centre, Classification, Party
from services.cases.service import telling
from services.cases.service.chain import Chain
from services.cases.service.limits import CASE_CLOCK
from services.cases.service.sealed import seal_content, seal_note
from services.cases.service.steps import both, day, of_centre, step
from services.cases.store import cases as store
from services.cases.store.cases import Folder, Step
from services.cases.words import Word


@dataclass(frozen=True, slots=True)
class NewParty:
    """A party as it was given. `field`: where in the request, for errors."""

    role: str
    type: str
    name: str
    id_number: str
    phone: str
    field: str


@dataclass(frozen=True, slots=True)
class Handover:
    """The grid's hand-over that a case comes from. `centre`: whom it was handed to; `reporter`: account of the worker whose report it was."""

    id: UUID
    report_id: UUID
    centre: str
    reporter: str
    history: Sequence[Step]


@dataclass(frozen=True, slots=True)
class NewCase:
    """A matter as it was given."""

    kind: str
    source: str
    division: str
    title: str
    description: str
    place: str
    occurred_at: datetime | None
    media_ids: Sequence[str]
    parties: Sequence[NewParty] = ()
    classification: Classification = field(default_factory=Classification)
    accept: bool = False


@dataclass(frozen=True, slots=True)
class Registered:
    """What came of a registration. `pins`: in the order of the parties. `duplicates`: perhaps the same quarrel, the newest first."""

    folder: Folder
    pins: Sequence[str]
    duplicates: Sequence[CaseFile] = ()


class Intake:
    def __init__(self, chain: Chain):
        self.chain = chain

    async def create(self, unit: Unit, new: NewCase) -> Registered:
        """InvalidArgument for a division that does not exist, an unknown photo or category, a time in the future, a wrong number of a party."""
        if new.accept and not unit.principal.may("cases.cases.accept"):
            raise PermissionDenied("PERMISSION_MISSING", permission="cases.cases.accept")
        if new.occurred_at and new.occurred_at > unit.now + CLOCK_SKEW:
            raise InvalidArgument("TIME_IN_FUTURE", field="occurred_at")
        await self.chain.require_photos(new.media_ids)
        responsible = await self._responsible(unit, new.division)
        if not unit.principal.covers(new.division):
            raise PermissionDenied("DIVISION_FOREIGN", field="division", division=new.division)
        # The caller's own centre where its area holds the division.
        own = (await self.chain.centres.all(unit)).get(unit.principal.department)
        centre = own if own and new.division.startswith(own.division) else responsible
        kind = self.chain.words.kinds.get(new.kind, unit.today, field="kind")
        facts = {**of_centre(centre), **both("kind", kind), **self.chain.named("source", new.source)}
        return await self._register(unit, new, centre, [step("register", facts)])

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
        self, unit: Unit, new: NewCase, centre: Centre, steps: list[Step], handover: Handover | None = None
    ) -> Registered:
        """The case with its parties, timeline, clock and event. `steps`: what its timeline begins with."""
        case = await self._case(unit, new, centre, handover)
        case = self._classified(unit, case, new.classification, steps)
        if new.accept:
            case = self._accepted(case, unit.now, steps)
        parties, pins = self._parties(unit, case.id, new.parties, [])
        pairs = self._pairs(unit, new.parties)
        duplicates = await self._duplicates(unit, case, [key for keys in pairs for key in keys])
        await store.CASES.add(unit, case)
        await store.PARTIES.add_all(unit, parties)
        store.add_pairs(unit, case.id, [current for current, *_ in pairs])
        store.add_steps(unit, case.id, steps)
        self.chain.limits.set_clock(unit, case)
        unit.emit(telling.case_changed(case, "accept" if new.accept else "register", self.chain.runtime.epoch))
        return Registered(Folder(case, (), parties), pins, duplicates)

    async def add_party(self, unit: Unit, case_id: UUID, new: NewParty, etag: str) -> tuple[Folder, str]:
        """The case, the new party last, and its PIN."""
        found = await self.chain.own(unit, case_id, etag)
        case, present = found.case, found.parties
        if not case.running:
            raise FailedPrecondition("MOVE_NOT_ALLOWED", state=case.state, action="add party")
        given = [self._given(unit, party) for party in present]
        parties, pins = self._parties(unit, case.id, [new], present)
        await store.PARTIES.add_all(unit, parties)
        old_pairs = {current for current, *_ in self._pairs(unit, given)}
        new_pairs = {current for current, *_ in self._pairs(unit, [*given, new])} - old_pairs
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
        return replace(found, case=await self.chain.save(unit, case, "accept", *steps))

    async def refuse(self, unit: Unit, case_id: UUID, ground: str, channel: str, etag: str) -> Folder:
        word = self.chain.words.grounds.get(ground, unit.today, field="ground")
        found = await self.chain.own(unit, case_id, etag)
        case = found.case.refuse(ground, channel, unit.now)
        unit.cancel(CASE_CLOCK, case.id)
        self._answer(unit, case, events_pb2.HANDOVER_ANSWER_REFUSED, ground, word)
        said = step("refuse", {**both("ground", word), "channel": channel})
        return replace(found, case=await self.chain.save(unit, case, "refuse", said))

    async def transfer(self, unit: Unit, case_id: UUID, number: str, note: str, etag: str) -> Folder:
        found = await self.chain.own(unit, case_id, etag)
        case = found.case.transfer(number, unit.now)
        unit.cancel(CASE_CLOCK, case.id)
        self._answer(unit, case, events_pb2.HANDOVER_ANSWER_TRANSFERRED, number)
        said = step("transfer", {"number": number}, note=seal_note(unit, case.id, note))
        return replace(found, case=await self.chain.save(unit, case, "transfer", said))

    async def classify(self, unit: Unit, case_id: UUID, said: Classification, etag: str) -> Folder:
        """A new complexity gives an accepted case the limit that belongs to it, counted from its acceptance; not after a reopening."""
        found = await self.chain.own(unit, case_id, etag)
        steps: list[Step] = []
        case = self._classified(unit, found.case, said, steps)
        if case.accepted_at and not case.reopened_count:
            kind = self.chain.words.kinds.get(case.kind, unit.today)
            limit = self.chain.limits.new(kind.rule(case.complexity), case.accepted_at)
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

    async def _case(self, unit: Unit, new: NewCase, centre: Centre, handover: Handover | None) -> CaseFile:
        case_id = unit.new_id()
        county, township = new.division[:6], new.division[:9] if len(new.division) > 6 else ""
        content = {"title": new.title, "description": new.description, "place": new.place}
        return CaseFile(
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
        )

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

    def _answer(self, unit: Unit, case: CaseFile, answer: int, reason: str = "", ground: Word | None = None) -> None:
        """The grid learns what became of its hand-over."""
        if case.handover_id:
            unit.emit(telling.handover_answered(case, answer, reason, unit.principal.account, unit.now, ground))

    # -- parties ----------------------------------------------------------------------------------------------------------

    def _parties(
        self, unit: Unit, case_id: UUID, new: Sequence[NewParty], present: Sequence[Party]
    ) -> tuple[list[Party], list[str]]:
        """Rows and PINs. Each PIN differs from the others of the case, since it tells the parties apart."""
        most = self.chain.words.parameters(unit.today).most_parties
        if len(present) + len(new) > most:
            raise FailedPrecondition("PARTIES_FULL", most=most)
        taken = {party.pin for party in present}
        numbers = {self._given(unit, party).id_number for party in present} - {""}
        parties: list[Party] = []
        pins: list[str] = []
        for one in new:
            identity = self._checked(one)
            if identity["id_number"] and identity["id_number"] in numbers:
                raise InvalidArgument("PARTY_TWICE", field=f"{one.field}.id_number")
            numbers |= {identity["id_number"]} - {""}
            pin, digest = self._pin(unit, case_id, taken)
            taken.add(digest)
            party_id = unit.new_id(len(present) + len(parties))
            sealed = unit.seal("cases.party", party_id, orjson.dumps(identity).decode())
            parties.append(Party(party_id, case_id, one.role, one.type, sealed, digest))
            pins.append(pin)
        return parties, pins

    def _checked(self, one: NewParty) -> dict[str, str]:
        """Name, number and telephone in the form that is kept; InvalidArgument where they are wrong."""
        number = one.id_number.upper()
        if number and not (is_resident_id(number) if one.type == "natural_person" else is_credit_code(number)):
            raise InvalidArgument("ID_NUMBER_INVALID", field=f"{one.field}.id_number")
        phone = canonical(one.phone)
        if phone and not is_phone(phone):
            raise InvalidArgument("PHONE_INVALID", field=f"{one.field}.phone")
        return {"name": one.name.strip(), "id_number": number, "phone": phone}

    def _given(self, unit: Unit, party: Party) -> NewParty:
        identity = orjson.loads(unit.open("cases.party", party.id, party.identity))
        return NewParty(party.role, party.type, identity["name"], identity["id_number"], identity["phone"], "")

    def _pin(self, unit: Unit, case_id: UUID, taken: set[bytes]) -> tuple[str, bytes]:
        while True:
            pin = f"{secrets.randbelow(1_000_000):06d}"
            digest = unit.index("cases.pin", pin_text(case_id, pin))
            if digest not in taken:
                return pin, digest

    def _pairs(self, unit: Unit, parties: Sequence[NewParty]) -> list[Sequence[bytes]]:
        """Blind indexes of every two parties, the same whichever comes first: by their names, and by their numbers where both have one. Each under every
        key of the keyring, the current one first."""
        keys: list[Sequence[bytes]] = []
        for n, one in enumerate(parties):
            for other in parties[n + 1 :]:
                keys.append(_pair(unit, one.name, other.name))
                if one.id_number and other.id_number:
                    keys.append(_pair(unit, one.id_number, other.id_number))
        return keys


def _pair(unit: Unit, one: str, other: str) -> Sequence[bytes]:
    first, second = sorted((canonical(one), canonical(other)))
    return unit.runtime.keys.indexes("cases.pair", f"{len(first)}x{first}x{second}")


def pin_text(case_id: UUID, pin: str) -> str:
    """What a PIN's keyed hash is made of; it is bound to its case.

    A million possible PINs are tried in a moment whatever one hash costs, so a slow hash would protect nobody and make the look-up an easy
    target. What protects them: the key, which does not lie in the database, and the look-up's lock after a few tries.
    """
    return f"{case_id}x{pin}"

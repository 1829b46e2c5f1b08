"""A party's own look at its case, by the code and the PIN of its receipt."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import orjson

from kit.clock import business_date
from kit.errors import PermissionDenied, Refused, ResourceExhausted
from kit.unit import Unit
from services.cases import model
from services.cases.model import TOLD, CaseFile, Party, ToldStep, for_parties
from services.cases.service.chain import Chain
from services.cases.service.parties import pin_text
from services.cases.service.reading import masked
from services.cases.service.steps import day, filled
from services.cases.service.suspensions import last_day
from services.cases.store import cases as store
from services.cases.store.cases import Folder

#: Guards of codes that nobody asked for in so many days are forgotten, whether or not there is a case of that code.
GUARD_DAYS = 2

NO_CASE = UUID(int=0)


@dataclass(frozen=True, slots=True)
class Progress:
    """What concerns one party. `steps`: when, and the sentence in Chinese and English."""

    case: CaseFile
    party: Party
    name: str
    centre_name: str
    departments: Sequence[str]
    stage: tuple[str, str]
    steps: Sequence[tuple[datetime, str, str]]


class ProgressLookup:
    def __init__(self, chain: Chain):
        self.chain = chain

    async def look_up(self, unit: Unit, typed: str, pin: str) -> Progress:
        """PermissionDenied(CODE_OR_PIN_WRONG), the same for a wrong PIN and for a code that does not exist; ResourceExhausted(LOOKUP_LOCKED).

        The try is counted before the PIN is looked at, also for codes without a case: the answers do not tell which codes exist, and tries at the
        same time are counted one by one.
        """
        parameters = self.chain.words.parameters(unit.today)
        code = model.read_code(typed)
        if code is None:  # no receipt carries it: its check digit is wrong
            raise PermissionDenied("CODE_OR_PIN_WRONG")
        guard = await store.count_try(unit, code, unit.now, unit.now - timedelta(days=GUARD_DAYS))
        locked = guard["locked_until"]
        if locked and locked > unit.now:
            until = locked + timedelta(seconds=59)  # people are told the minute, and none that is still too early
            raise ResourceExhausted("LOOKUP_LOCKED", retry_after=locked - unit.now, until=until)
        found = await store.folder_by_code(unit, code)
        party = self._party(unit, found, pin)
        if found is None or party is None:
            if guard["failures"] >= parameters.pin_tries:
                minutes = parameters.pin_locks[min(guard["locks"], len(parameters.pin_locks) - 1)]
                await store.lock_code(unit, code, unit.now + timedelta(minutes=minutes))
            raise Refused(PermissionDenied("CODE_OR_PIN_WRONG"))
        await store.forget_tries(unit, code)
        return await self._progress(unit, found, party)

    def _party(self, unit: Unit, found: Folder | None, pin: str) -> Party | None:
        """The party whose PIN it is. Every party is compared, whichever matches; without a case nothing is, at the same cost."""
        case_id, parties = (found.case.id, found.parties) if found else (NO_CASE, ())
        digests = unit.runtime.keys.indexes("cases.pin", pin_text(case_id, pin))
        matching = [party for party in parties if any(hmac.compare_digest(party.pin, digest) for digest in digests)]
        return matching[0] if matching else None

    async def _progress(self, unit: Unit, found: Folder, party: Party) -> Progress:
        case = found.case
        rows = await store.timeline(unit, case.id, 0, 200, parties_only=True)
        told = [
            ToldStep(row["at"], TOLD[row["what"]], filled(orjson.loads(row["params"])))
            for row in rows
            if row["what"] in TOLD
        ]
        texts = self.chain.runtime.texts
        steps = [(one.at, *texts.of(f"told.{one.what}", one.params)) for one in for_parties(told, case.state)]
        stage = texts.of(f"progress.{case.state}", await self._facts(unit, case, party))
        identity = orjson.loads(unit.open("cases.party", party.id, party.identity))
        centre = (await self.chain.centres.all(unit))[case.centre]
        departments = [task.department_name for task in found.tasks if not task.over]
        return Progress(case, party, masked(party, identity)["name"], centre.name, departments, stage, steps)

    async def _facts(self, unit: Unit, case: CaseFile, party: Party) -> dict[str, str]:
        """What the sentence of the stage is filled with. Which papers are missing concerns the applicant alone."""
        facts = {"due": day(case.due_at), "channel": case.channel, "number": case.transferred_to}
        if stand := case.suspended:
            facts["until"] = last_day(stand.ends)
        if case.state == model.SUPPLEMENT_ASKED and (last := await store.supplement(unit, case.id)):
            words = [self.chain.words.papers.get(code, business_date(last.asked_at)) for code in last.papers]
            said = unit.open("cases.supplement", last.id, last.words) if last.words else ""
            facts["due"] = day(last.due_at)
            facts["papers_zh"] = facts["papers_en"] = ""
            if party.role == "applicant":
                facts["papers_zh"] = "：" + "、".join([*(word.zh for word in words), *([said] if said else [])])
                facts["papers_en"] = ": " + ", ".join([*(word.en for word in words), *([said] if said else [])])
        return facts

"""What is printed for people: the notice that a matter is not accepted, and receipts."""

from __future__ import annotations

import tomllib
from typing import Any, Final
from urllib.parse import quote
from uuid import UUID

from kit import pdf
from kit.clock import BUSINESS_ZONE, business_date
from kit.config import DATA
from kit.errors import FailedPrecondition, NotFound
from kit.pdf import Sheet
from kit.unit import Unit
from services.cases import model
from services.cases.model import CaseFile, Party
from services.cases.service.chain import Chain
from services.cases.service.reading import Reading
from services.cases.service.steps import step
from services.cases.store import cases as store
from services.cases.store.cases import Disclosure, Folder

PDF: Final = "application/pdf"

#: What the audit says of a notice: the applicant's name is shown to whom it is addressed.
PURPOSE: Final = "打印不予受理告知书"


class Papers:
    def __init__(self, chain: Chain, reading: Reading):
        self.chain, self.reading = chain, reading
        self.words: dict[str, Any] = tomllib.loads((DATA / "papers" / "cases.toml").read_text("utf-8"))
        http = chain.runtime.settings.http
        self._progress = http.progress_url or f"{chain.runtime.settings.public_url}/progress?code={{code}}"

    # -- not accepted -----------------------------------------------------------------------------------------------------

    async def refusal(self, unit: Unit, case_id: UUID) -> bytes:
        """A page for each applicant. FailedPrecondition(NOT_REFUSED) for a case that was not refused. Each name that is shown is a disclosure."""
        found = await self.chain.own_locked(unit, case_id)
        case = found.case
        if case.state != model.NOT_ACCEPTED:
            raise FailedPrecondition("NOT_REFUSED")
        unit.note(purpose=PURPOSE)
        applicants = [party for party in found.parties if party.role == "applicant"]
        for n, party in enumerate(applicants):
            shown = Disclosure(unit.new_id(n), case.id, party.id, unit.principal.account, unit.now)
            await store.DISCLOSURES.add(unit, shown)
        store.add_steps(unit, case.id, [step("print refusal")])
        names = [self.reading.identity(unit, party)["name"] for party in applicants]
        return pdf.printed([await self._refused(unit, found, name) for name in names or [self._common("applicant")]])

    async def _refused(self, unit: Unit, found: Folder, name: str) -> Sheet:
        case, words = found.case, self.words["refusal"]
        refused_on = business_date(case.closed_at or unit.now)
        ground = self.chain.words.grounds.get(case.ground, refused_on)
        facts = {
            "name": name,
            "code": case.code,
            "registered": chinese_day(case.registered_at),
            "ground": ground.zh,
            "channel": case.channel,
            "basis": ground.basis,
            "centre": (await self.chain.centres.all(unit))[case.centre].name,
            "day": chinese_day(case.closed_at or unit.now),
        }
        first, *rest = [line.format_map(facts) for line in words["body"]]
        why = []
        asked = await self.reading.supplement(unit, case)
        if ground.lapsed and asked is not None:
            last, said = asked
            papers = [self.chain.words.papers.get(code, business_date(last.asked_at)).zh for code in last.papers]
            why = [
                words["lapsed"].format(
                    asked=chinese_day(last.asked_at),
                    papers="、".join([*papers, *([said] if said else [])]),
                    until=chinese_day(last.due_at),
                )
            ]
        if ground.basis:
            why.append(words["basis"].format_map(facts))
        return Sheet(
            words["title"],
            lead=[line.format_map(facts) for line in words["lead"]],
            body=[first, *why, *rest],
            foot=[line.format_map(facts) for line in words["foot"]],
            small=[*words["small"], *self._rare(name)],
        )

    # -- receipts ---------------------------------------------------------------------------------------------------------

    async def receipt(self, unit: Unit, case: CaseFile, party: Party, pin: str = "") -> bytes:
        """What a party takes home, its name masked. `pin`: for the one call alone that has made it; the QR code never holds it."""
        words = self.words["receipt"]
        labels: dict[str, str] = words["labels"]
        centre = (await self.chain.centres.all(unit))[case.centre].name
        kind = self.chain.words.kinds.get(case.kind, business_date(case.registered_at))
        values = {
            "name": self.reading.masked(unit, party)["name"],
            "role": self.chain.named("role", party.role)["role_zh"],
            "code": case.code,
            "pin": pin,
            "kind": kind.zh,
            "centre": centre,
            "registered": f"{case.registered_at.astimezone(BUSINESS_ZONE):%Y-%m-%d %H:%M}",
        }
        facts = {"centre": centre, "day": chinese_day(unit.now)}
        sheet = Sheet(
            words["title"],
            rows=[(label, values[name]) for name, label in labels.items() if values[name]],
            body=words["body"],
            qr=self._progress.format(code=quote(case.code)),
            small=[*words["with_pin" if pin else "without_pin"], *self._rare(values["name"])],
            foot=[line.format_map(facts) for line in words["foot"]],
        )
        return pdf.printed([sheet], half=True)

    async def receipt_again(self, unit: Unit, case_id: UUID, party_id: UUID) -> bytes:
        """Without the PIN, which nobody has any more. For the responsible centre."""
        found = await self.chain.own_seen(unit, case_id)
        party = next((one for one in found.parties if one.id == party_id), None)
        if party is None:
            raise NotFound("NOT_FOUND", resource="party", field="party_id")
        return await self.receipt(unit, found.case, party)

    # -- inside -----------------------------------------------------------------------------------------------------------

    def _common(self, name: str) -> str:
        return str(self.words["common"][name])

    def _rare(self, name: str) -> list[str]:
        return [self._common("rare")] if pdf.rare(name) else []


def chinese_day(moment: Any) -> str:
    """A moment's day where the work is done, as documents write it: 2026年3月2日."""
    day = business_date(moment)
    return f"{day.year}年{day.month}月{day.day}日"

"""Papers that an applicant is asked for before the decision on acceptance (补正)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from kit.errors import InvalidArgument
from kit.unit import Unit
from services.cases.model import Supplement
from services.cases.service import telling
from services.cases.service.chain import Chain
from services.cases.service.limits import SUPPLEMENT_CLOCK
from services.cases.service.sealed import seal_note
from services.cases.service.steps import day, step
from services.cases.store import cases as store
from services.cases.store.cases import Folder


class Supplements:
    def __init__(self, chain: Chain):
        self.chain = chain

    async def ask(self, unit: Unit, case_id: UUID, papers: Sequence[str], words: str, etag: str) -> Folder:
        """InvalidArgument(CODE_UNKNOWN) for a paper that is not in the list, (SUPPLEMENT_EMPTY) where nothing is named. The decision's clock waits."""
        found = await self.chain.own(unit, case_id, etag)
        named = [self.chain.words.papers.get(code, unit.today, field=f"papers[{n}]") for n, code in enumerate(papers)]
        if not named and not words.strip():
            raise InvalidArgument("SUPPLEMENT_EMPTY", field="papers")
        limit = self.chain.limits.new("cases.supplement", unit.now)
        most = self.chain.words.parameters(unit.today).most_supplements
        case = self.chain.limits.stood(found.case.ask_supplement(unit.now, limit.due_at, most))
        made = unit.new_id()
        asked = Supplement(
            id=made,
            case_id=case.id,
            number=case.supplements,
            papers=list(papers),
            words=unit.seal("cases.supplement", made, words) if words.strip() else None,
            asked_by=unit.principal.account,
            asked_at=unit.now,
            **limit.columns(),
        )
        await store.SUPPLEMENTS.add(unit, asked)
        self.chain.limits.set_clock(unit, case)
        unit.schedule(SUPPLEMENT_CLOCK, case.id, at=self.chain.limits.next_moment(asked) or limit.due_at)
        facts = {
            "papers_zh": "、".join(word.zh for word in named) or "见补正说明",
            "papers_en": ", ".join(word.en for word in named) or "as said in words",
            "due": day(limit.due_at),
        }
        unit.emit(
            *telling.to_first_receiver(
                "cases.supplement_asked", case, str(case.supplements), unit.principal.account, due=facts["due"]
            )
        )
        said = step("ask supplement", facts, note=seal_note(unit, case.id, words))
        return replace(found, case=await self.chain.save(unit, case, "ask supplement", said))

    async def record(
        self, unit: Unit, case_id: UUID, media_ids: Sequence[str], note: str, etag: str, *, waived: bool
    ) -> Folder:
        """The papers are there, or not needed. InvalidArgument(PHOTO_UNKNOWN), (WAIVER_NOTE), (SUPPLEMENT_EMPTY)."""
        await self.chain.require_photos(media_ids)
        found = await self.chain.own(unit, case_id, etag)
        if waived and not note.strip():
            raise InvalidArgument("WAIVER_NOTE", field="note")
        if not waived and not media_ids and not note.strip():
            raise InvalidArgument("SUPPLEMENT_EMPTY", field="media_ids")
        fresh = [one for one in media_ids if one not in found.case.media_ids]
        case = self.chain.limits.stood(found.case.bring_supplement(fresh, unit.now))
        last = await store.supplement(unit, case.id)
        assert last is not None
        await store.SUPPLEMENTS.save(unit, last.bring(list(media_ids), unit.now, waived=waived))
        unit.cancel(SUPPLEMENT_CLOCK, case.id)
        self.chain.limits.set_clock(unit, case)
        due = day(case.due_at)
        unit.emit(
            *telling.to_first_receiver(
                "cases.supplement_received", case, str(case.supplements), unit.principal.account, due=due
            )
        )
        facts, sealed = {"due": due}, seal_note(unit, case.id, note)
        said = step("waive supplement", facts, note=sealed) if waived else step("bring supplement", facts, note=sealed)
        return replace(found, case=await self.chain.save(unit, case, said.what, said))

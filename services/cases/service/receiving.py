"""Who first receives a matter answers for it until the applicant has an answer (首问负责)."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from kit.errors import InvalidArgument
from kit.unit import Unit
from services.cases.model import Centre
from services.cases.service import telling
from services.cases.service.chain import Chain
from services.cases.service.sealed import seal_note
from services.cases.service.steps import step
from services.cases.store import directory
from services.cases.store.cases import Folder


class Receiving:
    def __init__(self, chain: Chain):
        self.chain = chain

    async def entrust(self, unit: Unit, case_id: UUID, account: str, desk: str, reason: str, etag: str) -> Folder:
        """To somebody else of the centre, who is told. InvalidArgument(ACCOUNT_NOT_OF_CENTRE), (DESK_UNKNOWN)."""
        found = await self.chain.own(unit, case_id, etag)
        centre = (await self.chain.centres.all(unit))[found.case.centre]
        check_desk(self.chain, unit, centre, desk)
        case = found.case.entrust(account, desk)
        if not await directory.works_in(unit, account, case.centre):
            raise InvalidArgument("ACCOUNT_NOT_OF_CENTRE", field="account")
        unit.note(purpose=reason)
        round_ = f"{case.version}:{account}"
        unit.emit(*telling.to_first_receiver("cases.first_receiver", case, round_, unit.principal.account))
        said = step("first receiver", {"account": account}, note=seal_note(unit, case.id, reason))
        return replace(found, case=await self.chain.save(unit, case, "first receiver", said))


def check_desk(chain: Chain, unit: Unit, centre: Centre, desk: str) -> None:
    """InvalidArgument(CODE_UNKNOWN | DESK_UNKNOWN) for a desk that the centre does not have."""
    if not desk:
        return
    word = chain.words.desks.get(desk, unit.today, field="desk")
    if centre.level not in word.levels:
        raise InvalidArgument("DESK_UNKNOWN", field="desk", desk=desk)

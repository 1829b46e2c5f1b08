"""The front of CaseService: registration, parties, papers that are missing, the decision on acceptance, what is printed."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from uuid import UUID

from google.api import httpbody_pb2

from hetao.cases.v1 import case_pb2, front_pb2, intake_pb2, types_pb2
from kit.proto import given_moment, number_of, stamp, text_of
from kit.unit import Unit
from services.cases.api import convert
from services.cases.service import Cases
from services.cases.service.newcase import NewCase
from services.cases.service.orders import Order
from services.cases.service.papers import PDF
from services.cases.store.cases import Folder


class FrontApi:
    def __init__(self, service: Cases):
        self.service, self.chain = service, service.chain

    async def _shown(self, unit: Unit, found: Folder) -> case_pb2.Case:
        return convert.case(self.chain, await self.service.reading.whole(unit, found))

    async def CreateCase(self, request: intake_pb2.CreateCaseRequest, unit: Unit) -> intake_pb2.CreateCaseResponse:
        way = text_of(types_pb2.Source, request.source)
        new = NewCase(
            kind=text_of(types_pb2.Kind, request.kind),
            source=way or "walk_in",
            division=request.division,
            title=request.title,
            description=request.description,
            place=request.place,
            occurred_at=given_moment(request, "occurred_at"),
            media_ids=request.media_ids,
            parties=[convert.new_party(party, f"parties[{n}]") for n, party in enumerate(request.parties)],
            classification=convert.classification(request.classification),
            accept=request.accept,
            transfer_to=request.transfer_to,
            transfer_note=request.transfer_note,
            desk=request.desk,
        )
        order = Order(request.source_system, request.external_id, request.external_category)
        registered = await self.service.intake.create(unit, new, order, way)
        whole = await self.service.reading.whole(unit, registered.folder)
        duplicates = [
            case_pb2.Duplicate(
                case_id=str(one.id),
                code=one.code,
                state=number_of(types_pb2.CaseState, one.state),
                registered_at=stamp(one.registered_at),
            )
            for one in registered.duplicates
        ]
        return intake_pb2.CreateCaseResponse(
            case=convert.case(self.chain, whole),
            receipts=await self._receipts(unit, registered.folder, registered.pins, printed=request.print_receipts),
            duplicates=duplicates,
            existing=registered.existing,
        )

    async def AddParty(self, request: intake_pb2.AddPartyRequest, unit: Unit) -> intake_pb2.AddPartyResponse:
        new = convert.new_party(request.party, "party")
        found, pin = await self.service.intake.add_party(unit, UUID(request.case_id), new, request.etag)
        (receipt,) = await self._receipts(unit, found, [pin], printed=request.print_receipt)
        return intake_pb2.AddPartyResponse(case=await self._shown(unit, found), receipt=receipt)

    async def _receipts(
        self, unit: Unit, found: Folder, pins: Sequence[str], *, printed: bool
    ) -> list[case_pb2.Receipt]:
        """Of the last parties, who have just been given these PINs."""
        receipts = []
        for party, pin in zip(found.parties[len(found.parties) - len(pins) :], pins, strict=True):
            name = self.service.reading.masked(unit, party)["name"]
            document = await self.service.papers.receipt(unit, found.case, party, pin) if printed else b""
            receipts.append(
                case_pb2.Receipt(
                    party_id=str(party.id),
                    name=name,
                    code=found.case.code,
                    pin=pin,
                    document=base64.b64encode(document).decode(),
                )
            )
        return receipts

    # -- before the decision ----------------------------------------------------------------------------------------------

    async def AskSupplement(
        self, request: front_pb2.AskSupplementRequest, unit: Unit
    ) -> front_pb2.AskSupplementResponse:
        found = await self.service.supplements.ask(
            unit, UUID(request.case_id), request.papers, request.words, request.etag
        )
        return front_pb2.AskSupplementResponse(case=await self._shown(unit, found))

    async def RecordSupplement(
        self, request: front_pb2.RecordSupplementRequest, unit: Unit
    ) -> front_pb2.RecordSupplementResponse:
        found = await self.service.supplements.record(
            unit, UUID(request.case_id), request.media_ids, request.note, request.etag, waived=request.waived
        )
        return front_pb2.RecordSupplementResponse(case=await self._shown(unit, found))

    async def SetFirstReceiver(
        self, request: front_pb2.SetFirstReceiverRequest, unit: Unit
    ) -> front_pb2.SetFirstReceiverResponse:
        found = await self.service.receiving.entrust(
            unit, UUID(request.case_id), request.account, request.desk, request.reason, request.etag
        )
        return front_pb2.SetFirstReceiverResponse(case=await self._shown(unit, found))

    # -- the decision -----------------------------------------------------------------------------------------------------

    async def AcceptCase(self, request: intake_pb2.AcceptCaseRequest, unit: Unit) -> intake_pb2.AcceptCaseResponse:
        said = convert.classification(request.classification)
        found = await self.service.intake.accept(unit, UUID(request.case_id), said, request.etag)
        return intake_pb2.AcceptCaseResponse(case=await self._shown(unit, found))

    async def RefuseCase(self, request: intake_pb2.RefuseCaseRequest, unit: Unit) -> intake_pb2.RefuseCaseResponse:
        found = await self.service.intake.refuse(
            unit, UUID(request.case_id), request.ground, request.channel, request.etag
        )
        return intake_pb2.RefuseCaseResponse(case=await self._shown(unit, found))

    async def TransferCase(
        self, request: intake_pb2.TransferCaseRequest, unit: Unit
    ) -> intake_pb2.TransferCaseResponse:
        found = await self.service.intake.transfer(
            unit, UUID(request.case_id), request.number, request.note, request.etag
        )
        return intake_pb2.TransferCaseResponse(case=await self._shown(unit, found))

    # -- what is printed --------------------------------------------------------------------------------------------------

    async def GetRefusalNotice(
        self, request: front_pb2.GetRefusalNoticeRequest, unit: Unit
    ) -> front_pb2.GetRefusalNoticeResponse:
        document = await self.service.papers.refusal(unit, UUID(request.case_id))
        return front_pb2.GetRefusalNoticeResponse(document=httpbody_pb2.HttpBody(content_type=PDF, data=document))

    async def GetReceipt(self, request: front_pb2.GetReceiptRequest, unit: Unit) -> front_pb2.GetReceiptResponse:
        document = await self.service.papers.receipt_again(unit, UUID(request.case_id), UUID(request.party_id))
        return front_pb2.GetReceiptResponse(document=httpbody_pb2.HttpBody(content_type=PDF, data=document))

"""ContactService, SmsReceiptService."""

from __future__ import annotations

from uuid import UUID

from hetao.notify.v1 import sms_pb2 as pb
from kit.masking import mask_phone
from kit.proto import stamp, text_of
from kit.unit import Unit
from services.notify.model import Contact
from services.notify.service import Notify, Report


class ContactApi:
    def __init__(self, service: Notify) -> None:
        self._service = service.sms

    async def GetContact(self, request: pb.GetContactRequest, unit: Unit) -> pb.GetContactResponse:
        return pb.GetContactResponse(contact=_contact(*await self._service.contact(unit)))

    async def SetContact(self, request: pb.SetContactRequest, unit: Unit) -> pb.SetContactResponse:
        return pb.SetContactResponse(contact=_contact(*await self._service.set_contact(unit, request.phone)))

    async def ClearContact(self, request: pb.ClearContactRequest, unit: Unit) -> pb.ClearContactResponse:
        await self._service.clear_contact(unit)
        return pb.ClearContactResponse(contact=pb.Contact())


class SmsReceiptApi:
    def __init__(self, service: Notify) -> None:
        self._service = service.sms

    async def RecordSmsReceipt(self, request: pb.RecordSmsReceiptRequest, unit: Unit) -> pb.RecordSmsReceiptResponse:
        report = Report(
            receipt_id=request.receipt_id,
            delivery_id=UUID(request.delivery_id),
            status=text_of(pb.SmsStatus, request.status),
            reason=request.reason,
            timestamp=request.timestamp,
            signature=request.signature,
        )
        return pb.RecordSmsReceiptResponse(counted=await self._service.report(unit, report))


def _contact(contact: Contact | None, number: str) -> pb.Contact:
    return pb.Contact(phone=mask_phone(number), set_at=stamp(contact.set_at)) if contact and number else pb.Contact()

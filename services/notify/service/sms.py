"""Text messages: the number that each person gives for itself, and the receipts of the provider."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from uuid import UUID

from kit.errors import InvalidArgument, NotFound, PermissionDenied
from kit.identifiers import is_mobile
from kit.sealing import canonical
from kit.signing import sign
from kit.unit import Unit
from services.notify.model import DELIVERED, GIVEN_UP, UNKNOWN, UNSETTLED, Contact, Delivery
from services.notify.service import signals
from services.notify.store import reminders as stored
from services.notify.store.messages import DELIVERIES
from services.notify.store.reminders import CONTACTS, Receipt

if TYPE_CHECKING:
    from services.notify.service.notify import Notify

PHONE = "notify.contact.phone"

#: Timer: the outcome of an attempt was not recorded, or a receipt did not come.
LOST = "notify.lost"


@dataclass(frozen=True, slots=True)
class SmsProvider:
    """Who takes text messages. `secret`: known to both, signs what goes there and what is reported."""

    url: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Report:
    """What a provider says of a message. `status`: delivered, failed or unknown."""

    receipt_id: str
    delivery_id: UUID
    status: str
    reason: str
    timestamp: str
    signature: str

    def signed(self, secret: str) -> bool:
        said = f"{self.delivery_id}:{self.status.upper()}:{self.reason}"
        expected = sign(secret, self.receipt_id, self.timestamp, said.encode())
        return hmac.compare_digest(expected.encode(), self.signature.encode())


class Sms:
    def __init__(self, notify: Notify, provider: SmsProvider | None) -> None:
        self._notify, self.provider = notify, provider

    # -- numbers ------------------------------------------------------------------------------------------------------

    async def contact(self, unit: Unit) -> tuple[Contact | None, str]:
        """The caller's own contact, and its number or ""."""
        found = await stored.contact(unit, unit.principal.account)
        return found, self._number(unit, found)

    async def set_contact(self, unit: Unit, phone: str) -> tuple[Contact, str]:
        """InvalidArgument(PHONE_NOT_MOBILE)."""
        number = canonical(phone)
        if not is_mobile(number):
            raise InvalidArgument("PHONE_NOT_MOBILE", field="phone")
        found = await stored.contact(unit, unit.principal.account)
        contact_id = found.id if found else unit.new_id()
        sealed = unit.seal(PHONE, contact_id, number)
        if found:
            return await CONTACTS.save(unit, replace(found, phone=sealed, set_at=unit.now)), number
        return await CONTACTS.add(unit, Contact(contact_id, unit.principal.account, sealed, unit.now)), number

    async def clear_contact(self, unit: Unit) -> None:
        found = await stored.contact(unit, unit.principal.account)
        if found and found.phone:
            await CONTACTS.save(unit, replace(found, phone=b"", set_at=unit.now))

    def _number(self, unit: Unit, contact: Contact | None) -> str:
        return unit.open(PHONE, contact.id, contact.phone) if contact and contact.phone else ""

    async def reaches(self, unit: Unit, account: str) -> bool:
        """Whether a text message to the account can be sent."""
        if self.provider is None:
            return False
        found = await stored.contact(unit, account)
        return found is not None and bool(found.phone)

    async def target(self, unit: Unit, delivery: Delivery) -> tuple[str, str, str, str]:
        """(why it is not worth sending or "", address, secret, number)"""
        if self.provider is None:
            return "SMS_NOT_SET_UP", "", "", ""
        if await stored.unread_of(unit, delivery.intent, delivery.account) is None:
            return "READ_MEANWHILE", "", "", ""
        number = self._number(unit, await stored.contact(unit, delivery.account))
        return ("", self.provider.url, self.provider.secret, number) if number else ("NO_NUMBER", "", "", "")

    # -- receipts -----------------------------------------------------------------------------------------------------

    async def report(self, unit: Unit, report: Report) -> bool:
        """Whether it changed anything: a repeat does not, nor does one that comes when it is known otherwise.

        PermissionDenied(RECEIPT_SIGNATURE_WRONG) before anything is looked up; NotFound for what is no text message of ours.
        """
        if self.provider is None or not report.signed(self.provider.secret):
            raise PermissionDenied("RECEIPT_SIGNATURE_WRONG", field="signature")
        delivery = await stored.sms(unit, report.delivery_id)
        if delivery is None or delivery.attempts == 0:
            raise NotFound("NOT_FOUND", field="delivery_id", resource="delivery")
        if await stored.receipt_known(unit, delivery.id, report.receipt_id):
            return False
        after = self._after(unit, delivery, report) if delivery.state in UNSETTLED else None
        counted = after is not None and after.state != delivery.state
        receipt = Receipt(delivery.id, report.receipt_id, report.status, report.reason, unit.now, counted)
        await stored.add_receipt(unit, receipt)
        signals.reported(unit, report.status if counted else "late")
        if after is None or not counted:
            return False
        unit.cancel(LOST, delivery.id)
        saved = await DELIVERIES.save(unit, after)
        if saved.state in (GIVEN_UP, UNKNOWN):
            await self._notify.reminders.fallen(unit, saved)
        return True

    def _after(self, unit: Unit, delivery: Delivery, report: Report) -> Delivery | None:
        if report.status == DELIVERED:
            return delivery.confirm(unit.now)
        reason = f"SMS_{report.reason or report.status.upper()}"
        if report.status == "failed":
            return delivery.give_up(reason)
        return None if delivery.state == UNKNOWN else delivery.lose(reason, unit.now, self._notify.rules)

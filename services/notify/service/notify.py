"""Telling people: who gets a notice, what they have read, and what goes out to endpoints and by text message."""

from __future__ import annotations

import base64
import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import urlsplit
from uuid import UUID

from kit.blobs import Blobs
from kit.egress import Egress, literal
from kit.errors import FailedPrecondition, InvalidArgument, NotFound
from kit.statutory import Calendar
from kit.texts import Texts
from kit.unit import Unit
from services.notify.model import (
    ACCOUNT,
    ATTEMPTED,
    GIVEN_UP,
    GROUPS,
    INBOX,
    LINK,
    NO_RECIPIENT,
    PENDING,
    ROBOTS,
    SENT,
    SMS,
    SUPERIOR,
    UNKNOWN,
    WEBHOOK,
    Delivery,
    Endpoint,
    Message,
    Outcome,
    Outgoing,
    Rules,
    Template,
    Text,
    shown_address,
)
from services.notify.service.manual import Manual
from services.notify.service.recipients import PartyAddress, Recipient
from services.notify.service.reminders import BUNDLE_TEMPLATE, Reminders, new_delivery
from services.notify.service.sms import LOST, Sms, SmsProvider
from services.notify.store import messages as store
from services.notify.store.messages import DELIVERIES, ENDPOINTS, Addressed, Heard

#: Timer: time to look for a recipient again.
LOOK = "notify.look"

#: After this an attempt without a recorded outcome has died with its process: a call ends much earlier.
LOST_AFTER: Final = timedelta(minutes=1)

#: Why a restricted notice did not go to a group.
NOT_TO_A_GROUP: Final = "RESTRICTED_NOT_TO_A_GROUP"

#: Unread messages are counted to here.
UNREAD_MOST: Final = 999


@dataclass(frozen=True, slots=True)
class Target:
    """Where an attempt goes, or `reason` why it is not worth making."""

    reason: str = ""
    url: str = ""
    secret: str = ""
    phone: str = ""


class Notify:
    """`texts`: the words of codes. `links`: what a subject is appended to, to become a link. `egress`: what endpoints may name. `insecure_allowed`: whether they may do
    without TLS, and a robot be emulated on this machine. `sms`: who takes text messages, if anybody does. `blobs`: where photos of proofs lie."""

    def __init__(
        self,
        templates: Mapping[str, Template],
        rules: Rules,
        texts: Texts,
        *,
        links: str,
        egress: Egress,
        insecure_allowed: bool,
        calendar: Calendar,
        sms: SmsProvider | None,
        blobs: Blobs,
    ) -> None:
        self._templates, self.rules, self._texts, self._links = templates, rules, texts, links
        self._egress, self._insecure_allowed = egress, insecure_allowed
        self.calendar = calendar
        self.reminders, self.manual, self.sms = Reminders(self), Manual(self, blobs), Sms(self, sms)

    # -- telling people -----------------------------------------------------------------------------------------------

    async def tell(self, unit: Unit, heard: Heard, recipients: Sequence[Recipient]) -> None:
        """Puts a notice into the inboxes of those who are meant, and on its way to the endpoints of their departments; parties of a case
        become work items of the centre's clerks.

        Once per intent. Persons are looked up now: who holds a post when the message goes out is the one who gets it.
        """
        title, text = self.filled(heard)
        if heard.expires_at and unit.now > heard.expires_at:
            return
        departments = list(dict.fromkeys(r.department_id for r in recipients if r.department_id))
        addressed = await store.addressed(unit, departments)
        messages: dict[str, Message] = {}
        deliveries: dict[tuple[str, str], Delivery] = {}
        parties: dict[UUID, PartyAddress] = {}
        for recipient in recipients:
            if recipient.party:
                parties.setdefault(recipient.party.party_id, recipient.party)
            elif found := await self._find(unit, recipient, addressed):
                messages.setdefault(found[0], self._message(unit, heard, recipient, *found, title, text))
            else:
                lost = self._undeliverable(unit, heard, recipient)
                deliveries.setdefault((lost.channel, lost.recipient), lost)
        if not await store.hear(unit, heard, list(messages.values())):
            return
        for message in messages.values():
            self.reminders.watch(unit, message)
        outward = [department for department, each in addressed.items() if each.outward]
        for endpoint in await store.endpoints_of(unit, outward) if outward else ():
            going = self._outward(unit, heard, endpoint)
            deliveries[going.channel, going.recipient] = going
        for delivery in deliveries.values():
            if delivery.state == NO_RECIPIENT and delivery.next_at:
                unit.schedule(LOOK, delivery.id, at=delivery.next_at)
        await store.add_deliveries(unit, list(deliveries.values()))
        await self.manual.add(unit, heard, list(parties.values()))

    async def look_again(self, unit: Unit, delivery_id: UUID) -> None:
        """Looks once more for somebody to tell, where there was nobody."""
        delivery = await DELIVERIES.find(unit, "id = $1 and state = 'no_recipient'", delivery_id)
        if delivery is not None:
            await self._look(unit, delivery)

    async def _look(self, unit: Unit, delivery: Delivery) -> Delivery:
        if delivery.expired(unit.now):
            return await DELIVERIES.save(unit, delivery.give_up("EXPIRED"))
        recipient = Recipient(delivery.department_id, delivery.post, delivery.account)
        found = await self._find(unit, recipient, await store.addressed(unit, _only(recipient.department_id)))
        if found is None:
            looked = self._looked(delivery, unit.now)
            if looked.next_at:
                unit.schedule(LOOK, looked.id, at=looked.next_at)
            return await DELIVERIES.save(unit, looked)
        heard = await store.heard(unit, delivery.intent)
        message = self._message(unit, heard, recipient, *found, *self.filled(heard))
        if await store.add_message(unit, message):
            self.reminders.watch(unit, message)
        return await DELIVERIES.save(unit, delivery.find(found[0], unit.now))

    async def _find(
        self, unit: Unit, recipient: Recipient, addressed: Mapping[UUID, Addressed]
    ) -> tuple[str, str] | None:
        """(account, ground) of who gets it now."""
        if recipient.department_id:
            known = addressed.get(recipient.department_id)
            return known.directory.find(recipient.post, unit.today) if known else None
        home = await store.home_of(unit, recipient.account)
        if home is None or home[1]:
            return recipient.account, ACCOUNT
        left = (await store.addressed(unit, [home[0]])).get(home[0])
        successor = left.directory.find("head", unit.today) if left else None
        return (successor[0], SUPERIOR) if successor else None

    def filled(self, heard: Heard) -> tuple[Text, Text]:
        template = self._templates.get(heard.template)
        if template is None:
            raise InvalidArgument("TEMPLATE_UNKNOWN", field="template", template=heard.template)
        values = {name: value for name, value in heard.variables.items() if name != LINK}
        return template.filled(values, self.link(heard.subject), self._texts.word)

    async def said(self, unit: Unit, intents: Sequence[UUID]) -> dict[UUID, tuple[Text, Text]]:
        """Title and text of notices that were heard."""
        return {one.id: self.filled(one) for one in (await store.heard_all(unit, intents)).values()}

    def link(self, subject: str) -> str:
        return f"{self._links}/{subject}"

    def _message(
        self, unit: Unit, heard: Heard, recipient: Recipient, account: str, ground: str, title: Text, text: Text
    ) -> Message:
        return Message(
            id=unit.new_id(),
            intent=heard.id,
            account=account,
            template=heard.template,
            title_zh=title.zh,
            title_en=title.en,
            text_zh=text.zh,
            text_en=text.en,
            subject=heard.subject,
            link=self.link(heard.subject),
            urgency=heard.urgency,
            division=heard.division,
            department_id=recipient.department_id,
            post=recipient.post,
            ground=ground,
            delivered_at=unit.now,
        )

    def _undeliverable(self, unit: Unit, heard: Heard, recipient: Recipient) -> Delivery:
        key = f"{recipient.department_id}/{recipient.post}" if recipient.department_id else recipient.account
        delivery = replace(new_delivery(unit, heard, INBOX, key, NO_RECIPIENT), reason="NO_RECIPIENT")
        addressed = replace(
            delivery, department_id=recipient.department_id, post=recipient.post, account=recipient.account
        )
        return self._looked(addressed, unit.now)

    def _looked(self, delivery: Delivery, now: datetime) -> Delivery:
        """After a look in vain."""
        wait = self.rules.look_again_after(delivery.attempts + 1)
        return replace(delivery, attempts=delivery.attempts + 1, next_at=now + wait if wait else None)

    def _outward(self, unit: Unit, heard: Heard, endpoint: Endpoint) -> Delivery:
        delivery = replace(
            new_delivery(unit, heard, endpoint.channel, str(endpoint.id), PENDING),
            endpoint_id=endpoint.id,
            department_id=endpoint.department_id,
        )
        if heard.restricted and endpoint.channel in GROUPS:
            return replace(delivery, state=GIVEN_UP, reason=NOT_TO_A_GROUP)
        return replace(delivery, next_at=self.rules.not_before(unit.now, heard.urgency))

    # -- inboxes ------------------------------------------------------------------------------------------------------

    async def mark_read(self, unit: Unit, message_id: UUID, etag: str) -> Message:
        message = await store.message(unit, message_id)
        unit.match(etag, message)
        if message.read_at:
            return message
        return await self._marked(unit, replace(message, read_at=unit.now))

    async def act(self, unit: Unit, message_id: UUID, action: str, etag: str) -> Message:
        """The first action stands; the same again changes nothing. FailedPrecondition(MESSAGE_ACTED_ON) for another."""
        message = await store.message(unit, message_id)
        unit.match(etag, message)
        if message.acted_at:
            if message.action != action:
                raise FailedPrecondition("MESSAGE_ACTED_ON", action=message.action)
            return message
        return await self._marked(
            unit, replace(message, read_at=message.read_at or unit.now, acted_at=unit.now, action=action)
        )

    async def _marked(self, unit: Unit, message: Message) -> Message:
        marked = replace(message, version=message.version + 1)
        await store.mark(unit, marked)
        if marked.template == BUNDLE_TEMPLATE:
            await self.reminders.read_with(unit, marked.id)
        return marked

    # -- sending ------------------------------------------------------------------------------------------------------

    async def begin(self, unit: Unit, delivery_id: UUID) -> Outgoing | None:
        """Records an attempt before it is made, and returns what is to be sent; None where there is nothing to send any more."""
        delivery = await DELIVERIES.find(unit, "id = $1 and state in ('pending', 'failed')", delivery_id)
        if delivery is None or delivery.next_at is None or delivery.next_at > unit.now:
            return None  # another process was faster
        heard = await store.heard(unit, delivery.intent)
        target = await self._target(unit, delivery, heard)
        if target.reason:
            await self._ended(unit, await DELIVERIES.save(unit, delivery.give_up(target.reason)))
            return None
        attempted = await DELIVERIES.save(unit, delivery.attempt())
        await store.add_attempt(unit, attempted.id, attempted.attempts)
        unit.schedule(LOST, attempted.id, at=unit.now + LOST_AFTER)
        title, text = self.filled(heard)
        return Outgoing(
            id=attempted.id,
            number=attempted.attempts,
            channel=attempted.channel,
            url=target.url,
            secret=target.secret,
            intent=heard.id,
            template=heard.template,
            title=title,
            text=text,
            subject=heard.subject,
            link=self.link(heard.subject),
            urgency=heard.urgency,
            division=heard.division,
            possible_repeat=attempted.possible_repeat,
            at=unit.now,
            phone=target.phone,
            receipt_url=f"{self._links}/smsReceipts" if target.phone else "",
        )

    async def _target(self, unit: Unit, delivery: Delivery, heard: Heard) -> Target:
        """Where it goes; or why it is given up before it is tried."""
        if delivery.expired(unit.now):
            return Target("EXPIRED")
        if heard.template not in self._templates:
            return Target("TEMPLATE_UNKNOWN")
        if delivery.channel == SMS:
            return Target(*await self.sms.target(unit, delivery))
        endpoint = await store.endpoint(unit, delivery.endpoint_id) if delivery.endpoint_id else None
        if endpoint is None or not endpoint.active:
            return Target("ENDPOINT_CLOSED")
        if heard.restricted and endpoint.channel in GROUPS:
            return Target(NOT_TO_A_GROUP)
        url = unit.open("notify.endpoint.url", endpoint.id, endpoint.url)
        return Target("", url, unit.open("notify.endpoint.secret", endpoint.id, endpoint.secret))

    async def end(self, unit: Unit, delivery_id: UUID, number: int, outcome: Outcome) -> None:
        """Records what came of an attempt. An answer that comes after the delivery went on without it changes its own row alone."""
        await store.end_attempt(unit, delivery_id, number, outcome)
        delivery = await DELIVERIES.find(unit, "id = $1 and attempts = $2", delivery_id, number)
        if delivery is None or delivery.state not in (ATTEMPTED, UNKNOWN):
            return
        if delivery.state == UNKNOWN and outcome.kind == Outcome.UNKNOWN:
            return
        unit.cancel(LOST, delivery_id)
        settled = await DELIVERIES.save(unit, delivery.settle(outcome, unit.now, self.rules, random.random()))
        if settled.state == SENT:
            unit.schedule(LOST, delivery_id, at=unit.now + timedelta(hours=self.rules.receipt_hours))
        await self._ended(unit, settled)

    async def _ended(self, unit: Unit, delivery: Delivery) -> None:
        """A text message that did not arrive, as far as is known, is followed by the next channel."""
        if delivery.channel == SMS and delivery.state in (GIVEN_UP, UNKNOWN):
            await self.reminders.fallen(unit, delivery)

    async def abandon(self, unit: Unit, delivery_id: UUID) -> None:
        """Gives up what cannot even be begun, so that it does not stand in the way of the others."""
        delivery = await DELIVERIES.find(unit, "id = $1 and state in ('pending', 'failed')", delivery_id)
        if delivery is not None:
            await self._ended(unit, await DELIVERIES.save(unit, delivery.give_up("INTERNAL")))

    async def lose(self, unit: Unit, delivery_id: UUID) -> None:
        """No outcome was recorded in time: the process died between the provider's answer and our record, perhaps before the call; or a text
        message's receipt never came."""
        delivery = await DELIVERIES.find(unit, "id = $1 and state in ('attempted', 'sent')", delivery_id)
        if delivery is not None:
            reason = "NO_RECEIPT" if delivery.state == SENT else "NO_ANSWER_RECORDED"
            await self._ended(unit, await DELIVERIES.save(unit, delivery.lose(reason, unit.now, self.rules)))

    async def resend(self, unit: Unit, delivery_id: UUID, etag: str) -> Delivery:
        delivery = await DELIVERIES.get(unit, delivery_id)
        unit.match(etag, delivery)
        if delivery.state == NO_RECIPIENT:
            return await self._look(unit, delivery)
        if delivery.channel in GROUPS and (await store.heard(unit, delivery.intent)).restricted:
            raise FailedPrecondition("RESTRICTED_NOT_TO_A_GROUP")
        return await DELIVERIES.save(unit, delivery.repeat(unit.now))

    async def settle(self, unit: Unit, delivery_id: UUID, *, arrived: bool, note: str, etag: str) -> Delivery:
        delivery = await DELIVERIES.get(unit, delivery_id)
        unit.match(etag, delivery)
        if delivery.state != UNKNOWN:
            raise FailedPrecondition("MOVE_NOT_ALLOWED", state=delivery.state, action="settle")
        unit.note(note)
        settled = delivery.confirm(unit.now) if arrived else delivery.give_up("SETTLED_BY_A_PERSON")
        return await DELIVERIES.save(unit, settled)

    # -- endpoints ----------------------------------------------------------------------------------------------------

    async def create_endpoint(self, unit: Unit, department_id: UUID, channel: str, url: str) -> tuple[Endpoint, str]:
        """The endpoint, and the secret that its receiver checks signatures with, or ""."""
        address = shown_address(url, insecure_allowed=self._insecure_allowed)
        self._check_host(channel, urlsplit(url).hostname or "")
        division = await store.department_division(unit, department_id)
        if division is None or not unit.principal.covers(division):
            raise InvalidArgument("ENDPOINT_DEPARTMENT_UNKNOWN", field="department_id", department=department_id)
        endpoint_id = unit.new_id()
        secret = "whsec_" + base64.b64encode(os.urandom(32)).decode() if channel == WEBHOOK else ""
        endpoint = Endpoint(
            id=endpoint_id,
            department_id=department_id,
            division=division,
            channel=channel,
            address=address,
            url=unit.seal("notify.endpoint.url", endpoint_id, url),
            secret=unit.seal("notify.endpoint.secret", endpoint_id, secret),
        )
        return await ENDPOINTS.add(unit, endpoint), secret

    def _check_host(self, channel: str, host: str) -> None:
        """InvalidArgument(URL_FORBIDDEN | URL_NOT_THE_ROBOTS). The address that a name stands for is checked at each call."""
        if not self._egress.may_name(host):
            raise InvalidArgument("URL_FORBIDDEN", field="url")
        robots, address = ROBOTS.get(channel, host), literal(host)
        emulated = self._insecure_allowed and address is not None and address.is_loopback
        if host != robots and not emulated:
            raise InvalidArgument("URL_NOT_THE_ROBOTS", field="url", host=robots)

    async def close_endpoint(self, unit: Unit, endpoint_id: UUID, etag: str) -> Endpoint:
        """Closed again, it stays as it is. What waits for it is given up when its time comes."""
        endpoint = await ENDPOINTS.get(unit, endpoint_id)
        unit.match(etag, endpoint)
        return await ENDPOINTS.save(unit, replace(endpoint, active=False)) if endpoint.active else endpoint

    # -- scopes -------------------------------------------------------------------------------------------------------

    @staticmethod
    def scope(unit: Unit, division: str) -> str:
        """The division whose rows are listed. NotFound for one that the caller must not see into, as for one that does not exist."""
        if not division:
            division = next(iter(unit.principal.divisions), "")
        if not division or not unit.principal.covers(division):
            raise NotFound("NOT_FOUND", field="division", resource="division")
        return division


def _only(department: UUID | None) -> list[UUID]:
    return [department] if department else []

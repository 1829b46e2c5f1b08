"""The use cases of notify. One method is one transaction."""

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

from kit.egress import Egress, literal
from kit.errors import FailedPrecondition, InvalidArgument, NotFound
from kit.texts import Texts
from kit.unit import Unit
from services.notify import store
from services.notify.model import (
    ACCOUNT,
    ATTEMPTED,
    INBOX,
    LINK,
    NO_RECIPIENT,
    PENDING,
    ROBOTS,
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
from services.notify.store import DELIVERIES, ENDPOINTS, Addressed, Heard

#: Timers: the outcome of an attempt was not recorded; time to look for a recipient again.
LOST, LOOK = "notify.lost", "notify.look"

#: After this an attempt without a recorded outcome has died with its process: a call ends much earlier.
LOST_AFTER: Final = timedelta(minutes=1)

#: Unread messages are counted to here.
UNREAD_MOST: Final = 999


@dataclass(frozen=True, slots=True)
class Recipient:
    """A post of a department, or an account."""

    department_id: UUID | None
    post: str
    account: str


class Notify:
    """`texts`: the words of codes. `links`: what a subject is appended to, to become a link. `egress`: what endpoints may name. `insecure_allowed`: whether they may do
    without TLS, and a robot be emulated on this machine."""

    def __init__(
        self,
        templates: Mapping[str, Template],
        rules: Rules,
        texts: Texts,
        *,
        links: str,
        egress: Egress,
        insecure_allowed: bool,
    ) -> None:
        self._templates, self._rules, self._texts, self._links = templates, rules, texts, links
        self._egress, self._insecure_allowed = egress, insecure_allowed

    # -- telling people -----------------------------------------------------------------------------------------------

    async def tell(self, unit: Unit, heard: Heard, recipients: Sequence[Recipient]) -> None:
        """Puts a notice into the inboxes of those who are meant, and on its way to the endpoints of their departments.

        Once per intent. Persons are looked up now: who holds a post when the message goes out is the one who gets it.
        """
        title, text = self._filled(heard)
        if heard.expires_at and unit.now > heard.expires_at:
            return
        departments = list(dict.fromkeys(r.department_id for r in recipients if r.department_id))
        addressed = await store.addressed(unit, departments)
        messages: dict[str, Message] = {}
        deliveries: dict[tuple[str, str], Delivery] = {}
        for recipient in recipients:
            if found := await self._find(unit, recipient, addressed):
                messages.setdefault(found[0], self._message(unit, heard, recipient, *found, title, text))
            else:
                lost = self._undeliverable(unit, heard, recipient)
                deliveries.setdefault((lost.channel, lost.recipient), lost)
        if not await store.hear(unit, heard, list(messages.values())):
            return
        outward = [department for department, each in addressed.items() if each.outward]
        for endpoint in await store.endpoints_of(unit, outward) if outward else ():
            going = self._outward(unit, heard, endpoint)
            deliveries[going.channel, going.recipient] = going
        for delivery in deliveries.values():
            if delivery.state == NO_RECIPIENT and delivery.next_at:
                unit.schedule(LOOK, delivery.id, at=delivery.next_at)
        await store.add_deliveries(unit, list(deliveries.values()))

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
        await store.add_message(unit, self._message(unit, heard, recipient, *found, *self._filled(heard)))
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

    def _filled(self, heard: Heard) -> tuple[Text, Text]:
        template = self._templates.get(heard.template)
        if template is None:
            raise InvalidArgument("TEMPLATE_UNKNOWN", field="template", template=heard.template)
        values = {name: value for name, value in heard.variables.items() if name != LINK}
        return template.filled(values, self._link(heard.subject), self._texts.word)

    def _link(self, subject: str) -> str:
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
            link=self._link(heard.subject),
            urgency=heard.urgency,
            division=heard.division,
            department_id=recipient.department_id,
            post=recipient.post,
            ground=ground,
            delivered_at=unit.now,
        )

    def _undeliverable(self, unit: Unit, heard: Heard, recipient: Recipient) -> Delivery:
        key = f"{recipient.department_id}/{recipient.post}" if recipient.department_id else recipient.account
        delivery = replace(_delivery(unit, heard, INBOX, key, NO_RECIPIENT), reason="NO_RECIPIENT")
        addressed = replace(
            delivery, department_id=recipient.department_id, post=recipient.post, account=recipient.account
        )
        return self._looked(addressed, unit.now)

    def _looked(self, delivery: Delivery, now: datetime) -> Delivery:
        """After a look in vain."""
        wait = self._rules.look_again_after(delivery.attempts + 1)
        return replace(delivery, attempts=delivery.attempts + 1, next_at=now + wait if wait else None)

    def _outward(self, unit: Unit, heard: Heard, endpoint: Endpoint) -> Delivery:
        delivery = _delivery(unit, heard, endpoint.channel, str(endpoint.id), PENDING)
        due = self._rules.not_before(unit.now, heard.urgency)
        return replace(delivery, endpoint_id=endpoint.id, department_id=endpoint.department_id, next_at=due)

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
        return marked

    # -- sending ------------------------------------------------------------------------------------------------------

    async def begin(self, unit: Unit, delivery_id: UUID) -> Outgoing | None:
        """Records an attempt before it is made, and returns what is to be sent; None where there is nothing to send any more."""
        delivery = await DELIVERIES.find(unit, "id = $1 and state in ('pending', 'failed')", delivery_id)
        if delivery is None or delivery.next_at is None or delivery.next_at > unit.now:
            return None  # another process was faster
        endpoint = await store.endpoint(unit, delivery.endpoint_id) if delivery.endpoint_id else None
        heard = await store.heard(unit, delivery.intent)
        reason = self._not_worth_sending(unit, delivery, endpoint, heard)
        if reason or endpoint is None:
            await DELIVERIES.save(unit, delivery.give_up(reason))
            return None
        attempted = await DELIVERIES.save(unit, delivery.attempt())
        await store.add_attempt(unit, attempted.id, attempted.attempts)
        unit.schedule(LOST, attempted.id, at=unit.now + LOST_AFTER)
        title, text = self._filled(heard)
        return Outgoing(
            id=attempted.id,
            number=attempted.attempts,
            channel=attempted.channel,
            url=unit.open("notify.endpoint.url", endpoint.id, endpoint.url),
            secret=unit.open("notify.endpoint.secret", endpoint.id, endpoint.secret),
            intent=heard.id,
            template=heard.template,
            title=title,
            text=text,
            subject=heard.subject,
            link=self._link(heard.subject),
            urgency=heard.urgency,
            division=heard.division,
            possible_repeat=attempted.possible_repeat,
            at=unit.now,
        )

    def _not_worth_sending(self, unit: Unit, delivery: Delivery, endpoint: Endpoint | None, heard: Heard) -> str:
        """Why it is given up before it is tried, or ""."""
        if endpoint is None or not endpoint.active:
            return "ENDPOINT_CLOSED"
        if delivery.expired(unit.now):
            return "EXPIRED"
        return "" if heard.template in self._templates else "TEMPLATE_UNKNOWN"

    async def end(self, unit: Unit, delivery_id: UUID, number: int, outcome: Outcome) -> None:
        """Records what came of an attempt. An answer that comes after the delivery went on without it changes its own row alone."""
        await store.end_attempt(unit, delivery_id, number, outcome)
        delivery = await DELIVERIES.find(unit, "id = $1 and attempts = $2", delivery_id, number)
        if delivery is None or delivery.state not in (ATTEMPTED, UNKNOWN):
            return
        if delivery.state == UNKNOWN and outcome.kind == Outcome.UNKNOWN:
            return
        unit.cancel(LOST, delivery_id)
        await DELIVERIES.save(unit, delivery.settle(outcome, unit.now, self._rules, random.random()))

    async def abandon(self, unit: Unit, delivery_id: UUID) -> None:
        """Gives up what cannot even be begun, so that it does not stand in the way of the others."""
        delivery = await DELIVERIES.find(unit, "id = $1 and state in ('pending', 'failed')", delivery_id)
        if delivery is not None:
            await DELIVERIES.save(unit, delivery.give_up("INTERNAL"))

    async def lose(self, unit: Unit, delivery_id: UUID) -> None:
        """No outcome was recorded in time: the process died between the provider's answer and our record, perhaps before the call."""
        delivery = await DELIVERIES.find(unit, "id = $1 and state = 'attempted'", delivery_id)
        if delivery is not None:
            await DELIVERIES.save(unit, delivery.lose("NO_ANSWER_RECORDED", unit.now, self._rules))

    async def resend(self, unit: Unit, delivery_id: UUID, etag: str) -> Delivery:
        delivery = await DELIVERIES.get(unit, delivery_id)
        unit.match(etag, delivery)
        if delivery.state == NO_RECIPIENT:
            return await self._look(unit, delivery)
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


def _delivery(unit: Unit, heard: Heard, channel: str, recipient: str, state: str) -> Delivery:
    return Delivery(
        id=unit.new_id(),
        intent=heard.id,
        channel=channel,
        recipient=recipient,
        endpoint_id=None,
        department_id=None,
        post="",
        account="",
        template=heard.template,
        subject=heard.subject,
        division=heard.division,
        urgency=heard.urgency,
        state=state,
        created_at=unit.now,
        traceparent=unit.traceparent,
        expires_at=heard.expires_at,
    )


def _only(department: UUID | None) -> list[UUID]:
    return [department] if department else []

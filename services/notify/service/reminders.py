"""What follows when a message is not read: it is told again among others at fixed hours; it goes to the next channel, then to the superior.

A timer is only a reminder of the facts: what was read meanwhile is not told again, and what fell due while the process was dead is told once.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID, uuid5

from kit.unit import Unit
from services.notify.model import (
    ACCOUNT,
    NEXT_CHANNEL,
    NORMAL,
    PENDING,
    QUIET,
    SMS,
    SUPERIOR_TOLD,
    Delivery,
    Message,
)
from services.notify.service import signals
from services.notify.service.recipients import Recipient
from services.notify.store import messages as store
from services.notify.store import reminders as stored
from services.notify.store.messages import DELIVERIES, Heard
from services.notify.store.reminders import Line

if TYPE_CHECKING:
    from services.notify.service.notify import Notify

#: Timers: a message is unread for too long; a person's reminders are to be told again.
UNREAD, BUNDLE = "notify.unread", "notify.bundle"

UNREAD_TEMPLATE, BUNDLE_TEMPLATE = "notify.unread", "notify.bundle"

#: Namespace of the ids of what notify says by itself.
OWN_INTENTS: Final = UUID("5f0a8f5e-8d43-5a0e-9f0c-0f5c62d3a4b1")


def own_notice(
    about: str,
    template: str,
    variables: dict[str, str],
    subject: str,
    division: str,
    now: datetime,
    *,
    restricted: bool,
) -> Heard:
    """What notify says of its own accord, once for `about`."""
    intent = uuid5(OWN_INTENTS, f"{template}:{about}")
    return Heard(intent, template, variables, subject, division, NORMAL, None, now, restricted, own=True)


class Reminders:
    def __init__(self, notify: Notify) -> None:
        self._notify = notify

    def watch(self, unit: Unit, message: Message) -> None:
        """A new message in an inbox: what is to happen if it is not read."""
        rules, calendar = self._notify.rules, self._notify.calendar
        unread = rules.unread(message.template, message.urgency)
        if unread and message.template != UNREAD_TEMPLATE:  # else it would climb for ever
            unit.schedule(UNREAD, message.id, at=calendar.after_working_hours(unit.now, unread.next_hours))
        if at := rules.bundled_at(message.template, message.urgency, unit.now, calendar):
            # The hour is part of the key: one that is late, after an outage, is not moved to the next.
            unit.schedule(BUNDLE, f"{message.account}@{at.isoformat()}", at=at)

    # -- bundles ------------------------------------------------------------------------------------------------------

    async def bundle(self, unit: Unit, key: str) -> None:
        """One message of all ordinary reminders that a person has not read and was not told again of."""
        account = key.rpartition("@")[0]
        lines = await stored.to_bundle(unit, account, sorted(self._notify.rules.bundled))
        if not lines:
            return
        heard = own_notice(
            key, BUNDLE_TEMPLATE, {"count": str(len(lines))}, "messages", lines[0].division, unit.now, restricted=False
        )
        message = self._bundled(unit, heard, account, lines)
        if await store.hear(unit, heard, [message]):
            await stored.bundled(unit, [line.message_id for line in lines], message.id)
            signals.bundled(unit)

    def _bundled(self, unit: Unit, heard: Heard, account: str, lines: list[Line]) -> Message:
        title, text = self._notify.filled(heard)
        shown = lines[: self._notify.rules.bundle_lines]
        zh = "\n".join([text.zh, *(f"{line.title_zh} {line.code} {line.link}" for line in shown)])
        en = "\n".join([text.en, *(f"{line.title_en} {line.code} {line.link}" for line in shown)])
        return Message(
            id=unit.new_id(),
            intent=heard.id,
            account=account,
            template=heard.template,
            title_zh=title.zh,
            title_en=title.en,
            text_zh=zh,
            text_en=en,
            subject=heard.subject,
            link=self._notify.link(heard.subject),
            urgency=heard.urgency,
            division=heard.division,
            department_id=None,
            post="",
            ground=ACCOUNT,
            delivered_at=unit.now,
        )

    async def read_with(self, unit: Unit, bundle: UUID) -> None:
        await stored.read_with(unit, bundle)

    # -- unread too long ------------------------------------------------------------------------------------------------

    async def unread(self, unit: Unit, message_id: UUID) -> None:
        message = await stored.unread(unit, message_id)
        rule = self._notify.rules.unread(message.template, message.urgency) if message else None
        if message is None or rule is None or message.escalated >= SUPERIOR_TOLD:
            return
        if message.escalated == QUIET:
            await stored.escalated(unit, message.id, NEXT_CHANNEL)
            await self._by_text(unit, message)
            later = self._notify.calendar.after_working_hours(unit.now, rule.superior_hours)
            unit.schedule(UNREAD, message.id, at=later)
            return
        await stored.escalated(unit, message.id, SUPERIOR_TOLD)
        await self._tell_superior(unit, message)

    async def _by_text(self, unit: Unit, message: Message) -> None:
        """A text message, where the person has given a number. Without one the inbox is all there is before the superior."""
        if not await self._notify.sms.reaches(unit, message.account):
            return
        heard = await store.heard(unit, message.intent)
        going = replace(
            new_delivery(unit, heard, SMS, message.account, PENDING),
            account=message.account,
            department_id=message.department_id,
            post=message.post,
            next_at=self._notify.rules.not_before(unit.now, message.urgency),
        )
        await DELIVERIES.add(unit, going)
        signals.escalated(unit, "sms")

    async def fallen(self, unit: Unit, delivery: Delivery) -> None:
        """The text message did not arrive: the superior is next, at once."""
        message = await stored.unread_of(unit, delivery.intent, delivery.account)
        if message is not None and message.escalated < SUPERIOR_TOLD:
            unit.schedule(UNREAD, message.id, at=unit.now)

    async def _tell_superior(self, unit: Unit, message: Message) -> None:
        department, post = message.department_id, message.post
        if department is None:
            home = await store.home_of(unit, message.account)
            department = home[0] if home else None
        known = (await store.addressed(unit, [department])).get(department) if department else None
        found = known.directory.superior(post, unit.today, besides=message.account) if known else None
        if found is None:
            return
        heard = await store.heard(unit, message.intent)
        told = own_notice(
            str(message.id),
            UNREAD_TEMPLATE,
            {"code": heard.variables.get("code", "-")},
            message.subject,
            message.division,
            unit.now,
            restricted=heard.restricted,
        )
        await self._notify.tell(unit, told, [Recipient(None, "", found[0])])
        signals.escalated(unit, "superior")


def new_delivery(unit: Unit, heard: Heard, channel: str, recipient: str, state: str) -> Delivery:
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

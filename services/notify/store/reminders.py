"""Of what follows when a message stays unread: bundles, the next channel, receipts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from uuid import UUID

from kit.table import Table
from kit.unit import Unit
from services.notify.model import SMS, Contact, Delivery, Message
from services.notify.store.messages import DELIVERIES

CONTACTS = Table("contact", Contact)

_MESSAGE = ", ".join(f.name for f in fields(Message))


async def unread(unit: Unit, message_id: UUID) -> Message | None:
    """Locked: whoever marks it as read waits, or was faster."""
    row = await unit.fetchrow(
        f"select {_MESSAGE} from message where id = $1 and read_at is null {unit.lock}", message_id
    )
    return Message(*row) if row else None


async def unread_of(unit: Unit, intent: UUID, account: str) -> Message | None:
    row = await unit.fetchrow(
        f"select {_MESSAGE} from message where intent = $1 and account = $2 and read_at is null {unit.lock}",
        intent,
        account,
    )
    return Message(*row) if row else None


async def escalated(unit: Unit, message_id: UUID, step: int) -> None:
    await unit.execute("update message set escalated = $2 where id = $1", message_id, step)


@dataclass(frozen=True, slots=True)
class Line:
    """An item of a bundle. `code`: what its notice is about."""

    message_id: UUID
    title_zh: str
    title_en: str
    code: str
    link: str
    division: str


async def to_bundle(unit: Unit, account: str, templates: Sequence[str]) -> list[Line]:
    """A person's ordinary reminders that are neither read nor told again yet, the oldest first."""
    rows = await unit.fetch(
        "select m.id, m.title_zh, m.title_en, coalesce(n.variables->>'code', '') as code, m.link, m.division "
        "from message m join notice n on n.id = m.intent "
        "where m.account = $1 and m.read_at is null and m.bundle is null and m.template = any($2) and m.urgency = 'normal' "
        "order by m.id for no key update of m",
        account,
        list(templates),
    )
    return [Line(*row) for row in rows]


async def bundled(unit: Unit, messages: Sequence[UUID], bundle: UUID) -> None:
    await unit.execute("update message set bundle = $2 where id = any($1)", messages, bundle)


async def read_with(unit: Unit, bundle: UUID) -> None:
    """Whoever reads a bundle has read what stands in it."""
    await unit.execute(
        "update message set read_at = $2, version = version + 1 where bundle = $1 and read_at is null", bundle, unit.now
    )


async def contact(unit: Unit, account: str) -> Contact | None:
    return await CONTACTS.find(unit, "account = $1", account)


async def sms(unit: Unit, delivery_id: UUID) -> Delivery | None:
    """A text message, for its provider, who has no division."""
    row = await unit.fetchrow(
        f"select {DELIVERIES.columns} from delivery where id = $1 and channel = $2 {unit.lock}", delivery_id, SMS
    )
    return DELIVERIES.load(unit, row) if row else None


@dataclass(frozen=True, slots=True)
class Receipt:
    delivery_id: UUID
    receipt_id: str
    status: str
    reason: str
    received_at: datetime
    counted: bool


async def receipt_known(unit: Unit, delivery_id: UUID, receipt_id: str) -> bool:
    return await unit.fetchval(  # type: ignore[no-any-return]
        "select exists (select from receipt where delivery_id = $1 and receipt_id = $2)", delivery_id, receipt_id
    )


async def add_receipt(unit: Unit, receipt: Receipt) -> None:
    await unit.execute(
        "insert into receipt (delivery_id, receipt_id, status, reason, received_at, counted) values ($1, $2, $3, $4, $5, $6)",
        *(getattr(receipt, f.name) for f in fields(Receipt)),
    )

"""What the service says of itself to those who watch it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from kit.metrics import Counter, Gauge, Reading
from kit.unit import Unit
from services.notify.store import manual as store

#: Work items are counted to here.
MOST: Final = 100_000

MANUAL = Gauge("hetao.manual_delivery.open", "{delivery}", "parties that clerks still have to tell; counted to 100,000")
ESCALATIONS = Counter(
    "hetao.message.escalations", "{message}", "unread messages that went on to the next channel or to a superior"
)
RECEIPTS = Counter("hetao.sms.receipts", "{receipt}", "receipts of text messages")
BUNDLES = Counter("hetao.message.bundles", "{message}", "reminders of a person that were told again as one message")


def escalated(unit: Unit, step: str) -> None:
    unit.afterwards(lambda: ESCALATIONS.add(1, {"hetao.escalation": step}))


def reported(unit: Unit, status: str) -> None:
    unit.afterwards(lambda: RECEIPTS.add(1, {"hetao.receipt": status}))


def bundled(unit: Unit) -> None:
    unit.afterwards(lambda: BUNDLES.add(1))


async def readings(unit: Unit) -> Mapping[Gauge, Sequence[Reading]]:
    waiting, late = await store.count_open(unit, MOST)
    return {MANUAL: [(waiting - late, {"hetao.manual.state": "in_time"}), (late, {"hetao.manual.state": "overdue"})]}

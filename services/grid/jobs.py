"""What happens by itself: reports that nobody verifies, acknowledges or takes over."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from kit.timers import Timer, timer
from kit.unit import Unit
from services.grid.service.handling import Handling
from services.grid.service.handover import Handovers
from services.grid.service.reports import ACKNOWLEDGE, ANSWER, VERIFY


def timers(handling: Handling, handovers: Handovers) -> Sequence[Timer]:
    @timer(VERIFY)
    async def verify(unit: Unit, key: str) -> None:
        await handling.not_verified(unit, UUID(key))

    @timer(ACKNOWLEDGE)
    async def acknowledge(unit: Unit, key: str) -> None:
        await handling.not_acknowledged(unit, UUID(key))

    @timer(ANSWER)
    async def answer(unit: Unit, key: str) -> None:
        await handovers.not_answered(unit, UUID(key))

    return [verify, acknowledge, answer]

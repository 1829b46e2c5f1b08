"""What happens by itself: the clocks of cases, tasks, suspensions and supervision orders, the dates of agreements; after an update, the keys by which
parties are found."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from kit.timers import Timer, timer
from kit.unit import Unit
from services.cases.service import Cases
from services.cases.service.closing import PERFORMANCE_CLOCK
from services.cases.service.finding import FILL, fill_keys
from services.cases.service.limits import (
    CASE_CLOCK,
    SUPERVISION_CLOCK,
    SUPPLEMENT_CLOCK,
    SUSPENSION_CLOCK,
    TASK_CLOCK,
)


def timers(service: Cases) -> Sequence[Timer]:
    @timer(CASE_CLOCK)
    async def case_clock(unit: Unit, key: str) -> None:
        await service.clocks.case(unit, UUID(key))

    @timer(TASK_CLOCK)
    async def task_clock(unit: Unit, key: str) -> None:
        await service.clocks.task(unit, UUID(key))

    @timer(SUPPLEMENT_CLOCK)
    async def supplement_clock(unit: Unit, key: str) -> None:
        await service.clocks.supplement(unit, UUID(key))

    @timer(SUSPENSION_CLOCK)
    async def suspension_clock(unit: Unit, key: str) -> None:
        await service.suspensions.end(unit, UUID(key))

    @timer(SUPERVISION_CLOCK)
    async def supervision_clock(unit: Unit, key: str) -> None:
        await service.supervisions.late(unit, UUID(key))

    @timer(FILL)
    async def party_keys(unit: Unit, key: str) -> None:
        await fill_keys(unit)

    @timer(PERFORMANCE_CLOCK)
    async def performance_clock(unit: Unit, key: str) -> None:
        await service.closing.performance_due(unit, UUID(key))

    return [
        case_clock,
        task_clock,
        supplement_clock,
        suspension_clock,
        supervision_clock,
        performance_clock,
        party_keys,
    ]

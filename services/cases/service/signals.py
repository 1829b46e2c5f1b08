"""What the service says of itself to those who watch it: limits that are over, without saying whose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kit.metrics import Counter, Gauge, Reading
from kit.unit import Unit
from services.cases.store import cases as store

ACCEPTANCE, HANDLING, TASK = "acceptance", "handling", "task"

OVERDUE = Gauge("hetao.case.overdue", "{case}", "open cases and tasks whose limit is over")
BREACHES = Counter("hetao.case.breaches", "{breach}", "limits that ran out")


def breached(unit: Unit, stage: str) -> None:
    """A limit ran out, if the unit commits."""
    unit.afterwards(lambda: BREACHES.add(1, {"hetao.case.stage": stage}))


async def readings(unit: Unit) -> Mapping[Gauge, Sequence[Reading]]:
    waiting, handled, tasks = await store.overdue(unit)
    counts = {ACCEPTANCE: waiting, HANDLING: handled, TASK: tasks}
    return {OVERDUE: [(count, {"hetao.case.stage": stage}) for stage, count in counts.items()]}

"""Limits that are over are counted, for whoever watches the platform, and none of the figures says whose they are."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from kit import metrics
from kit.readings import Readings
from tests.signals import points
from tests.unit.cases.conftest import CentreAtWork


@pytest.fixture
def reader() -> Iterator[InMemoryMetricReader]:
    with metrics.read() as reader:
        yield reader


async def overdue(centre: CentreAtWork, reader: InMemoryMetricReader) -> dict[str, float]:
    platform = centre.world.platform
    service = platform.services["cases"]
    assert service.relay
    readings = Readings(service.runtime, service.parts, service.relay, service.consumer, service.timers, platform.log)
    try:
        await readings.look()
        found = points(reader, "hetao.case.overdue")
    finally:
        readings.forget()
    return {dict(labels)["hetao.case.stage"]: value for labels, value in found.items()}


async def test_what_is_overdue_is_counted_by_its_stage(centre: CentreAtWork, reader: InMemoryMetricReader) -> None:
    assert await overdue(centre, reader) == {"acceptance": 0, "handling": 0, "task": 0}
    await centre.create()
    await centre.dispatched()
    await centre.world.travel("2026-03-06 08:00")
    assert await overdue(centre, reader) == {"acceptance": 1, "handling": 0, "task": 2}
    await centre.world.travel("2026-06-01 08:00")
    assert await overdue(centre, reader) == {"acceptance": 1, "handling": 1, "task": 3}
    breaches = {
        dict(labels)["hetao.case.stage"]: count for labels, count in points(reader, "hetao.case.breaches").items()
    }
    assert breaches == {"acceptance": 1, "handling": 1, "task": 3}


async def test_what_was_done_is_overdue_no_more(centre: CentreAtWork, reader: InMemoryMetricReader) -> None:
    case = await centre.dispatched()
    await centre.world.travel("2026-06-01 08:00")
    for task in sorted(case.tasks, key=lambda task: task.lead):
        await centre.sign_in(case, task)
        await centre.submit(case, task)
    assert await overdue(centre, reader) == {"acceptance": 0, "handling": 1, "task": 0}

"""What tables and the log say of a service's health: by service, handler and kind, and nothing that is old."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta

import pytest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from kit import metrics, readings
from kit.readings import Readings
from tests.signals import points
from tests.unit.kit.conftest import HOUR, ShelfWorld


@pytest.fixture
def reader() -> Iterator[InMemoryMetricReader]:
    with metrics.read() as reader:
        yield reader


@pytest.fixture
async def looked(shelf_world: ShelfWorld) -> AsyncIterator[Readings]:
    service = shelf_world.platform.services["shelf"]
    assert service.relay
    made = Readings(
        service.runtime, service.parts, service.relay, service.consumer, service.timers, shelf_world.platform.log
    )
    yield made
    made.forget()


def value(reader: InMemoryMetricReader, name: str, **labels: str) -> float | None:
    """Of the series that has these labels among others."""
    named = {key.replace("_", "."): one for key, one in labels.items()}
    found = [v for of, v in points(reader, name).items() if named.items() <= dict(of).items()]
    assert len(found) < 2
    return found[0] if found else None


async def test_what_waits_is_counted_with_its_age(
    shelf_world: ShelfWorld, looked: Readings, reader: InMemoryMetricReader
) -> None:
    await looked.look()
    assert (value(reader, "hetao.outbox.rows"), value(reader, "hetao.outbox.age")) == (0, 0)
    await shelf_world.put("a")
    shelf_world.clock.move(timedelta(seconds=90))
    await shelf_world.put("b")
    await looked.look()
    assert (value(reader, "hetao.outbox.rows", hetao_service="shelf"), value(reader, "hetao.outbox.age")) == (2, 90)
    assert value(reader, "hetao.audit.seal.age") == 90
    service = shelf_world.platform.services["shelf"]
    assert service.relay
    await service.relay.step()
    await looked.look()
    assert value(reader, "hetao.outbox.rows") == 0
    assert value(reader, "hetao.consumer.lag", messaging_destination_name="hetao.shelf.v1") == 2
    await shelf_world.settle()
    await looked.look()
    assert value(reader, "hetao.consumer.lag") == 0


async def test_timers_that_are_late_and_those_that_were_put_aside(
    shelf_world: ShelfWorld, looked: Readings, reader: InMemoryMetricReader
) -> None:
    stubborn, _ = await shelf_world.put("stubborn"), await shelf_world.put("b")
    await looked.look()
    assert (value(reader, "hetao.timer.backlog"), value(reader, "hetao.dead_letter.timers")) == (0, 0)
    shelf_world.clock.move(HOUR + timedelta(minutes=5))
    await looked.look()
    assert (value(reader, "hetao.timer.backlog"), value(reader, "hetao.timer.backlog.age")) == (2, 300)
    for _ in range(10):
        await shelf_world.platform.fire()
        shelf_world.clock.move(2 * HOUR)
    await looked.look()
    assert (value(reader, "hetao.timer.backlog"), value(reader, "hetao.timer.backlog.age")) == (0, 0)
    assert value(reader, "hetao.dead_letter.timers", hetao_timer_kind="shelf.check") == 1
    assert value(reader, "hetao.timer.lateness", hetao_timer_kind="shelf.check") == 1, "the one that was done"
    assert stubborn.id


async def test_events_that_were_put_aside_by_their_handler(
    shelf_world: ShelfWorld, looked: Readings, reader: InMemoryMetricReader
) -> None:
    thing = await shelf_world.put("a")
    await looked.look()
    handlers = {dict(labels)["hetao.handler"] for labels in points(reader, "hetao.dead_letter.events")}
    assert len(handlers) == 2, "also those that have nothing"
    await shelf_world.change(thing, "poison")
    await shelf_world.change(thing, "later")
    await shelf_world.settle()
    await looked.look()
    found = {
        dict(labels)["hetao.handler"].rpartition(".")[2]: n
        for labels, n in points(reader, "hetao.dead_letter.events").items()
    }
    assert found == {"write_down": 2, "keep_newest": 0}


async def test_no_figure_is_better_than_an_old_one(
    looked: Readings, reader: InMemoryMetricReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    await looked.look()
    assert value(reader, "hetao.outbox.rows") == 0
    monkeypatch.setattr(readings, "STALE", 0)
    assert value(reader, "hetao.outbox.rows") is None


async def test_who_is_at_work_says_so(shelf_world: ShelfWorld, looked: Readings, reader: InMemoryMetricReader) -> None:
    relay = shelf_world.platform.services["shelf"].relay
    assert relay
    await relay.step()
    assert relay.leads
    await relay.release()
    assert not relay.leads

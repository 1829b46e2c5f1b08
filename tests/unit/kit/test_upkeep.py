"""The kit's own tables stay bounded: what is past its retention goes, in small batches, and no writer waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from kit.clock import VirtualClock
from kit.config import Settings
from kit.database import Database
from kit.events import Envelope
from kit.ids import uuid7
from kit.log import Record
from kit.log.sql import SqlLog
from kit.platform import Platform
from kit.upkeep import clean_once
from tests import shelf
from tests.unit.kit.conftest import Everybody, ShelfWorld
from tests.waiting import running, until
from tests.world import MORNING

DAY = timedelta(days=1)


async def fill(world: ShelfWorld, count: int, at: datetime) -> None:
    """So many inbox rows and stored replies of a moment."""
    pool = world.platform.services["shelf"].runtime.pool
    await pool.execute(
        "insert into inbox (handler, source, event_id, at) select 'h', 's', gen_random_uuid(), $2 from generate_series(1, $1)",
        count,
        at,
    )
    await pool.execute(
        "insert into reply (account, method, request_id, digest, answer, at) "
        "select 'a', 'm', gen_random_uuid()::text, '', '', $2 from generate_series(1, $1)",
        count,
        at,
    )


async def left(world: ShelfWorld) -> tuple[int, int]:
    (row,) = await world.rows(
        "shelf", "select (select count(*) from inbox) as inbox, (select count(*) from reply) as reply"
    )
    return row["inbox"], row["reply"]


class Counting:
    """A pool that remembers what was said, and how many rows it touched."""

    def __init__(self, pool: Any):
        self._pool, self.said, self.touched = pool, list[tuple[Any, ...]](), list[int]()

    async def execute(self, *args: Any) -> str:
        tag: str = await self._pool.execute(*args)
        self.said.append(args)
        self.touched.append(int(tag.split()[-1]))
        return tag


async def test_only_what_is_past_its_retention_goes_and_in_batches(shelf_world: ShelfWorld) -> None:
    runtime = shelf_world.platform.services["shelf"].runtime
    retention = runtime.settings.retention
    runtime.settings = runtime.settings.model_copy(update={"retention": retention.model_copy(update={"batch": 100})})
    await fill(shelf_world, 250, MORNING - (retention.inbox_days + 1) * DAY)  # both are too old
    await fill(shelf_world, 30, MORNING - (retention.reply_days + 1) * DAY)  # the replies are too old
    await fill(shelf_world, 20, MORNING - (retention.reply_days - 1) * DAY)  # neither is
    counting = Counting(runtime.background_pool)
    runtime._pools = (runtime.pool, counting)  # type: ignore[assignment]
    assert await clean_once(runtime) == 250 + 280
    assert counting.touched == [100, 100, 50, 100, 100, 80]
    assert await left(shelf_world) == (50, 20)
    assert await clean_once(runtime) == 0


async def test_a_services_own_passing_rows_go_too(shelf_world: ShelfWorld) -> None:
    runtime = shelf_world.platform.services["shelf"].runtime
    runtime.module = replace(runtime.module, passing={"seen": ("last_at", 2)})
    await runtime.pool.execute("create table seen (last_at timestamptz not null)")
    for days in (0, 1, 3, 4):
        await runtime.pool.execute("insert into seen values ($1)", MORNING - days * DAY)
    assert await clean_once(runtime) == 2
    assert len(await shelf_world.rows("shelf", "select from seen")) == 2


async def test_no_writer_waits_for_the_clean_up(shelf_world: ShelfWorld) -> None:
    shelf = shelf_world.platform.services["shelf"]
    relay, consumer = shelf.relay, shelf.consumer
    assert relay
    assert consumer
    retention = shelf.runtime.settings.retention.model_copy(update={"batch": 50})
    shelf.runtime.settings = shelf.runtime.settings.model_copy(update={"retention": retention})
    await fill(shelf_world, 30_000, MORNING - 100 * DAY)
    thing, written, heard = await shelf_world.put("a"), 0, 0

    async def write() -> None:
        nonlocal written, heard
        while True:
            await shelf_world.change(thing, "b", request_id=f"r{written}")
            written += 1
            await relay.step()
            heard += await consumer.step()

    async with running(write(), clean_once(shelf.runtime)) as (_, cleaning):
        assert await cleaning == 60_000
        assert written > 5, "it was written all the while"
        assert heard > 5, "and heard"
    inbox, replies = await left(shelf_world)
    assert inbox >= heard
    assert replies >= written, "what is fresh stays"


async def test_a_transaction_that_stays_open_keeps_no_clean_up_waiting(shelf_world: ShelfWorld) -> None:
    runtime = shelf_world.platform.services["shelf"].runtime
    await fill(shelf_world, 500, MORNING - 100 * DAY)
    async with runtime.pool.acquire() as connection, connection.transaction():
        await connection.execute("insert into reply values ('a', 'm', 'r', '', '', $1)", MORNING - 100 * DAY)
        async with asyncio.timeout(5):
            assert await clean_once(runtime) == 1000
    assert await clean_once(runtime) == 1


async def test_the_outbox_empties_itself(shelf_world: ShelfWorld) -> None:
    for nth in range(30):
        await shelf_world.put(f"{nth}")
    assert len(await shelf_world.rows("shelf", "select from outbox")) == 30
    await shelf_world.settle()
    assert not await shelf_world.rows("shelf", "select from outbox")


@pytest.fixture
async def running_world(database: Database, settings: Settings) -> AsyncIterator[ShelfWorld]:
    """A shelf that looks after itself, often."""
    quick = settings.model_copy(update={"retention": settings.retention.model_copy(update={"every_seconds": 0.05})})
    clock = VirtualClock(MORNING)
    async with Platform(
        quick, [shelf.MODULE], clock=clock, database=database, listen=False, background=True
    ) as platform:
        for service in platform.services.values():
            service.runtime.verifier = Everybody()  # type: ignore[assignment]
        yield ShelfWorld(platform, clock)


async def test_a_platform_that_runs_for_long_keeps_little(running_world: ShelfWorld) -> None:
    """All that is left of a busy day, two months later, is what the service itself keeps, and the audit."""
    for nth in range(20):
        await running_world.put(f"{nth}", request_id=f"r{nth}")

    async def counted(sql: str) -> int:
        pool = running_world.platform.services["shelf"].runtime.pool
        return int(await pool.fetchval(f"select count(*) from {sql}"))

    async def heard() -> bool:
        return await counted("heard") == 20

    await until(heard, "everything is in effect")
    running_world.clock.move(60 * DAY)

    async def gone() -> bool:
        log = running_world.platform.log._pool  # type: ignore[attr-defined]
        kept = (*await left(running_world), await counted("outbox"), await log.fetchval("select count(*) from record"))
        return kept == (0, 0, 0, 0) and await counted("fired") == 20

    await until(gone, "what is past its retention has gone")
    assert (await counted("thing"), await counted("audit")) == (20, 20)


async def test_a_clean_up_that_finds_nothing_reads_next_to_nothing(shelf_world: ShelfWorld) -> None:
    """Also when new rows stand where old ones stood, as they all do in the end."""
    runtime = shelf_world.platform.services["shelf"].runtime
    pool, old = runtime.pool, MORNING - 100 * DAY
    await fill(shelf_world, 20_000, old)
    await fill(shelf_world, 100, MORNING)  # so that the old rows' pages are not given back
    for table in ("inbox", "reply"):
        await pool.execute(f"vacuum {table}")
    assert await clean_once(runtime) == 40_000
    for table in ("inbox", "reply"):
        await pool.execute(f"vacuum {table}")
    await fill(shelf_world, 20_000, MORNING)
    counting = Counting(runtime.background_pool)
    runtime._pools = (runtime.pool, counting)  # type: ignore[assignment]
    assert await clean_once(runtime) == 0
    for sql, *args in counting.said:
        assert await pages_read(pool, sql, *args) < 30, sql
    log = shelf_world.platform.log
    assert isinstance(log, SqlLog)
    for moment in (old, MORNING, MORNING):
        records = [Record(Envelope(uuid7(), "t", "s", f"{n}", moment, "1508", False, ""), b"") for n in range(5000)]
        await log.append("hetao.busy.v1", records)
        await log._pool.execute("vacuum record")
        await log.trim(MORNING - DAY, 5000)
    trimming = Counting(log._pool)
    log._pool, whole = trimming, log._pool
    assert await log.trim(MORNING - DAY, 5000) == 0
    log._pool = whole
    ((sql, *args),) = trimming.said
    assert await pages_read(log._pool, sql, *args) < 30


async def pages_read(pool: Any, sql: str, *args: Any) -> int:
    """How many pages a statement touches."""
    (row,) = await pool.fetch(f"explain (analyze, buffers, format json) {sql}", *args)
    (plan,) = row[0]
    return int(plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"])

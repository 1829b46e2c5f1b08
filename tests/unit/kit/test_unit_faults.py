"""What a unit of work does when its caller goes, its database goes, or its code is wrong."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from dataclasses import replace
from uuid import UUID

import asyncpg
import pytest
from grpc.aio import AioRpcError

from kit.clock import VirtualClock
from kit.config import Settings
from kit.database import Database
from kit.events import Event
from kit.platform import Platform
from kit.timers import Timer, TimerLoop
from kit.unit import DATABASE_AWAY, Unit
from tests import shelf
from tests.unit.kit.conftest import HOUR, Everybody, ShelfWorld
from tests.waiting import until
from tests.world import MORNING, refused


async def test_a_commit_is_finished_when_its_caller_has_gone(
    shelf_world: ShelfWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    committing, cancelled = asyncio.Event(), asyncio.Event()
    send = Unit._send

    async def observed(unit: Unit) -> None:
        committing.set()
        await cancelled.wait()
        await send(unit)

    monkeypatch.setattr(Unit, "_send", observed)
    call = asyncio.create_task(shelf_world.put("自行车", request_id="r1"))
    await committing.wait()
    call.cancel()
    await asyncio.sleep(0)
    cancelled.set()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert [row["title"] for row in await shelf_world.rows("shelf", "select title from thing")] == ["自行车"]
    pool = shelf_world.platform.services["shelf"].runtime.pool
    assert pool.get_idle_size() == pool.get_size(), "every connection was given back"
    await shelf_world.put("自行车", request_id="r1")
    assert len(await shelf_world.rows("shelf", "select from thing")) == 1


async def test_calls_that_are_cut_off_keep_no_connection(shelf_world: ShelfWorld) -> None:
    """Cancelled at every moment of their work, with all connections in use."""
    thing = await shelf_world.put("a")
    for nth in range(60):
        calls = [asyncio.create_task(shelf_world.change(thing, f"t{n}")) for n in range(3)]
        calls += [asyncio.create_task(shelf_world.put(f"{nth}")) for _ in range(12)]
        await asyncio.sleep(nth * 0.0005)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
    pool = shelf_world.platform.services["shelf"].runtime.pool
    assert pool.get_idle_size() == pool.get_size()
    rows = await shelf_world.rows("shelf", "select version from audit where entity_id = $1 order by version", thing.id)
    assert [row["version"] for row in rows] == list(range(1, len(rows) + 1))
    assert await shelf_world.rows(
        "shelf", "select (select count(*) from outbox) = (select count(*) from audit) as same"
    )
    assert not await shelf_world.rows(
        "shelf", "select from pg_locks l join pg_class c on c.oid = l.relation and c.relname = 'thing'"
    )


async def test_a_unit_that_only_reads_cannot_lose_what_it_says(shelf_world: ShelfWorld) -> None:
    runtime = shelf_world.platform.services["shelf"].runtime

    async def say(unit: Unit) -> None:
        unit.emit(Event("k", shelf.pb.ThingChanged(id="x")))

    with pytest.raises(RuntimeError, match="gathered something"):
        await runtime.read(say, action="test")


async def test_a_statement_that_failed_and_was_caught_undoes_the_unit(shelf_world: ShelfWorld) -> None:
    runtime = shelf_world.platform.services["shelf"].runtime

    async def careless(unit: Unit) -> None:
        await unit.execute("insert into fired (key) values ('x')")
        with contextlib.suppress(asyncpg.PostgresError):
            await unit.execute("select 1 / 0")

    with pytest.raises(RuntimeError, match="ROLLBACK"):
        await runtime.transact(careless, action="test")


async def test_texts_that_cannot_be_kept_are_refused(shelf_world: ShelfWorld) -> None:
    thing = await shelf_world.put("a")
    for call in (
        shelf_world.put("nul \0"),
        shelf_world.put("a", request_id="nul \0"),
        shelf_world.change(thing, "nul \0"),
        shelf_world.change(thing, "b", request_id="nul \0"),
    ):
        no = await refused(call)
        assert (no.code, no.reason) == ("INVALID_ARGUMENT", "CHARACTER_NOT_ALLOWED")
    assert len(await shelf_world.rows("shelf", "select from thing")) == 1


async def test_when_every_connection_is_taken_a_caller_is_told_to_come_again(shelf_world: ShelfWorld) -> None:
    runtime = shelf_world.platform.services["shelf"].runtime
    database = runtime.settings.database.model_copy(update={"acquire_timeout": 0.2})
    runtime.settings = runtime.settings.model_copy(update={"database": database})
    async with contextlib.AsyncExitStack() as taken:
        for _ in range(database.pool_size):
            await taken.enter_async_context(runtime.pool.acquire())
        assert (await refused(shelf_world.put("a", request_id="r1"))).code == "UNAVAILABLE"
    await shelf_world.put("a", request_id="r1")


async def test_a_lock_that_is_not_to_be_had_is_no_error_of_ours(shelf_world: ShelfWorld) -> None:
    thing = await shelf_world.put("a")
    pool = shelf_world.platform.services["shelf"].runtime.pool
    async with contextlib.AsyncExitStack() as taken:
        for _ in range(pool.get_max_size()):
            connection = await taken.enter_async_context(pool.acquire())
            await connection.execute("set lock_timeout = '50ms'")
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("select from thing where id = $1 for update", thing.id)
        assert (await refused(shelf_world.change(thing, "b"))).code == "UNAVAILABLE"
    assert (await shelf_world.change(thing, "b")).title == "b"


async def test_a_dead_connection_is_no_error_of_ours(shelf_world: ShelfWorld) -> None:
    thing = await shelf_world.put("a")
    pool = shelf_world.platform.services["shelf"].runtime.pool
    of_ours = "from pg_stat_activity where wait_event_type = 'Lock' and usename = current_user"
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("select from thing where id = $1 for update", thing.id)
        waiting = asyncio.create_task(shelf_world.change(thing, "b"))
        await until(lambda: pool.fetchval(f"select exists (select {of_ours})"), "it waits for the lock")
        await pool.execute(f"select pg_terminate_backend(pid) {of_ours}")
        assert (await refused(waiting)).code == "UNAVAILABLE"
    assert (await shelf_world.change(thing, "b")).title == "b"


async def test_connections_that_the_server_ends_at_any_moment(shelf_world: ShelfWorld) -> None:
    """Also in the moment between its last word and the end of the stream, which asyncpg reports in a way of its own."""
    server = await asyncpg.connect(shelf_world.platform.database.embedded.dsn())  # type: ignore[union-attr]
    name, codes = shelf_world.platform.settings.database.name, Counter[str]()
    try:
        for nth in range(40):
            calls = [asyncio.ensure_future(shelf_world.put(f"{nth}", request_id=f"{nth} {n}")) for n in range(6)]
            await server.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = $1", name)
            calls += [asyncio.ensure_future(shelf_world.put(f"{nth}", request_id=f"{nth} {n}")) for n in range(6, 12)]
            for ended in await asyncio.gather(*calls, return_exceptions=True):
                codes[ended.code().name if isinstance(ended, AioRpcError) else type(ended).__name__] += 1
    finally:
        await server.close()
    assert set(codes) == {"Thing", "UNAVAILABLE"}
    await asyncio.gather(*(shelf_world.put(f"{nth}", request_id=f"{nth} {n}") for nth in range(40) for n in range(12)))
    assert len(await shelf_world.rows("shelf", "select from thing")) == 40 * 12


@pytest.mark.parametrize("fault", ["arguments", "file"])
async def test_a_timer_that_is_our_fault_starves_nobody(shelf_world: ShelfWorld, fault: str) -> None:
    """Neither arguments that do not fit nor a missing file is the database's absence, for which every timer would have to wait."""
    service = shelf_world.platform.services["shelf"]
    wrong, fine = await shelf_world.put("wrong"), await shelf_world.put("fine")

    async def work(unit: Unit, key: str) -> None:
        if key == wrong.id and fault == "arguments":
            await unit.execute("insert into fired (key) values ($1)", key, key)
        if key == wrong.id:
            raise FileNotFoundError("no such photo")
        await unit.execute("insert into fired (key) values ($1)", key)

    timers = TimerLoop(service.runtime, [Timer("shelf.check", work)])
    shelf_world.clock.move(2 * HOUR)
    assert await timers.run_due() == 1
    assert [row["key"] for row in await shelf_world.rows("shelf", "select key from fired")] == [fine.id]
    (waiting,) = await shelf_world.rows("shelf", "select key, attempts from timer")
    assert (waiting["key"], waiting["attempts"]) == (wrong.id, 1)


async def test_timers_beside_one_that_lost_its_connection_are_finished_first(shelf_world: ShelfWorld) -> None:
    """None goes on unseen while the loop thinks that it has ended, and an error of its own is not lost."""
    service = shelf_world.platform.services["shelf"]
    lost, beside = await shelf_world.put("lost"), await shelf_world.put("beside")
    failed = asyncio.Event()

    async def work(unit: Unit, key: str) -> None:
        if key == lost.id:
            failed.set()
            raise ConnectionResetError
        await failed.wait()
        await asyncio.sleep(0)
        await unit.execute("insert into fired (key) values ($1)", key)

    timers = TimerLoop(service.runtime, [Timer("shelf.check", work)])
    shelf_world.clock.move(2 * HOUR)
    with pytest.raises(ConnectionResetError):
        await timers.run_due()
    assert [row["key"] for row in await shelf_world.rows("shelf", "select key from fired")] == [beside.id]
    assert [row["key"] for row in await shelf_world.rows("shelf", "select key from timer")] == [lost.id]


async def test_ids_of_a_unit_follow_its_clock_and_keep_their_order(shelf_world: ShelfWorld) -> None:
    runtime = shelf_world.platform.services["shelf"].runtime

    async def make(unit: Unit) -> list[UUID]:
        return [unit.new_id(nth) for nth in range(50)]

    made = await runtime.read(make, action="test")
    assert made == sorted(made)
    assert made[0].int >> 80 == int(shelf_world.clock.now().timestamp() * 1000)
    shelf_world.clock.move(HOUR)
    assert made[-1] < (await runtime.read(make, action="test"))[0]


async def test_writers_who_lock_nothing_at_their_first_try_keep_the_order(shelf_world: ShelfWorld) -> None:
    """Many at once on one row: nobody is lost, versions have no gap, and events leave in the order of the versions."""
    runtime = shelf_world.platform.services["shelf"].runtime
    thing = await shelf_world.put("a")
    tries = Counter[bool]()

    async def change(unit: Unit) -> None:
        tries[unit.patient] += 1
        look = "select id, division, title, version from thing where id = $1"
        read = unit.fetch(f"{look} for no key update", thing.id) if unit.patient else unit.peek(look, thing.id)
        (row,) = await read
        present = shelf.THINGS.load(unit, row)
        if not unit.patient:
            unit.unlocked("thing", present.id)
        saved = await shelf.THINGS.save(unit, replace(present, title="b"))
        unit.emit(shelf.changed(unit, saved))

    for _ in range(5):
        await asyncio.gather(*(runtime.transact(change, action="test") for _ in range(12)))
    assert tries[True] > 0, "some were too slow at first"
    rows = await shelf_world.rows("shelf", "select value from outbox order by id")
    assert [shelf.pb.ThingChanged.FromString(row["value"]).version for row in rows] == list(range(1, 62))
    rows = await shelf_world.rows("shelf", "select version from audit order by seq")
    assert [row["version"] for row in rows] == list(range(1, 62))


async def test_the_background_outlives_its_connections(database: Database, settings: Settings) -> None:
    """Relay, consumer, timers, sealer and clean-up lose every connection again and again, in the middle of whatever they do."""
    often = {
        "retention": settings.retention.model_copy(update={"every_seconds": 0.02}),
        "audit": settings.audit.model_copy(update={"seal_seconds": 0.02}),
        "timers": settings.timers.model_copy(update={"poll_seconds": 0.02}),
    }
    async with Platform(
        settings.model_copy(update=often), [shelf.MODULE], clock=VirtualClock(MORNING), database=database, listen=False
    ) as platform:
        platform.services["shelf"].runtime.verifier = Everybody()  # type: ignore[assignment]
        world = ShelfWorld(platform, platform.clock)  # type: ignore[arg-type]
        server = await asyncpg.connect(database.embedded.dsn())  # type: ignore[union-attr]
        try:
            for nth in range(60):
                with contextlib.suppress(AioRpcError):
                    await world.put(f"{nth}")
                await server.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1", settings.database.name
                )
        finally:
            await server.close()

        async def caught_up() -> bool:
            with contextlib.suppress(*DATABASE_AWAY):  # we may be the first to find a connection dead
                heard, things = [len(await world.rows("shelf", f"select from {name}")) for name in ("heard", "thing")]
                return heard == things > 0
            return False

        await until(caught_up, "every event is in effect")
        assert platform._failed
        assert not platform._failed.done()

"""What a backup holds still, and what a restore leaves to those who read the log afterwards."""

from __future__ import annotations

from datetime import timedelta

import asyncpg
import pytest

from kit.backup.take import _held
from kit.errors import StartupError
from kit.events import topic_of
from kit.relay import HOLD
from tests.unit.kit.conftest import ShelfWorld
from tests.world import MORNING

OWNER = "00000000-0000-0000-0000-000000000001"


async def test_no_relay_begins_while_a_backup_looks(shelf_world: ShelfWorld) -> None:
    """Nobody led when it began to look: a lease that is not there could not be held."""
    database = shelf_world.platform.database
    connection = await database.connect("shelf", lock_timeout="100ms")
    try:
        await connection.execute("delete from lease")
        async with _held(database, ["shelf"]):
            with pytest.raises(asyncpg.LockNotAvailableError):
                await connection.fetch(HOLD, OWNER, MORNING, MORNING)
        assert await connection.fetch(HOLD, OWNER, MORNING, MORNING)
        assert [str(row[0]) for row in await connection.fetch("select owner from lease")] == [OWNER]
    finally:
        await connection.close()


@pytest.mark.parametrize(("newest", "heard"), [(MORNING, 0), (MORNING - timedelta(hours=1), 1)])
async def test_a_fence_keeps_back_what_was_said_before_it_alone(
    shelf_world: ShelfWorld, newest: object, heard: int
) -> None:
    """A topic that was made anew has the same offsets again."""
    pool = shelf_world.platform.services["shelf"].runtime.pool
    rows = [(topic_of("shelf"), partition, 0, 1000, newest) for partition in range(64)]
    await pool.executemany(
        "insert into fence (topic, partition, first, past, newest) values ($1, $2, $3, $4, $5)", rows
    )
    await shelf_world.put("a thing")
    await shelf_world.settle()
    assert await pool.fetchval("select count(*) from heard") == heard


async def test_a_process_that_lives_through_a_restore_ends(shelf_world: ShelfWorld) -> None:
    """It would say its words under an epoch that is over, and knows of no fences."""
    shelf = shelf_world.platform.services["shelf"]
    pool, relay, consumer = shelf.runtime.pool, shelf.relay, shelf.consumer
    assert relay
    assert consumer
    await shelf_world.put("early")
    await shelf_world.settle()
    await shelf_world.put("late")
    while await relay.step():
        pass
    await pool.execute("update installation set epoch = epoch + 1; delete from lease")
    with pytest.raises(StartupError, match="restored meanwhile"):
        await consumer.run()
    relay._held_until = 0.0
    with pytest.raises(StartupError, match="restored meanwhile"):
        await relay.run()
    assert await pool.fetchval("select count(*) from heard") == 1
    assert await pool.fetchval("select count(*) from parked") == 0

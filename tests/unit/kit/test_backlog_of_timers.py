"""Timers that are due by the hundred go in groups, and nobody could tell by what they did."""

from __future__ import annotations

from collections import Counter

import pytest

from kit.errors import FailedPrecondition, Refused
from kit.timers import LARGEST_UNIT, Timer, TimerLoop
from kit.unit import Unit
from tests.unit.kit.conftest import HOUR, ShelfWorld


async def put(world: ShelfWorld, count: int) -> list[str]:
    """Keys in the order in which their timers fall due."""
    keys = []
    for n in range(count):
        keys.append((await world.put(f"t{n}")).id)
        world.clock.move(HOUR / 100)
    world.clock.move(2 * HOUR)
    return keys


def loop(world: ShelfWorld, work: object) -> TimerLoop:
    return TimerLoop(world.platform.services["shelf"].runtime, [Timer("shelf.check", work)])  # type: ignore[arg-type]


async def fired(world: ShelfWorld) -> list[str]:
    return [row["key"] for row in await world.rows("shelf", "select key from fired order by n")]


async def test_each_fires_once_and_several_share_a_transaction(shelf_world: ShelfWorld) -> None:
    keys, units = await put(shelf_world, 50), set()

    async def work(unit: Unit, key: str) -> None:
        units.add(id(unit))
        await unit.execute("insert into fired (key) values ($1)", key)
        assert unit.action == "shelf.check"

    assert await loop(shelf_world, work).run_due() == len(keys)
    assert Counter(await fired(shelf_world)) == Counter(keys)
    assert len(units) < len(keys) / 5
    places = {key: place for place, key in enumerate(await fired(shelf_world))}
    assert all(abs(places[key] - n) <= 2 * LARGEST_UNIT for n, key in enumerate(keys))  # the oldest first, by groups
    assert not await shelf_world.rows("shelf", "select from timer")


@pytest.mark.parametrize("refused", [False, True])
async def test_one_that_fails_takes_nothing_of_its_group_along(shelf_world: ShelfWorld, refused: bool) -> None:
    keys = await put(shelf_world, 30)

    async def work(unit: Unit, key: str) -> None:
        await unit.execute("insert into fired (key) values ($1)", key)
        if key == keys[7]:
            wrong = FailedPrecondition("MOVE_NOT_ALLOWED", state="x", action="y")
            raise Refused(wrong) if refused else RuntimeError("it always fails")

    assert await loop(shelf_world, work).run_due() == len(keys) - 1
    assert Counter(await fired(shelf_world)) == Counter(key for key in keys if key != keys[7])
    (left,) = await shelf_world.rows("shelf", "select key, attempts from timer")
    assert (left["key"], left["attempts"]) == (keys[7], 1)


async def test_one_that_is_moved_or_taken_away_by_another_of_its_group_does_not_fire(shelf_world: ShelfWorld) -> None:
    keys = await put(shelf_world, 30)
    first_round = shelf_world.clock.now()

    async def work(unit: Unit, key: str) -> None:
        await unit.execute("insert into fired (key) values ($1)", key)
        if key == keys[0] and unit.now == first_round:
            unit.schedule("shelf.check", keys[1], at=unit.now + 5 * HOUR)
            unit.cancel("shelf.check", keys[2])
            unit.schedule("shelf.check", keys[0], at=unit.now + 5 * HOUR)

    timers = loop(shelf_world, work)
    assert await timers.run_due() == len(keys) - 2
    assert Counter(await fired(shelf_world)) == Counter(key for key in keys if key not in keys[1:3])
    left = await shelf_world.rows("shelf", "select key from timer order by key")
    assert [row["key"] for row in left] == sorted(keys[:2])
    shelf_world.clock.move(6 * HOUR)
    assert await timers.run_due() == 2


async def test_a_group_of_which_somebody_else_has_done_one_is_looked_up_again(shelf_world: ShelfWorld) -> None:
    keys = await put(shelf_world, 30)
    pool = shelf_world.platform.services["shelf"].runtime.pool

    async def work(unit: Unit, key: str) -> None:
        if key == keys[3]:
            await pool.execute("delete from timer where key = $1", keys[4])
        await unit.execute("insert into fired (key) values ($1)", key)

    timers = loop(shelf_world, work)
    while await timers.run_due():
        pass
    assert Counter(await fired(shelf_world)) == Counter(key for key in keys if key != keys[4])

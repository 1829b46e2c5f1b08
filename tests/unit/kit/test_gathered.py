"""Writes that are sent together: as one statement, in an order where one matters, all or none."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from kit.errors import Aborted
from kit.gathered import MOST_ROWS, Gathered, Insert
from kit.ids import uuid7
from kit.unit import Unit
from tests.shelf import THINGS, Thing
from tests.unit.kit.conftest import ShelfWorld

FIRED = Insert("fired", "key")
SET_TITLE = "update thing set title = $2 where id = $1"
NEWEST = "insert into newest (id, epoch, version, title) select i, e, v, t from unnest($1::uuid[], $2::int[], $3::int[], $4::text[]) as s (i, e, v, t)"


def test_one_statement_numbers_its_parameters_through() -> None:
    gathered = Gathered()
    gathered.insert(Insert("a", "x, y", "on conflict do nothing"), [(1, 2), (3, 4)])
    gathered.change("delete from c where k = $1", ("k",), required=False)
    gathered.change("update b set x = $1 where id = $2", (5, 6), required=True)
    sql, args = gathered.statement()
    assert sql == (
        "with w0 as (insert into a (x, y) values ($1, $2), ($3, $4) on conflict do nothing), "
        "w1 as (update b set x = $5 where id = $6 returning 1), w2 as (delete from c where k = $7) "
        "select 1 / (((select count(*) from w1)) = 1)::int"
    )
    assert args == [1, 2, 3, 4, 5, 6, "k"]


async def in_a_unit(world: ShelfWorld, work: Any) -> Any:
    return await world.platform.services["shelf"].runtime.transact(work, action="test")


async def test_rows_keep_their_order_however_many_they_are(shelf_world: ShelfWorld) -> None:
    for count in (3, MOST_ROWS, MOST_ROWS + 1, 200):

        async def write(unit: Unit, count: int = count) -> None:
            for n in range(count):
                unit.insert(FIRED, (f"{count}/{n}",))

        await in_a_unit(shelf_world, write)
        rows = await shelf_world.rows("shelf", "select key from fired where key like $1 order by n", f"{count}/%")
        assert [row["key"] for row in rows] == [f"{count}/{n}" for n in range(count)]


async def test_what_was_gathered_is_there_for_the_next_read(shelf_world: ShelfWorld) -> None:
    async def write(unit: Unit) -> None:
        thing = await THINGS.add(unit, Thing(uuid7(), "1508", "a"))
        assert (await THINGS.get(unit, thing.id)).title == "a"
        again = await THINGS.save(unit, thing)
        thrice = await THINGS.save(unit, again)
        assert await unit.fetchval("select version from thing where id = $1", thing.id) == thrice.version == 3

    await in_a_unit(shelf_world, write)
    audit = await shelf_world.rows("shelf", "select version, before is null as new from audit order by seq")
    assert [tuple(row) for row in audit] == [(1, True), (2, False), (3, False)]


async def test_a_required_change_without_its_row_undoes_all(shelf_world: ShelfWorld) -> None:
    async def write(unit: Unit) -> None:
        unit.insert(FIRED, ("k",))
        unit.change(SET_TITLE, uuid4(), "b", required=True)

    with pytest.raises(Aborted, match="ETAG_STALE"):
        await in_a_unit(shelf_world, write)
    assert await shelf_world.rows("shelf", "select from fired") == []


async def test_a_change_that_is_not_required_may_find_nothing(shelf_world: ShelfWorld) -> None:
    async def write(unit: Unit) -> None:
        unit.insert(FIRED, ("k",))
        unit.change(SET_TITLE, uuid4(), "b")

    await in_a_unit(shelf_world, write)
    assert len(await shelf_world.rows("shelf", "select from fired")) == 1


async def test_the_newest_word_about_each_key_is_kept(shelf_world: ShelfWorld) -> None:
    one, other = sorted([uuid4(), uuid4()])

    async def hear(unit: Unit) -> None:
        for key, epoch, version, title in (
            (other, 1, 2, "b"),
            (one, 1, 9, "old"),
            (other, 1, 1, "a"),
            (one, 2, 1, "new"),
        ):
            unit.keep_newest(NEWEST, key, (epoch, version), (key, epoch, version, title))

    await in_a_unit(shelf_world, hear)
    rows = await shelf_world.rows("shelf", "select id, title from newest order by id")
    assert [tuple(row) for row in rows] == [(one, "new"), (other, "b")]


async def test_who_reads_without_a_lock_must_save(shelf_world: ShelfWorld) -> None:
    thing = await shelf_world.put("a")

    async def write(unit: Unit) -> None:
        unit.unlocked(THINGS.name, uuid4())
        unit.insert(FIRED, (thing.id,))

    with pytest.raises(RuntimeError, match="neither locked nor saved"):
        await in_a_unit(shelf_world, write)


async def test_a_unit_that_reads_does_not_write(shelf_world: ShelfWorld) -> None:
    async def write(unit: Unit) -> None:
        unit.insert(FIRED, ("k",))

    with pytest.raises(RuntimeError, match="was said to read"):
        await shelf_world.platform.services["shelf"].runtime.read(write, action="test")

"""Killed −9 at any moment, it loses nothing and does nothing twice: accepted = stored = published = effected."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests import shelf
from tests.fault.books import Books, Caller, Journal, ShelfProcess, calling, closed_books
from tests.waiting import until


@pytest.fixture
async def process(scratch: Path) -> AsyncIterator[ShelfProcess]:
    one = ShelfProcess(scratch / "data", {})
    yield one
    await one.end()


def agree(books: Books, journal: Journal, process: ShelfProcess) -> None:
    assert books.differences(journal) == [], f"{journal.excuses}\n{process.log}"
    assert "CRITICAL" not in process.log


@pytest.mark.parametrize(
    "points", [["sent:40", "append:5", "answer:40"], ["mark:5", "effect:20", "position:10"]], ids=" ".join
)
async def test_killed_at_certain_points(process: ShelfProcess, points: list[str]) -> None:
    journal = Journal()
    await process.start(SHELF_DIES=points[0])
    async with calling([process.address], journal, seed=1):
        for following in [*points[1:], ""]:
            await process.died()
            if following.startswith(("append", "effect")):
                process.kill_postgres()
            await process.start(**({"SHELF_DIES": following} if following else {}))
        await journal.more(100)
    agree(await closed_books(process), journal, process)


@pytest.mark.parametrize("seed", [1, 2])
async def test_killed_at_any_moment(process: ShelfProcess, seed: int) -> None:
    chance, journal = random.Random(seed), Journal()
    await process.start()
    async with calling([process.address], journal, seed=seed):
        for kill in range(2):
            await journal.more(chance.randrange(20, 150))
            await process.kill()
            if kill:
                process.kill_postgres()
            await process.start()
        await journal.more(100)
    assert journal.excuses
    agree(await closed_books(process), journal, process)


async def test_its_database_is_killed(process: ShelfProcess) -> None:
    """Callers are told to come again, nobody restarts anything, and it goes on by itself."""
    journal, chance = Journal(), random.Random(3)
    await process.start()
    async with calling([process.address], journal, seed=3):
        for _ in range(2):
            await journal.more(chance.randrange(50, 150))
            process.kill_postgres()
        await journal.more(200)
    assert journal.excuses["UNAVAILABLE"]
    agree(await closed_books(process), journal, process)
    await process.stop()


async def test_timers_that_fell_due_while_it_was_dead_fire_once(process: ShelfProcess) -> None:
    journal = Journal()
    await process.start()
    caller = Caller("caller", [process.address], journal, [], seed=4)
    for n in range(30):
        await caller._insist("PutThing", shelf.pb.PutThingRequest(division="150802", title=f"{n}", request_id=f"{n}"))
    await process.kill()
    await process.start(SHELF_HOURS="2", SHELF_DIES="timer:10")  # and it dies once more, with some of them fired
    await process.died()
    await process.start(SHELF_HOURS="2")
    things = {thing for thing, _ in journal.accepted.values()}

    async def fired() -> bool:
        return len((await closed_books(process)).fired) >= len(things)

    await until(fired, "all of them have fired")
    assert Counter((await closed_books(process)).fired) == dict.fromkeys(things, 1)


async def test_a_first_start_that_was_killed_can_go_on(process: ShelfProcess) -> None:
    await process.start(SHELF_DIES="migrate")
    await process.died()
    await process.start()


def test_the_books_find_what_is_wrong() -> None:
    """One step lost, doubled, swapped, invented or changed in any book does not pass."""
    steps = [("a", 1), ("b", 1), ("a", 2)]
    journal = Journal({f"r{n}": step for n, step in enumerate(steps)})

    def books(**wrong: Any) -> list[str]:
        said = [(step, f"r{n}") for n, step in enumerate(steps)]
        present = {"a": 2, "b": 1}
        right = Books(list(steps), present, said, list(steps), dict(present), replies=3, waiting=0, parked=0, fired=[])
        return replace(right, **wrong).differences(journal)

    assert books() == []
    for name in ("stored", "effected"):
        assert books(**{name: steps[:-1]}) == [f"accepted but not {name}: ('a', 2)"]
        assert books(**{name: [*steps, ("b", 1)]}) == [f"{name} twice: ('b', 1)"]
        assert books(**{name: [*steps, ("c", 1)]}) == [f"{name} but not accepted: ('c', 1)"]
    assert books(effected=steps[::-1]) == ["effected out of order: a [2, 1]"]
    assert books(present={"a": 1, "b": 1}) == ["thing has not the newest"]
    assert books(published=[(("a", 1), "r0"), (("b", 1), "r1"), (("a", 2), "other")]) == [
        "('a', 2) says other, asked was r2"
    ]
    assert books(replies=2)
    assert books(parked=1)

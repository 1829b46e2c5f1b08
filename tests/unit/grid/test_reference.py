"""What is loaded at the start, what is computed again when the calendar changes, and what is said again for a rebuild."""

from __future__ import annotations

import sys
import tomllib
from datetime import date
from pathlib import Path
from uuid import UUID

from hetao.grid.v1 import events_pb2
from kit.config import DATA
from kit.statutory import Deadlines
from kit.unit import Unit
from services.grid.service.snapshots import snapshots
from tests.unit.grid.conftest import VILLAGE_GRID, Territory, department
from tests.world import World


async def load_again(world: World) -> None:
    service = world.platform.services["grid"]
    assert service.parts.reference is not None
    await service.runtime.transact(service.parts.reference, action="grid.reference")


async def test_a_changed_calendar_moves_what_is_due(territory: Territory, tmp_path: Path):
    made = await territory.verified()
    await territory.hand_over(made, "grid", grid_code=VILLAGE_GRID)
    (tmp_path / "nadam.toml").write_text(
        '[[holidays]]\nzh = "那达慕"\nen = "Nadam"\nfrom = 2026-03-03\nuntil = 2026-03-04\n', encoding="utf-8"
    )
    for name in ("hours.toml",):
        (tmp_path / name).write_bytes((DATA / "calendars" / name).read_bytes())
    service = territory.world.platform.services["grid"]
    deadlines: Deadlines = service.runtime.deadlines
    before = deadlines.calendar
    try:
        deadlines.calendar = type(before).load(tmp_path)
        await load_again(territory.world)
        moved = await territory.read(made)
        assert "那达慕假期" in moved.handover.answer_due_explanation.zh
        (timer,) = await territory.world.rows("grid", "select due from timer where kind = 'grid.answer'")
        assert timer["due"] == moved.handover.answer_due_at.ToDatetime(timer["due"].tzinfo)
        assert timer["due"].date() == date(2026, 3, 5)
    finally:
        deadlines.calendar = before


async def test_a_timer_of_an_older_calendar_waits_for_the_new_due_time(territory: Territory):
    made = await territory.verified()
    handed = await territory.hand_over(made, "grid", grid_code=VILLAGE_GRID)
    pool = territory.world.platform.services["grid"].runtime.pool
    await pool.execute("update timer set due = $1 where kind = 'grid.answer'", territory.world.clock.now())
    await territory.world.travel("2026-03-03 12:00")
    waiting = await territory.read(made)
    assert (waiting.state, waiting.handover.answer_due_at) == (handed.state, handed.handover.answer_due_at)


async def test_everything_is_said_again_once_for_a_rebuild(territory: Territory):
    await territory.report()
    told: list[str] = []

    async def say(unit: Unit) -> None:
        after: UUID | None = None
        while True:
            events, after = await snapshots(unit, after)
            told.extend(str(event.key) for event in events)
            if after is None:
                return

    await territory.world.platform.services["grid"].runtime.read(say, action="test")
    rows = await territory.world.rows(
        "grid",
        "select id::text from department union all select id::text from post "
        "union all select id::text from staff union all select id::text from report",
    )
    assert sorted(told) == sorted(row["id"] for row in rows)


async def test_names_of_people_do_not_travel(territory: Territory):
    names = [one["name"] for one in tomllib.loads((DATA / "demo" / "accounts.toml").read_text("utf-8"))["accounts"]]
    told = str(await territory.events(events_pb2.StaffChanged)) + str(await territory.events(events_pb2.PostChanged))
    assert "dispatcher" in told
    assert not [name for name in names if name in told]
    grids = tomllib.loads((DATA / "demo" / "grids.toml").read_text("utf-8"))["grids"]
    names += [member["name"] for grid in grids for member in grid["members"] if "name" in member]
    published = await territory.world.platform.log._pool.fetch("select value from record")  # type: ignore[attr-defined]
    audited = await territory.world.rows("grid", "select t::text from audit t")
    held = b"".join(row["value"] for row in published) + str(audited).encode()
    assert b"dispatcher" in held
    assert not [name for name in names if name.encode() in held]


async def test_of_people_the_directory_keeps_names_alone(world: World):
    """What the law publishes of who serves a grid; a telephone or an identity number would have to be sealed."""
    kept = await world.rows(
        "grid",
        "select column_name from information_schema.columns where table_schema = current_schema() and table_name = any($1)",
        ["staff", "grid_member"],
    )
    assert {row["column_name"] for row in kept} == {
        *("id", "account", "name", "title", "title_en", "department_id", "division", "active", "version"),
        *("grid_id", "grid_code", "role", "area", "from_date", "until_date"),
    }


def test_accounts_and_posts_of_the_demo_fit_together():
    accounts = tomllib.loads((DATA / "demo" / "accounts.toml").read_text("utf-8"))["accounts"]
    organisation = tomllib.loads((DATA / "demo" / "departments.toml").read_text("utf-8"))
    roles = tomllib.loads((DATA / "roles.toml").read_text("utf-8"))
    known = {one["account"] for one in accounts}
    for one in accounts:
        assert one["department"] == department(one["department_code"]), one["account"]
        assert set(one["roles"]) <= set(roles), one["account"]
    held = {(post["holder"], department(post["department"])) for post in organisation["posts"] if post.get("holder")}
    assert {holder for holder, _ in held} <= known
    for one in accounts:
        for other in one.get("others", []):
            assert (one["account"], other) in held, one["account"]


async def test_a_warm_start_does_not_load_the_dictionary_of_pinyin(world: World):
    before = set(sys.modules)
    await load_again(world)
    service = world.platform.services["grid"]
    assert service.parts.demo is not None
    await service.runtime.transact(service.parts.demo, action="grid.demo")
    assert not [name for name in set(sys.modules) - before if name.startswith("pypinyin")]

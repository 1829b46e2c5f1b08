"""The made-up year: its plan is what the figures must say, and playing it says so, interrupted or not."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import pytest

from kit.clock import BUSINESS_ZONE, VirtualClock
from kit.config import Settings
from kit.database import Database
from kit.platform import Platform
from kit.statutory import Deadlines
from services.demo import plan
from services.demo.play import TOKEN_MINUTES, Player, _figures
from services.registry import MODULES

DATA = Path(__file__).parents[3] / "data"


@pytest.fixture(scope="module")
def year() -> plan.Year:
    return plan.make(2025, DATA, Deadlines.load(DATA).working_day)


def test_the_plan_is_the_year_of_the_mission(year: plan.Year) -> None:
    assert sum(plan.RESOLVED.values()) == 3762
    assert sum(plan.UNRESOLVED.values()) == 722
    assert round(3762 / 4484, 4) == 0.8390
    fates = Counter(matter.fate for matter in year.matters)
    assert fates == Counter(plan.RESOLVED) + Counter(plan.UNRESOLVED) + Counter(plan.BESIDES)
    assert len({matter.place.division for matter in year.matters}) == len(year.places) == 77
    assert {len(place.division) for place in year.places} == {6, 9}
    assert len({matter.at for matter in year.matters}) == len(year.matters)
    assert all(year.first <= matter.at.date() <= year.last for matter in year.matters)


def test_the_same_seed_gives_the_same_year(year: plan.Year) -> None:
    working = Deadlines.load(DATA).working_day
    assert plan.make(2025, DATA, working) == year
    assert plan.make(2025, DATA, working, seed=1) != year


def part(year: plan.Year) -> plan.Year:
    """Two matters of every fate."""
    seen: Counter[str] = Counter()
    few = []
    for matter in year.matters:
        seen[matter.fate] += 1
        if seen[matter.fate] <= 2:
            few.append(matter)
    return replace(year, matters=few)


class Interrupted(Exception):
    pass


async def play(settings: Settings, database: Database, year: plan.Year, *, stop_at: int = 0) -> tuple[int, int]:
    """(accepted, resolved) as the city's leader is told."""
    settings = settings.model_copy(
        update={"identity": settings.identity.model_copy(update={"token_minutes": TOKEN_MINUTES})}
    )
    clock = VirtualClock(datetime.combine(date(2025, 1, 1), time(), BUSINESS_ZONE))
    modules = [module for module in MODULES if module.name in ("grid", "cases", "notify")]

    def progress(done: int, *_: Any) -> None:
        if stop_at and done >= stop_at:
            raise Interrupted

    async with Platform(settings, modules, clock=clock, database=database, listen=False, background=False) as platform:
        await Player(platform, clock, settings, year).play(progress)
        played = await _figures(platform, 2025, new=True)
        pool = platform.services["cases"].runtime.pool
        assert await pool.fetchval("select count(*) from case_file") == len(year.matters)
        assert await pool.fetchval("select count(*) from parked") == 0
        # Nothing is left for the real clock to be late with.
        assert await pool.fetchval("select count(*) from timer") == 0
        return played.accepted, played.resolved


def expected(year: plan.Year) -> tuple[int, int]:
    resolved = sum(matter.fate in plan.RESOLVED for matter in year.matters)
    return resolved + sum(matter.fate in plan.UNRESOLVED for matter in year.matters), resolved


async def test_what_is_played_is_what_was_planned(settings: Settings, database: Database, year: plan.Year) -> None:
    few = part(year)
    assert await play(settings, database, few) == expected(few)


async def test_an_interrupted_year_goes_on_where_it_stopped(
    settings: Settings, database: Database, year: plan.Year
) -> None:
    few = part(year)
    with pytest.raises(Interrupted):
        await play(settings, database, few, stop_at=20)
    assert await play(settings, database, few) == expected(few)

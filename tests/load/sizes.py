"""What people look at all day, with few and with very many cases stored: a case, a list, a department's worklist, a timeline, the figures.

One platform grows: its cases are cloned from those that the service wrote (tests/load/stored.py) between two measurements. Few readers at a time,
so that the times are those of the answers and not of a queue.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict

import asyncpg
from rich.table import Table

from kit.sealing import Keys
from tests.load import lifecycles, readers
from tests.load.client import Connection
from tests.load.matters import ACCOUNT, DIVISION
from tests.load.programs import ask
from tests.load.served import Served, folder, serve
from tests.load.stored import check, readable, size, store

STORED = (10_000, 1_000_000)
READERS = 4
#: Cases that are read one by one; spread over all there are.
SPREAD = 200
#: The newest cases, through which the lists page.
LISTED = 2_000
#: The worklist is that of an officer whose department has work of its own kind in hand.
OFFICER = "department-officer"


async def measure(seconds: float, stored: tuple[int, ...] = STORED) -> Table:
    found: dict[int, dict[str, float]] = {}
    sizes: dict[int, float] = {}
    with folder() as data:
        async with serve(data) as platform:
            await _written(platform)
            settings, have = platform.settings, await _count(platform)
        for number in stored:
            await store(settings, number - have)
            async with serve(data) as platform:
                have = await _count(platform)
                await check(await platform.connect())
                found[number] = {
                    name: await _p95(platform, account, paths, seconds)
                    for name, (account, paths) in (await _questions(platform)).items()
                }
            sizes[number] = await size(data)
    return _table(found, sizes)


async def _written(platform: Served) -> None:
    """Cases in every state, written by the service itself: those that the clones are made of."""
    order = lifecycles.Order(*platform.rest, platform.token(ACCOUNT), seconds=3.0, warm_up=0.0, writers=4, seed=1)
    outcome = lifecycles.Outcome(**await ask("tests.load.lifecycles", asdict(order)))
    if outcome.errors:
        raise RuntimeError(outcome.errors[0])
    connection = await platform.connect()
    try:
        while await connection.fetchval("select exists (select from cases.outbox)"):
            await asyncio.sleep(0.1)
        await asyncio.sleep(0.5)  # the projections hear the last of it
    finally:
        await connection.close()


async def _count(platform: Served) -> int:
    connection = await platform.connect()
    try:
        return int(await connection.fetchval("select count(*) from cases.case_file"))
    finally:
        await connection.close()


async def _questions(platform: Served) -> Mapping[str, tuple[str, list[str]]]:
    """What is asked, by whom."""
    connection: asyncpg.Connection = await platform.connect()
    try:
        ids = [
            row["id"]
            for row in await connection.fetch(
                "select distinct on (nth) id from (select id, ntile($1) over (order by id) as nth from cases.case_file) as c",
                SPREAD,
            )
        ]
        days = await connection.fetchrow("select min(day) as first, max(day) as last from cases.figure")
        looked_at = await connection.fetch("select id from cases.case_file order by id desc limit $1", LISTED)
        await readable(connection, Keys.load(platform.settings.key_file), [*ids, *(row["id"] for row in looked_at)])
    finally:
        await connection.close()
    state = "CASE_STATE_FOLLOW_UP"
    period = f"from={days['first']}&to={days['last']}"
    first = f"/v1/cases?division={DIVISION}&state={state}&pageSize=50"
    return {
        "a case": (ACCOUNT, [f"/v1/cases/{one}" for one in ids]),
        "its timeline": (ACCOUNT, [f"/v1/cases/{one}:timeline" for one in ids]),
        "list, 50 of a state": (ACCOUNT, [first]),
        "list, pages far behind": (ACCOUNT, [await _later_page(platform, first, pages=20)]),
        "worklist": (OFFICER, ["/v1/caseTasks?pageSize=50"]),
        "figures of a county, a year": (ACCOUNT, [f"/v1/caseStatistics?division={DIVISION}&{period}"]),
        "figures of the city, a year": ("city-leader", [f"/v1/caseStatistics?division=1508&{period}"]),
    }


async def _later_page(platform: Served, path: str, pages: int) -> str:
    """The path of a page further on, if there are so many."""
    connection, at = Connection(*platform.rest, platform.token(ACCOUNT)), path
    for _ in range(pages):
        status, page = await connection.call("GET", at)
        assert status == 200, page
        if not page["nextPageToken"]:
            break
        at = f"{path}&pageToken={page['nextPageToken']}"
    connection.close()
    return at


async def _p95(platform: Served, account: str, paths: list[str], seconds: float) -> float:
    order = readers.Order(
        *platform.rest, platform.token(account), paths, readers=READERS, warm_up=1.0, seconds=max(seconds / 5, 2.0)
    )
    return float((await ask("tests.load.readers", asdict(order)))["p95"])


def _table(found: dict[int, dict[str, float]], sizes: dict[int, float]) -> Table:
    table = Table(title=f"What people look at, {READERS} readers: p95 in ms by cases stored", title_justify="left")
    table.add_column("asked")
    few = min(found)
    for number in found:
        table.add_column(f"{number:,}", justify="right")
    table.add_column("most against fewest", justify="right")
    for name, at_first in found[few].items():
        times = [found[number][name] for number in found]
        table.add_row(name, *(f"{time:.1f}" for time in times), f"{times[-1] / at_first:.0%}")
    table.add_row("GiB of the data folder", *(f"{gib:.1f}" for gib in sizes.values()), "")
    table.caption = "aim: flat within 20 %, p95 ≤ 30 ms"
    return table

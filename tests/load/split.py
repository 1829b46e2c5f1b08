"""The platform as separate processes on a real Kafka, PostgreSQL and Redis: how soon it is ready, what it serves, how it takes bursts, what memory it
holds; and how many lifecycles with many cases stored. `make bench-split`, or `python -m tests.load split stored`.

Everything is on this machine, the load too; PostgreSQL waits for the disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import asyncpg
import psutil
from rich.console import Group
from rich.table import Table

from engines.split import Split
from kit.clock import Clock
from kit.config import DATA, load
from kit.issuer import DemoIssuer
from tests.load import bursts, lifecycles
from tests.load.matters import ACCOUNT
from tests.load.programs import ask
from tests.load.served import folder
from tests.load.stored import store_at

#: Lifecycles that begin in a second, in each burst.
RATES = (1, 15, 25, 35)

#: Cases stored while lifecycles are played.
STORED = (100_000, 1_000_000)

#: A single account stands for the callers of a county.
SETTINGS = {"HETAO_LIMITS__READS": "0", "HETAO_LIMITS__WRITES": "0", "HETAO_TELEMETRY__LOG_LEVEL": "warning"}


async def measure(seconds: float) -> Group:
    """`seconds`: of the lifecycles; a burst lasts four times as long."""
    with _split() as (split, hands):
        engines = _timed(hands, split.start_engines)
        first = _timed(hands, lambda: _begin(split))
        token = _token(split)
        at_rest = _memory(split)
        full = await _lifecycles(split, token, seconds)
        burst = [await _burst(split, token, rate, 4 * seconds) for rate in RATES]
        after = _memory(split)
        hands.submit(split.stop_parts).result()
        again = _timed(hands, lambda: _begin(split))
    aims = "aim ≥ 480 calls/s, p95 < 60 ms"
    return Group(_starts(engines, first, again), _served({0: full}, aims), _bursts(burst), _held(at_rest, after))


async def measure_stored(seconds: float) -> Table:
    """Lifecycles with few and with many cases stored, one after the other on the same platform."""
    found = {}
    with _split() as (split, hands):
        hands.submit(split.start).result()
        token = _token(split)
        await _lifecycles(split, token, 3.0)  # what the clones are made of
        for stored in STORED:
            await _filled(hands, split, stored)
            found[stored] = await _lifecycles(split, token, seconds)
    few, many = (one["calls"] / one["seconds"] for one in found.values())
    aims = f"the many against the few: {many / few:.0%}. Aims: ≥ 480 calls/s, p95 < 60 ms, within 10 % of each other"
    return _served(found, aims)


@contextlib.contextmanager
def _split() -> Iterator[tuple[Split, ThreadPoolExecutor]]:
    """One thread starts and ends it all: Kafka ends with the one that started it, and topics are made without an event loop around."""
    with folder() as made, ThreadPoolExecutor(1) as hands:
        split = Split(made / "data", settings=SETTINGS)
        try:
            yield split, hands
        finally:
            hands.submit(split.close).result()


def _timed(hands: ThreadPoolExecutor, work: Callable[[], None]) -> float:
    began = time.monotonic()
    hands.submit(work).result()
    return time.monotonic() - began


def _begin(split: Split) -> None:
    """Every process, until all are ready."""
    split.begin()
    split.until_ready()


async def _filled(hands: ThreadPoolExecutor, split: Split, stored: int) -> None:
    """So many cases: those that the services wrote, and clones of them."""
    while await asyncio.get_running_loop().run_in_executor(hands, split.behind):
        await asyncio.sleep(0.2)
    hands.submit(split.stop_parts).result()
    connection = await asyncpg.connect(split.postgres.url)
    have = await connection.fetchval("select count(*) from cases.case_file")
    await connection.close()
    await store_at(split.postgres.url, stored - have)
    _timed(hands, lambda: _begin(split))


def _token(split: Split) -> str:
    settings = load(data_dir=split.data)
    return DemoIssuer.running(settings, Clock(), Path(DATA) / "demo" / "accounts.toml").mint(ACCOUNT)


async def _lifecycles(split: Split, token: str, seconds: float) -> dict[str, Any]:
    order = lifecycles.Order("127.0.0.1", split.gateways[0].http, token, seconds=seconds)
    return await ask("tests.load.lifecycles", asdict(order))


async def _burst(split: Split, token: str, rate: int, seconds: float) -> tuple[int, dict[str, Any]]:
    order = bursts.Order("127.0.0.1", split.gateways[0].http, token, rate, seconds, seed=rate)
    return rate, await ask("tests.load.bursts", asdict(order))


def _memory(split: Split) -> dict[str, float]:
    """Resident MiB of each process."""
    programs = {name: part.program.pid for name, part in split.parts.items()}
    engines = {"Kafka": split.kafka.pid, "Redis": split.redis.pid}
    return {name: psutil.Process(pid).memory_info().rss / 2**20 for name, pid in {**programs, **engines}.items() if pid}


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    return table


def _starts(engines: float, first: float, again: float) -> Table:
    table = _table("From the command to ready, all processes", "", "s")
    table.add_row("the engines", f"{engines:.1f}")
    table.add_row("the processes, first start", f"{first:.1f}")
    table.add_row("the processes, warm", f"{again:.1f}")
    table.caption = "aim ≤ 10 s"
    return table


def _served(found: dict[int, dict[str, Any]], aims: str) -> Table:
    title = "The lifecycle mix over REST, 16 writers"
    table = _table(title, "cases stored before", "calls/s", "p50 ms", "p95 ms", "p99 ms", "errors")
    for stored, one in found.items():
        rate = f"{one['calls'] / one['seconds']:.0f}"
        times = (f"{one[name]:.0f}" for name in ("p50", "p95", "p99"))
        table.add_row(f"{stored:,}", rate, *times, str(len(one["errors"])))
    table.caption = aims
    return table


def _bursts(found: list[tuple[int, dict[str, Any]]]) -> Table:
    columns = ("lifecycles/s", "calls", "errors", "p50 ms", "p95 ms", "most ms", "normal again after s")
    table = _table("Bursts", *columns)
    for rate, one in found:
        numbers = [f"{one[name]:.0f}" for name in ("p50", "p95", "most")]
        table.add_row(str(rate), str(one["calls"]), str(len(one["errors"])), *numbers, f"{one['normal_after']:.1f}")
    table.caption = "aim: no error, p95 < 300 ms, normal < 5 s"
    return table


def _held(at_rest: dict[str, float], after: dict[str, float]) -> Table:
    table = _table("Resident memory, MiB", "process", "at rest", "after the run")
    for name, size in at_rest.items():
        table.add_row(name, f"{size:.0f}", f"{after.get(name, 0):.0f}")
    table.caption = "aim ≤ 120 a service, ≤ 150 the gateway"
    return table

"""What a process says of itself: its time, its memory, its pools, and how late its event loop is."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from typing import Any, Final

import asyncpg
import psutil

from kit.metrics import Gauge, Histogram
from kit.unit import PENDING

CPU = Gauge("process.cpu.time", "s", "CPU time of the process", "counter")
MEMORY = Gauge("process.memory.usage", "By", "memory of the process that is not swapped out", "updowncounter")
UPTIME = Gauge("process.uptime", "s", "since the process began")
POOL_COUNT = Gauge(
    "db.client.connection.count", "{connection}", "connections to the database by state", "updowncounter"
)
POOL_MAX = Gauge("db.client.connection.max", "{connection}", "connections that there may be", "updowncounter")
POOL_PENDING = Gauge(
    "db.client.connection.pending_requests", "{request}", "units of work that wait for a connection", "updowncounter"
)
LOOP_LAG = Histogram(
    "hetao.event_loop.lag",
    "s",
    "by how much the event loop was late when it was asked",
    (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)

#: Seconds between two looks at the event loop.
BEAT: Final = 0.5


async def watch_loop() -> None:
    """Measures the lag of the event loop, until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        expected = loop.time() + BEAT
        await asyncio.sleep(BEAT)
        LOOP_LAG.record(max(0.0, loop.time() - expected))


@contextlib.contextmanager
def process() -> Iterator[None]:
    """Shows the process's own figures as long as the block."""
    this = psutil.Process()
    began = this.create_time()

    def cpu() -> Iterator[tuple[float, dict[str, str]]]:
        times = this.cpu_times()
        yield times.user, {"cpu.mode": "user"}
        yield times.system, {"cpu.mode": "system"}

    CPU.watch(this, cpu)
    MEMORY.watch(this, lambda: [(this.memory_info().rss, {})])
    UPTIME.watch(this, lambda: [(time.time() - began, {})])
    try:
        yield
    finally:
        for gauge in (CPU, MEMORY, UPTIME):
            gauge.forget(this)


@contextlib.contextmanager
def pool(opened: asyncpg.Pool, name: str) -> Iterator[None]:
    """Shows a pool of connections as long as the block."""
    of: dict[str, Any] = {"db.client.connection.pool.name": name}

    def count() -> Iterator[tuple[float, dict[str, Any]]]:
        idle = opened.get_idle_size()
        yield idle, {**of, "db.client.connection.state": "idle"}
        yield opened.get_size() - idle, {**of, "db.client.connection.state": "used"}

    POOL_COUNT.watch(opened, count)
    POOL_MAX.watch(opened, lambda: [(opened.get_max_size(), of)])
    POOL_PENDING.watch(opened, lambda: [(PENDING.get(name, 0), of)])
    try:
        yield
    finally:
        for gauge in (POOL_COUNT, POOL_MAX, POOL_PENDING):
            gauge.forget(opened)

"""What a unit of work costs: the shelf's PutThing against two bare inserts in a transaction, in this process and over a socket.

    python tests/load/bench_kit.py [--profile FILE] [--durable]

PutThing authenticates, validates, writes its row, an event, an audit row and a timer. 16 writers, 10 connections on either side. The
rounds of the two alternate, so that whatever else the machine does meets both; what counts is the ratio.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import itertools
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import grpc
import psutil
import uvloop

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "gen")]

from kit.config import load  # noqa: E402
from kit.database import Database  # noqa: E402
from kit.ids import uuid7  # noqa: E402
from kit.platform import Platform  # noqa: E402
from kit.postgres import EmbeddedPostgres  # noqa: E402
from tests import shelf  # noqa: E402
from tests.conftest import open_folder  # noqa: E402
from tests.fault.test_startup import free_port  # noqa: E402
from tests.unit.kit.conftest import Everybody  # noqa: E402

WRITERS, CONNECTIONS, SECONDS, ROUNDS = 16, 10, 1.5, 6

METADATA = (("authorization", "Bearer ding:1508"),)

TABLES = """
create table if not exists bare_thing (id uuid primary key, division text not null, title text not null, version int not null);
create table if not exists bare_event (id uuid primary key, thing_id uuid not null, value bytea not null);
"""


async def bare(pool: asyncpg.Pool, request: Any) -> Any:
    """The two inserts."""
    thing = uuid7()
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(
            "insert into bare_thing values ($1, $2, $3, 1)", thing, request.division, request.title
        )
        await connection.execute(
            "insert into bare_event values ($1, $2, $3)", uuid7(), thing, request.SerializeToString()
        )
    return shelf.pb.PutThingResponse(
        thing=shelf.pb.Thing(id=str(thing), division=request.division, title=request.title, etag="1")
    )


async def bare_pool(dsn: str) -> asyncpg.Pool:
    pool = await asyncpg.create_pool(dsn, min_size=CONNECTIONS, max_size=CONNECTIONS)
    await pool.execute(TABLES)
    return pool


class BareShelf(shelf.rpc.ShelfServiceServicer):
    def __init__(self, pool: asyncpg.Pool):
        self._pool = pool

    async def PutThing(self, request: Any, context: Any) -> Any:
        return await bare(self._pool, request)


async def serve_bare(address: str, dsn: str) -> None:
    server = grpc.aio.server()
    shelf.rpc.add_ShelfServiceServicer_to_server(BareShelf(await bare_pool(dsn)), server)
    server.add_insecure_port(address)
    await server.start()
    print("ready", flush=True)
    await asyncio.Event().wait()


async def serve_shelf(address: str, folder: str) -> None:
    """`folder`: of the database that the parent runs."""
    async with open_platform(Path(folder), EmbeddedPostgres(Path(folder) / "data"), int(address.rpartition(":")[2])):
        print("ready", flush=True)
        await asyncio.Event().wait()


def open_platform(folder: Path, postgres: EmbeddedPostgres, port: int = 0) -> Platform:
    settings = load(data_dir=folder, grpc={"port": port}, http={"port": 0}, database={"pool_size": CONNECTIONS})
    platform = Platform(
        settings, [shelf.MODULE], database=Database(settings, postgres), listen=port > 0, background=False
    )
    build = platform._build

    async def trusting(module: Any) -> Any:
        service = await build(module)
        service.runtime.verifier = Everybody()  # type: ignore[assignment]
        return service

    platform._build = trusting  # type: ignore[method-assign]
    return platform


async def rate(put: Callable[[Any], Awaitable[Any]], seconds: float = SECONDS) -> float:
    """Calls per second of all writers."""
    numbers, done, end = itertools.count(), 0, time.perf_counter() + seconds

    async def writer() -> None:
        nonlocal done
        while time.perf_counter() < end:
            n = next(numbers)
            answer = await put(
                shelf.pb.PutThingRequest(division="150802", title=f"thing {n % 1000}", request_id=str(uuid7()))
            )
            UUID(answer.thing.id)
            done += 1

    began = time.perf_counter()
    await asyncio.gather(*(writer() for _ in range(WRITERS)))
    return done / (time.perf_counter() - began)


class Meter:
    """CPU time per call: of these Python processes and of PostgreSQL."""

    def __init__(self, python: Sequence[int], postgres: int):
        self._python, self._postgres = [psutil.Process(pid) for pid in python], psutil.Process(postgres)

    def read(self) -> tuple[float, float]:
        backends = [self._postgres, *self._postgres.children(recursive=True)]
        times = [sum(sum(p.cpu_times()[:2]) for p in processes) for processes in (self._python, backends)]
        return times[0], times[1]

    async def of(self, put: Callable[[Any], Awaitable[Any]], seconds: float = 2) -> str:
        before, began = self.read(), time.perf_counter()
        calls = await rate(put, seconds) * (time.perf_counter() - began)
        python, postgres = ((b - a) / calls * 1e6 for a, b in zip(before, self.read(), strict=True))
        return f"{python:,.0f} µs of Python and {postgres:,.0f} µs of PostgreSQL"


async def compare(
    name: str, ours: Callable[[Any], Awaitable[Any]], theirs: Callable[[Any], Awaitable[Any]], meter: Meter
) -> None:
    for put in (ours, theirs):
        await rate(put, 0.5)
    print(f"{name}, CPU of a call: {await meter.of(ours)}; bare: {await meter.of(theirs)}", flush=True)
    pairs = [(await rate(ours), await rate(theirs)) for _ in range(ROUNDS)]
    ratios = sorted(a / b for a, b in pairs)
    a, b = (statistics.median(side) for side in zip(*pairs, strict=True))
    print(
        f"{name}: {a:,.0f}/s against {b:,.0f}/s: {statistics.median(ratios):.0%} (rounds {ratios[0]:.0%} to {ratios[-1]:.0%})",
        flush=True,
    )


def stub(channel: Any) -> Callable[[Any], Awaitable[Any]]:
    call = shelf.rpc.ShelfServiceStub(channel).PutThing
    return lambda request: call(request, metadata=METADATA)


async def main(profile: str, durable: bool) -> None:
    folder = open_folder()
    children = []
    try:
        async with EmbeddedPostgres(folder / "data", durable=durable) as postgres:
            pool = await bare_pool(postgres.dsn())
            async with open_platform(folder, postgres) as platform:
                ours = stub(platform.channel("shelf"))
                if profile:
                    await rate(ours, 0.5)
                    with cProfile.Profile() as taken:
                        await rate(ours, 4)
                    taken.dump_stats(profile)
                    return
                await compare(
                    "in this process",
                    ours,
                    lambda request: bare(pool, request),
                    Meter([os.getpid()], postgres.pid or 0),
                )
            addresses = []
            try:
                for kind, argument in (("shelf", str(folder)), ("bare", postgres.dsn())):
                    address = f"127.0.0.1:{free_port()}"
                    command = [sys.executable, __file__, "--serve", kind, address, argument]
                    children.append(subprocess.Popen(command, stdout=subprocess.PIPE))
                    assert children[-1].stdout
                    assert children[-1].stdout.readline() == b"ready\n"
                    addresses.append(address)
                async with (
                    grpc.aio.insecure_channel(addresses[0]) as one,
                    grpc.aio.insecure_channel(addresses[1]) as other,
                ):
                    meter = Meter([child.pid for child in children], postgres.pid or 0)
                    await compare("over a socket", stub(one), stub(other), meter)
            finally:
                for child in children:
                    child.kill()
                    child.wait()
            await pool.close()
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--profile", default="")
    parser.add_argument("--durable", action="store_true")
    parser.add_argument("--serve", nargs=3, default=None)
    given = parser.parse_args()
    if given.serve:
        kind, address, argument = given.serve
        uvloop.run(serve_bare(address, argument) if kind == "bare" else serve_shelf(address, argument))
    else:
        uvloop.run(main(given.profile, given.durable))

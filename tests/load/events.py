"""The road of an event: events a second through outbox → Kafka → inbox → one row, against aiokafka alone in the same run; and how long after it was
accepted a write is in effect with another service, at rest and at 500 writes a second.

A real Kafka, a PostgreSQL with fsync, the writing and the reading side in a process each, all on this machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from statistics import quantiles
from typing import Any

import orjson
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from rich.table import Table

from engines.kafka import Kafka
from engines.postgres import Postgres
from kit.config import CHECKOUT, load
from kit.database import Database
from kit.ids import uuid7
from kit.log.topics import apply
from kit.platform import Platform
from tests import shelf
from tests.load.programs import environment

#: Writes a second that count as busy, and as next to nothing.
BUSY, REST = 500.0, 10.0

AIM = 5_000


async def measure(seconds: float) -> Table:
    with Kafka() as kafka, Postgres(durable=True) as postgres, tempfile.TemporaryDirectory() as folder:
        where = {
            "HETAO_DATA_DIR": folder,
            "HETAO_DATABASE_URL": postgres.url,
            "HETAO_DATABASE__ROLE_SECRET": "of this measurement",
            "HETAO_KEYS__FILE": str(Path(folder) / "keyring.json"),
            "HETAO_KAFKA__BOOTSTRAP": kafka.address,
        }
        settings = load(
            data_dir=Path(folder),
            database_url=postgres.url,
            database={"role_secret": where["HETAO_DATABASE__ROLE_SECRET"]},
            keys={"file": Path(where["HETAO_KEYS__FILE"])},
            kafka={"bootstrap": kafka.address},
        )
        await apply(settings, ["shelf"])
        await _raw_topic(kafka.address)
        async with Platform(settings, [shelf.MODULE], listen=False, background=False):
            pass  # its schema is made
        raw = (await _alone({"side": "raw", "seconds": seconds}, where))["rate"]
        events = int(AIM * seconds)
        await _fill(Database(settings), events)
        through = await _through(events, where)
        rest = await _latencies(REST, max(50, int(REST * seconds)), where)
        busy = await _latencies(BUSY, int(BUSY * seconds), where)
    table = Table("events", "figure", "aim", title=f"The road of an event, {events} events, {seconds:.0f} s each")
    table.add_row("aiokafka alone, 64 tasks, 500 bytes", f"{raw:,.0f}/s", "")
    table.add_row("outbox → Kafka → inbox → one row", f"{through:,.0f}/s", f"{AIM:,}/s")
    table.add_row("share of aiokafka alone", f"{through / raw:.0%}", "stated")
    for name, found in ((f"at rest ({REST:.0f} writes/s)", rest), (f"at {BUSY:.0f} writes/s", busy)):
        shown = f"p50 {_percentile(found, 50):.0f} ms, p95 {_percentile(found, 95):.0f} ms, p99 {_percentile(found, 99):.0f} ms"
        table.add_row(f"accepted → in effect, {name}", shown, "p50 ≤ 60 ms, p99 ≤ 250 ms")
    return table


async def _through(events: int, where: dict[str, str]) -> float:
    async with _side({"side": "reader", "events": events}, where) as reader:
        async with _side({"side": "writer"}, where) as writer:
            wrote = await _answer(writer)
        read = await _answer(reader)
    return float(events / (read["ended"] - wrote["began"]))


async def _latencies(rate: float, writes: int, where: dict[str, str]) -> list[float]:
    """In milliseconds; the first tenth warms up."""
    async with _side({"side": "reader", "events": writes, "rate": rate}, where) as reader:
        async with _side({"side": "writer", "events": writes, "rate": rate}, where) as writer:
            accepted = (await _answer(writer))["accepted"]
        seen = (await _answer(reader))["seen"]
    took = [(seen[key] - at) * 1000 for key, at in accepted.items()]
    return took[len(took) // 10 :]


def _percentile(values: list[float], percent: int) -> float:
    return quantiles(values, n=100)[percent - 1]


async def _fill(database: Database, events: int) -> None:
    """An outbox as a service leaves it behind, of 250 aggregates."""
    connection = await database.connect("shelf")
    try:
        keys, at = [uuid7() for _ in range(250)], await connection.fetchval("select clock_timestamp()")
        rows = []
        for number in range(events):
            key = keys[number % len(keys)]
            message = shelf.pb.ThingChanged(id=str(key), epoch=1, version=1 + number // len(keys), title="x" * 430)
            rows.append(
                (uuid7(), message.DESCRIPTOR.full_name, str(key), "150802", False, message.SerializeToString(), at, "")
            )
        columns = ["event_id", "type", "key", "division", "snapshot", "value", "at", "traceparent"]
        await connection.copy_records_to_table("outbox", records=rows, columns=columns)
    finally:
        await connection.close()


async def _raw_topic(address: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    await admin.create_topics([NewTopic("raw", 8, 1)])
    await admin.close()


@contextlib.asynccontextmanager
async def _side(order: dict[str, Any], where: dict[str, str]) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.load.events_side"),
        cwd=CHECKOUT,
        env=environment(**where),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        limit=64 * 1024 * 1024,
    )
    try:
        assert process.stdin
        assert process.stdout
        process.stdin.write(orjson.dumps(order) + b"\n")
        if await process.stdout.readline() != b"ready\n":
            raise RuntimeError(f"the side {order['side']} did not start")
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _answer(process: asyncio.subprocess.Process) -> dict[str, Any]:
    assert process.stdout
    found: dict[str, Any] = orjson.loads(await process.stdout.read())
    return found


async def _alone(order: dict[str, Any], where: dict[str, str]) -> dict[str, Any]:
    async with _side(order, where) as process:
        return await _answer(process)

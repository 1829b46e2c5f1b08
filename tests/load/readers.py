"""Readers that GET cases over REST, each as fast as it is answered, in a program of their own: `python -m tests.load.readers` reads an Order as
JSON and prints the calls answered, the seconds, and the 95th percentile in milliseconds."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from dataclasses import dataclass

import orjson
import uvloop

from tests.load.client import Connection, Timings


@dataclass(frozen=True, slots=True)
class Order:
    """Times in seconds."""

    host: str
    port: int
    token: str
    paths: list[str]
    parse: bool = True
    readers: int = 16
    warm_up: float = 1.0
    seconds: float = 4.0


async def run(order: Order) -> dict[str, float]:
    until = time.monotonic() + order.warm_up + order.seconds
    timings = Timings()

    async def read() -> None:
        connection = Connection(order.host, order.port, order.token)
        while time.monotonic() < until:
            call = connection.call("GET", random.choice(order.paths), parse=order.parse)
            status, case = await timings.of(call)
            if status != 200:
                raise RuntimeError(f"{status} {case}")
        connection.close()

    readers = [asyncio.create_task(read()) for _ in range(order.readers)]
    await asyncio.sleep(order.warm_up)
    timings.clear()
    started = time.monotonic()
    await asyncio.sleep(order.seconds)
    calls, took = len(timings), time.monotonic() - started
    await asyncio.gather(*readers)
    return {"calls": calls, "seconds": took, "p95": timings.percentile(0.95)}


if __name__ == "__main__":
    order = Order(**orjson.loads(sys.stdin.buffer.read()))
    sys.stdout.buffer.write(orjson.dumps(uvloop.run(run(order))))

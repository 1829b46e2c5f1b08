"""Writers that call CreateCase over gRPC as fast as they are answered, in a program of their own: `python -m tests.load.rpc_writers` reads an
Order as JSON and prints how many calls were answered in how many seconds, the 95th percentile in milliseconds, and all calls, warm-up included."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from dataclasses import dataclass

import grpc
import orjson
import uvloop

from hetao.cases.v1 import cases_pb2_grpc
from tests.load.client import Timings
from tests.load.matters import message, other_parties, question


@dataclass(frozen=True, slots=True)
class Order:
    """Times in seconds. `least`: the least that can be registered, in place of a dispute of two parties."""

    address: str
    token: str
    least: bool = False
    writers: int = 16
    warm_up: float = 2.0
    seconds: float = 8.0
    seed: int = 0


async def run(order: Order) -> dict[str, float]:
    metadata = [("authorization", f"Bearer {order.token}")]
    until = time.monotonic() + order.warm_up + order.seconds
    timings = Timings()
    async with grpc.aio.insecure_channel(order.address) as channel:
        stub = cases_pb2_grpc.CaseServiceStub(channel)

        async def write(number: int) -> None:
            chance = random.Random(order.seed * 1000 + number)
            # Made beforehand, since making it costs more than sending it. Its parties are others each time: the same ones again would be
            # a quarrel that is there already.
            request = question() if order.least else message(chance)
            while time.monotonic() < until:
                other_parties(request, chance)
                await timings.of(stub.CreateCase(request, metadata=metadata))

        writers = [asyncio.create_task(write(n)) for n in range(order.writers)]
        await asyncio.sleep(order.warm_up)
        before = len(timings)
        timings.clear()
        started = time.monotonic()
        await asyncio.sleep(order.seconds)
        calls, took, p95 = len(timings), time.monotonic() - started, timings.percentile(0.95)
        await asyncio.gather(*writers)
        return {"calls": calls, "seconds": took, "p95": p95, "all_calls": before + len(timings)}


if __name__ == "__main__":
    order = Order(**orjson.loads(sys.stdin.buffer.read()))
    sys.stdout.buffer.write(orjson.dumps(uvloop.run(run(order))))

"""Lifecycles that begin at a fixed rate, however long those before them take, as callers do: `python -m tests.load.bursts` reads an Order as JSON.

Nothing is tried twice. Before the burst some lone lifecycles tell what is normal here; after it, how soon that is so again.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

import orjson
import uvloop

from tests.load.client import Connection, Timings
from tests.load.matters import CONCLUDE, DISPATCH, matter

#: Lone lifecycles before the burst; seconds within which the normal must be back at all.
LONE, PATIENCE = 5, 60.0

#: A call is normal again at so many times what the slowest of the lone ones took.
NORMAL = 2.0


@dataclass(frozen=True, slots=True)
class Order:
    """`rate`: lifecycles that begin in a second; four calls each."""

    host: str
    port: int
    token: str
    rate: float
    seconds: float
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """Times of calls in milliseconds. `normal_after`: seconds from the last begin until a lone lifecycle took no longer than before."""

    lifecycles: int
    calls: int
    errors: list[str]
    p50: float
    p95: float
    most: float
    normal_after: float


class Burst:
    def __init__(self, order: Order):
        self.order, self.errors, self.timings = order, list[str](), Timings()
        self._free: list[Connection] = []
        self._chance = random.Random(order.seed)

    async def run(self) -> Outcome:
        order = self.order
        alone = max([await self._lone() for _ in range(LONE)][1:])
        self.timings.clear()
        began, going, count = time.monotonic(), set[asyncio.Task[None]](), round(order.rate * order.seconds)
        for number in range(count):
            await asyncio.sleep(max(0.0, began + number / order.rate - time.monotonic()))
            task = asyncio.create_task(self._lifecycle(self.timings))
            going.add(task)
            task.add_done_callback(going.discard)
        ended = time.monotonic()
        await asyncio.gather(*going)
        calls, p50, p95, most = len(self.timings), *(self.timings.percentile(share) for share in (0.5, 0.95, 1.0))
        while await self._lone() > NORMAL * alone and time.monotonic() < ended + PATIENCE:
            pass
        normal_after = time.monotonic() - ended
        for connection in self._free:
            connection.close()
        return Outcome(count, calls, self.errors, p50, p95, most, normal_after)

    async def _lone(self) -> float:
        """The slowest call of one lifecycle with nobody beside it, in milliseconds."""
        timings = Timings()
        await self._lifecycle(timings)
        return timings.percentile(1.0)

    async def _lifecycle(self, timings: Timings) -> None:
        order = self.order
        connection = self._free.pop() if self._free else Connection(order.host, order.port, order.token)
        try:
            case = (await _call(connection, timings, "POST", "/v1/cases", matter(self._chance)))["case"]
            path = f"/v1/cases/{case['caseId']}"
            await _call(connection, timings, "POST", f"{path}:dispatch", DISPATCH)
            await _call(connection, timings, "POST", f"{path}:conclude", CONCLUDE)
            await _call(connection, timings, "GET", path)
        except (OSError, EOFError, ValueError) as error:
            self.errors.append(str(error))
            connection.close()
            return
        self._free.append(connection)


async def _call(connection: Connection, timings: Timings, method: str, path: str, body: Any = None) -> Any:
    status, answer = await timings.of(connection.call(method, path, body))
    if status != 200:
        raise ValueError(f"{method} {path}: {status} {answer}")
    return answer


def main() -> None:
    order = Order(**orjson.loads(sys.stdin.buffer.read()))
    sys.stdout.buffer.write(orjson.dumps(asdict(uvloop.run(Burst(order).run()))))


if __name__ == "__main__":
    main()

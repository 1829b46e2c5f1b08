"""Case lifecycles over REST, as a centre that does the work itself lives them: four calls each.

    POST /v1/cases (registered and accepted) → POST :dispatch (three desks) → POST :conclude → GET

Run as a program of its own, beside the platform: `python -m tests.load.lifecycles` reads an Order as JSON and prints what came of it.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from dataclasses import asdict, dataclass, replace
from typing import Any

import orjson
import uvloop

from tests.load.client import Connection, Timings
from tests.load.matters import CONCLUDE, DISPATCH, matter

CALLS = 4


@dataclass(frozen=True, slots=True)
class Order:
    """`writers`: lifecycles under way at a time; times in seconds; `keys`: an Idempotency-Key with every write."""

    host: str
    port: int
    token: str
    writers: int = 16
    warm_up: float = 3.0
    seconds: float = 20.0
    keys: bool = False
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """`calls` answered with 200 in `seconds`; anything else is an error, and nothing is tried twice. Times in milliseconds.

    `cpu_share`: how much of a core the load itself took; `all_calls`: those of warm-up and end too.
    """

    calls: int
    seconds: float
    errors: list[str]
    p50: float
    p95: float
    p99: float
    p95_of: dict[str, float]
    cpu_share: float
    all_calls: int

    @property
    def rate(self) -> float:
        return self.calls / self.seconds


class _Refused(Exception):
    pass


class Load:
    def __init__(self, order: Order):
        self.order = order
        self.errors: list[str] = []
        self.all, self.of = Timings(), {name: Timings() for name in ("create", "dispatch", "conclude", "read")}

    async def run(self) -> Outcome:
        order = self.order
        self._until = time.monotonic() + order.warm_up + order.seconds
        writers = [asyncio.create_task(self._writer(n)) for n in range(order.writers)]
        await asyncio.sleep(order.warm_up)
        warmed_up = len(self.all)
        for timings in (self.all, *self.of.values()):
            timings.clear()
        started, cpu = time.monotonic(), time.process_time()
        await asyncio.sleep(order.seconds)
        took, used = time.monotonic() - started, time.process_time() - cpu
        outcome = Outcome(
            calls=len(self.all),
            seconds=took,
            errors=self.errors,
            p50=self.all.percentile(0.5),
            p95=self.all.percentile(0.95),
            p99=self.all.percentile(0.99),
            p95_of={name: timings.percentile(0.95) for name, timings in self.of.items()},
            cpu_share=used / took,
            all_calls=0,
        )
        await asyncio.gather(*writers)
        return replace(outcome, all_calls=warmed_up + len(self.all))

    async def _writer(self, number: int) -> None:
        chance = random.Random(self.order.seed * 1000 + number)
        connection = Connection(self.order.host, self.order.port, self.order.token)
        while time.monotonic() < self._until:
            try:
                await self._lifecycle(connection, chance)
            except _Refused as refused:
                self.errors.append(str(refused))
                if len(self.errors) > 100:
                    return
        connection.close()

    async def _lifecycle(self, connection: Connection, chance: random.Random) -> None:
        answer = await self._call(connection, chance, "create", "POST", "/v1/cases", matter(chance))
        case = f"/v1/cases/{answer['case']['caseId']}"
        await self._call(connection, chance, "dispatch", "POST", f"{case}:dispatch", DISPATCH)
        await self._call(connection, chance, "conclude", "POST", f"{case}:conclude", CONCLUDE)
        read = await self._call(connection, chance, "read", "GET", case)
        if read["state"] != "CASE_STATE_FOLLOW_UP" or len(read["tasks"]) != 3:
            raise _Refused(f"not what was written: {read['state']}")

    async def _call(
        self, connection: Connection, chance: random.Random, name: str, method: str, path: str, body: Any = None
    ) -> Any:
        key = f"{chance.getrandbits(128):032x}" if self.order.keys and method == "POST" else ""
        status, answer = await self.of[name].of(self.all.of(connection.call(method, path, body, key=key)))
        if status != 200:
            raise _Refused(f"{name}: {status} {answer}")
        return answer


def main() -> None:
    order = Order(**orjson.loads(sys.stdin.buffer.read()))
    outcome = uvloop.run(Load(order).run())
    sys.stdout.buffer.write(orjson.dumps(asdict(outcome)))


if __name__ == "__main__":
    main()

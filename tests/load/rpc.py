"""gRPC CreateCase at 16 writers against a bare grpc.aio server that does two inserts with asyncpg."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from statistics import median

import grpc
import psutil
from rich.table import Table

from hetao.cases.v1 import cases_pb2_grpc
from tests.load import rpc_writers
from tests.load.matters import ACCOUNT, message
from tests.load.programs import ask, running
from tests.load.served import Served, folder, free_port, serve

#: The two take turns, so that whatever else the machine does meanwhile strikes both.
TURNS = 4
BARE = "bare grpc.aio, two inserts"


async def measure(seconds: float) -> Table:
    with folder() as data:
        async with serve(data) as platform:
            size = await _answer_size(platform)
            connection = await platform.connect()
            await connection.execute("create database bare")
            await connection.close()
            address = f"127.0.0.1:{free_port()}"
            async with running("tests.load.bare_rpc", address, platform.dsn("bare"), str(size)) as bare:
                rows = {
                    BARE: _Server(address, lambda: _cpu(bare.pid)),
                    "hetao, a question without parties": _Server(platform.grpc, least=True),
                    "hetao, a dispute of two, accepted": _Server(platform.grpc),
                }
                for turn in range(TURNS):
                    for server in rows.values():
                        await server.turn(platform, seconds / TURNS, turn)
    return _table(rows)


@dataclass
class _Server:
    """Who is called. `cpu`: seconds that its process used so far, where that is not the platform's."""

    address: str
    cpu: Callable[[], float] | None = None
    least: bool = False
    turns: list[dict[str, float]] = field(default_factory=list)

    async def turn(self, platform: Served, seconds: float, seed: int) -> None:
        before, own = platform.usage(), self.cpu() if self.cpu else 0.0
        order = rpc_writers.Order(
            self.address, platform.token(ACCOUNT), self.least, warm_up=min(2.0, seconds / 2), seconds=seconds, seed=seed
        )
        found: dict[str, float] = await ask("tests.load.rpc_writers", asdict(order))
        after = platform.usage()
        found["process"] = self.cpu() - own if self.cpu else after.process_cpu - before.process_cpu
        found["postgres"] = after.postgres_cpu - before.postgres_cpu
        self.turns.append(found)

    def rates(self) -> list[float]:
        return [turn["calls"] / turn["seconds"] for turn in self.turns]

    def per_call(self, name: str) -> float:
        """Milliseconds of CPU."""
        return sum(turn[name] for turn in self.turns) / sum(turn["all_calls"] for turn in self.turns) * 1000


def _table(servers: dict[str, _Server]) -> Table:
    table = Table(title="gRPC CreateCase, 16 writers", title_justify="left")
    for column in ("server", "calls/s", "p95 ms", "of bare", "CPU process", "PostgreSQL"):
        table.add_column(column, justify="left" if column == "server" else "right")
    for name, server in servers.items():
        ratios = [ours / bare for ours, bare in zip(server.rates(), servers[BARE].rates(), strict=True)]
        table.add_row(
            name,
            f"{median(server.rates()):.0f}",
            f"{median(turn['p95'] for turn in server.turns):.1f}",
            f"{median(ratios):.0%} ({min(ratios):.0%}–{max(ratios):.0%})",
            f"{server.per_call('process'):.2f}",
            f"{server.per_call('postgres'):.2f}",
        )
    table.caption = f"medians of {TURNS} turns; CPU per call in ms; aim ≥ 70 % of bare"
    return table


def _cpu(pid: int) -> float:
    user, system, *_ = psutil.Process(pid).cpu_times()
    return float(user + system)


async def _answer_size(platform: Served) -> int:
    """Bytes of an answer of ours: the bare server's are as large."""
    metadata = [("authorization", f"Bearer {platform.token(ACCOUNT)}")]
    async with grpc.aio.insecure_channel(platform.grpc) as channel:
        answer = await cases_pb2_grpc.CaseServiceStub(channel).CreateCase(message(random.Random(1)), metadata=metadata)
    return answer.ByteSize()

"""gRPC CreateCase at 16 writers against a bare grpc.aio server that does two inserts with asyncpg."""

from __future__ import annotations

import random
from dataclasses import asdict
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


async def measure(seconds: float) -> Table:
    with folder() as data:
        async with serve(data) as platform:
            size = await _answer_size(platform)
            connection = await platform.connect()
            await connection.execute("create database bare")
            await connection.close()
            address = f"127.0.0.1:{free_port()}"
            async with running("tests.load.bare_rpc", address, platform.dsn("bare"), str(size)) as bare:
                ours, theirs = [], []
                for turn in range(TURNS):
                    before = psutil.Process(bare.pid).cpu_times(), platform.usage()
                    theirs.append(await _writers(address, platform.token(ACCOUNT), seconds / TURNS, turn))
                    middle = psutil.Process(bare.pid).cpu_times(), platform.usage()
                    ours.append(await _writers(platform.grpc, platform.token(ACCOUNT), seconds / TURNS, turn))
                    after = psutil.Process(bare.pid).cpu_times(), platform.usage()
                    theirs[-1] |= {
                        "process": sum(middle[0][:2]) - sum(before[0][:2]),
                        "postgres": middle[1].postgres_cpu - before[1].postgres_cpu,
                    }
                    ours[-1] |= {
                        "process": after[1].process_cpu - middle[1].process_cpu,
                        "postgres": after[1].postgres_cpu - middle[1].postgres_cpu,
                    }
    table = Table(title="gRPC CreateCase, 16 writers", title_justify="left")
    for column in ("server", "calls/s", "p95 ms", "CPU ms per call: process", "PostgreSQL"):
        table.add_column(column, justify="left" if column == "server" else "right")
    for name, turns in (("bare grpc.aio, two inserts", theirs), ("hetao CreateCase", ours)):
        calls = sum(turn["all_calls"] for turn in turns)
        table.add_row(
            name,
            f"{median(turn['calls'] / turn['seconds'] for turn in turns):.0f}",
            f"{median(turn['p95'] for turn in turns):.1f}",
            f"{sum(turn['process'] for turn in turns) / calls * 1000:.2f}",
            f"{sum(turn['postgres'] for turn in turns) / calls * 1000:.2f}",
        )
    ratios = [a["calls"] / a["seconds"] / (b["calls"] / b["seconds"]) for a, b in zip(ours, theirs, strict=True)]
    table.caption = f"ratio {median(ratios):.0%} ({min(ratios):.0%}–{max(ratios):.0%} in {TURNS} turns); aim ≥ 70 %"
    return table


async def _writers(address: str, token: str, seconds: float, seed: int) -> dict[str, float]:
    order = rpc_writers.Order(address, token, warm_up=min(2.0, seconds / 2), seconds=seconds, seed=seed)
    return await ask("tests.load.rpc_writers", asdict(order))


async def _answer_size(platform: Served) -> int:
    """Bytes of an answer of ours: the bare server's are as large."""
    metadata = [("authorization", f"Bearer {platform.token(ACCOUNT)}")]
    async with grpc.aio.insecure_channel(platform.grpc) as channel:
        answer = await cases_pb2_grpc.CaseServiceStub(channel).CreateCase(message(random.Random(1)), metadata=metadata)
    return answer.ByteSize()

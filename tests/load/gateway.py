"""The gateway's GET of a case against a bare FastAPI handler that calls the same stub in the same process."""

from __future__ import annotations

import os
import random
from dataclasses import asdict
from statistics import median

from rich.table import Table

from tests.load import readers
from tests.load.client import Connection
from tests.load.matters import ACCOUNT, DISPATCH, matter
from tests.load.programs import ask
from tests.load.served import folder, free_port, serve

TURNS = 4
CASES = 50


async def measure(seconds: float) -> Table:
    bare_port = free_port()
    os.environ["BARE_PORT"] = str(bare_port)
    with folder() as data:
        async with serve(data, command=("-m", "tests.load.bare_rest")) as platform:
            token = platform.token(ACCOUNT)
            paths = await _cases(platform.rest, token)
            ours: list[dict[str, float]] = []
            theirs: list[dict[str, float]] = []
            for _ in range(TURNS):
                for port, found in ((bare_port, theirs), (platform.rest[1], ours)):
                    order = readers.Order("127.0.0.1", port, token, paths, seconds=seconds / TURNS)
                    found.append(await ask("tests.load.readers", asdict(order)))
    table = Table(title="GET of a case (two parties, three tasks), 16 readers", title_justify="left")
    for column in ("server", "calls/s", "p95 ms"):
        table.add_column(column, justify="left" if column == "server" else "right")
    for name, turns in (("bare FastAPI handler, json_format", theirs), ("hetao gateway", ours)):
        table.add_row(
            name,
            f"{median(turn['calls'] / turn['seconds'] for turn in turns):.0f}",
            f"{median(turn['p95'] for turn in turns):.1f}",
        )
    ratios = [a["calls"] / a["seconds"] / (b["calls"] / b["seconds"]) for a, b in zip(ours, theirs, strict=True)]
    table.caption = f"ratio {median(ratios):.0%} ({min(ratios):.0%}–{max(ratios):.0%} in {TURNS} turns); aim ≥ 80 %"
    return table


async def _cases(address: tuple[str, int], token: str) -> list[str]:
    """Paths of some cases that are in hand."""
    chance, connection, paths = random.Random(1), Connection(*address, token), []
    for _ in range(CASES):
        status, answer = await connection.call("POST", "/v1/cases", matter(chance))
        assert status == 200, answer
        paths.append(f"/v1/cases/{answer['case']['caseId']}")
        status, answer = await connection.call("POST", f"{paths[-1]}:dispatch", DISPATCH)
        assert status == 200, answer
    connection.close()
    return paths

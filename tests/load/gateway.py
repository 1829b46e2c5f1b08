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
BARE = "bare FastAPI handler, json_format"


async def measure(seconds: float) -> Table:
    bare_port = free_port()
    os.environ["BARE_PORT"] = str(bare_port)
    with folder() as data:
        async with serve(data, command=("-m", "tests.load.bare_rest")) as platform:
            token = platform.token(ACCOUNT)
            cases = await _cases(platform.rest, token)
            servers = {
                BARE: (bare_port, "/v1/cases/"),
                "the same without JSON, for comparison": (bare_port, "/unmapped/"),
                "hetao gateway": (platform.rest[1], "/v1/cases/"),
            }
            found: dict[str, list[dict[str, float]]] = {name: [] for name in servers}
            for _ in range(TURNS):
                for name, (port, path) in servers.items():
                    paths = [path + case for case in cases]
                    order = readers.Order(
                        "127.0.0.1", port, token, paths, parse=path.startswith("/v1"), seconds=seconds / TURNS
                    )
                    found[name].append(await ask("tests.load.readers", asdict(order)))
    return _table(found)


def _table(found: dict[str, list[dict[str, float]]]) -> Table:
    table = Table(title="GET of a case (two parties, three tasks), 16 readers", title_justify="left")
    for column in ("server", "calls/s", "p95 ms", "of bare"):
        table.add_column(column, justify="left" if column == "server" else "right")
    rates = {name: [turn["calls"] / turn["seconds"] for turn in turns] for name, turns in found.items()}
    for name, turns in found.items():
        ratios = [ours / bare for ours, bare in zip(rates[name], rates[BARE], strict=True)]
        table.add_row(
            name,
            f"{median(rates[name]):.0f}",
            f"{median(turn['p95'] for turn in turns):.1f}",
            f"{median(ratios):.0%} ({min(ratios):.0%}–{max(ratios):.0%})",
        )
    table.caption = f"medians of {TURNS} turns; aim ≥ 80 % of bare"
    return table


async def _cases(address: tuple[str, int], token: str) -> list[str]:
    """Ids of some cases that are in hand."""
    chance, connection, cases = random.Random(1), Connection(*address, token), []
    for _ in range(CASES):
        status, answer = await connection.call("POST", "/v1/cases", matter(chance))
        assert status == 200, answer
        cases.append(answer["case"]["caseId"])
        status, answer = await connection.call("POST", f"/v1/cases/{cases[-1]}:dispatch", DISPATCH)
        assert status == 200, answer
    connection.close()
    return cases

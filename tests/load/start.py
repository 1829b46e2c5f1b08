"""From the command to the first answer of /readyz: on an empty folder, and warm, as `make run` is from the second time on."""

from __future__ import annotations

from statistics import median

from rich.table import Table

from tests.load.served import Usage, folder, serve

STARTS = 5


async def measure(seconds: float) -> Table:
    warm: list[float] = []
    usage: Usage | None = None
    with folder() as data:
        async with serve(data) as platform:
            first = platform.ready_after
        for _ in range(STARTS):
            async with serve(data) as platform:
                warm.append(platform.ready_after)
                usage = platform.usage()
    assert usage
    table = Table(title="From the command to ready", title_justify="left")
    for column in ("first start s", "warm start s", "MiB when ready: process", "PostgreSQL"):
        table.add_column(column, justify="right")
    table.add_row(f"{first:.1f}", f"{median(warm):.1f}", f"{usage.resident:.0f}", f"{usage.postgres:.0f}")
    table.caption = f"warm starts {min(warm):.1f}–{max(warm):.1f} s; aim ≤ 5 s"
    return table

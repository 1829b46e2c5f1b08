"""The figures: `python -m tests.load` (`make bench`), or some of them: `python -m tests.load rpc gateway lifecycles start events`;
`python -m tests.load sizes` stores a million cases, `python -m tests.load split stored` runs separate processes (`make bench-split`).

Everything is measured on this machine in one run, over loopback, against a real `hetao serve` on a folder of its own with fsync on. The aims
are ratios within the run; nothing here fails because a machine is slow or busy.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any

import click
from rich.console import Console, RenderableType

from tests.load import events, gateway, lifecycles_stored, rpc, sizes, split, start

PARTS: dict[str, Callable[[float], Coroutine[Any, Any, RenderableType]]] = {
    "rpc": rpc.measure,
    "gateway": gateway.measure,
    "lifecycles": lifecycles_stored.measure,
    "start": start.measure,
    "events": events.measure,
}

#: These take long, so only where they are named.
LONG = {"sizes": sizes.measure, "split": split.measure, "stored": split.measure_stored}


@click.command()
@click.argument("parts", nargs=-1, type=click.Choice([*PARTS, *LONG]))
@click.option("--seconds", default=15.0, help="how long each rate is measured")
def main(parts: tuple[str, ...], seconds: float) -> None:
    console = Console(width=120)
    for name in parts or PARTS:
        began = time.monotonic()
        console.print(asyncio.run((PARTS | LONG)[name](seconds)))
        console.print(f"({time.monotonic() - began:.0f} s)\n", style="dim")


if __name__ == "__main__":
    sys.exit(main())

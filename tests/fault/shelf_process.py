"""The shelf as a process of its own, which can be told to die at a certain moment.

SHELF_DIES="append:3"    kill −9 when this point is reached for the third time; see POINTS
SHELF_HOURS="2"          its clock is ahead by so much
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import uvloop

import kit.platform
from kit.clock import Clock
from kit.config import load
from kit.consumer import Consumer
from kit.log.sql import SqlLog, SqlSubscription
from kit.platform import Platform
from kit.timers import TimerLoop
from kit.unit import Unit
from tests import shelf
from tests.unit.kit.conftest import Everybody

#: Where it may die: (of what, which function, before or after it).
POINTS: dict[str, tuple[Any, str, str]] = {
    "migrate": (kit.platform, "migrate", "after"),  # a first start, half-way
    "begin": (Unit, "_begin", "after"),  # in a transaction
    "send": (Unit, "_send", "before"),  # nothing is written yet
    "sent": (Unit, "_send", "after"),  # everything is written, and committed if it is one statement
    "answer": (Unit, "commit", "after"),  # committed, and nobody knows
    "append": (SqlLog, "append", "before"),  # committed and not published
    "mark": (SqlLog, "append", "after"),  # published and not marked
    "effect": (Consumer, "_apply", "after"),  # effects that are not committed
    "position": (SqlSubscription, "commit", "before"),  # committed effects of which the group's position does not know
    "timer": (TimerLoop, "_do", "after"),  # in the middle of a batch of timers
}


def arm(point: str, count: int) -> None:
    """Has the process kill itself when it comes to this point for the `count`th time."""
    of, name, when = POINTS[point]
    function: Callable[..., Any] = getattr(of, name)
    left = count

    def reached() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    async def armed(*args: Any, **kwargs: Any) -> Any:
        if when == "before":
            reached()
        result = await function(*args, **kwargs)
        if when == "after":
            reached()
        return result

    setattr(of, name, armed)


class Ahead(Clock):
    def __init__(self, hours: float):
        self._by = timedelta(hours=hours)

    def now(self) -> datetime:
        return super().now() + self._by


async def main() -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with Platform(load(), [shelf.MODULE], clock=Ahead(float(os.environ.get("SHELF_HOURS", "0")))) as platform:
        for service in platform.services.values():
            service.runtime.verifier = Everybody()  # type: ignore[assignment]
        assert platform.server
        print("ready", flush=True)
        await platform.until_stopped(stop)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if fate := os.environ.get("SHELF_DIES"):
        name, _, times = fate.partition(":")
        arm(name, int(times or 1))
    uvloop.run(main())

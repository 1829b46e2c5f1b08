"""The command `hetao` with the drill's clock, and told from outside to die at a certain moment: `python -m tests.drill.process serve`.

DRILL_FATE names a file with a token and the name of a point. At SIGUSR1 a process reads it, and the first of all processes so armed that comes to
the point kills itself −9. The product knows nothing of it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kit.consumer import Consumer
from kit.log.kafka import KafkaLog
from kit.log.sql import SqlLog
from kit.timers import TimerLoop
from kit.unit import Unit
from tests.functional.clocked import main

FATE = Path(os.environ["DRILL_FATE"])

#: Where a process may die: the functions after whose end it does.
POINTS: dict[str, list[tuple[Any, str]]] = {
    "answer": [(Unit, "commit")],  # committed, and nobody knows
    "mark": [(SqlLog, "append"), (KafkaLog, "append")],  # published and not marked
    "effect": [(Consumer, "_apply")],  # the effects of a batch that are not committed
    "timer": [(TimerLoop, "_fire")],  # in the middle of timers that are due
}

_armed: tuple[str, str] | None = None  # (token, point)


def arm(*_: Any) -> None:
    global _armed
    token, point = FATE.read_text().split()
    _armed = token, point


def reached(point: str) -> None:
    """Dies if it is told to, and if no other process has died of the same fate."""
    if _armed is None or _armed[1] != point:
        return
    try:
        os.close(os.open(FATE.with_suffix(f".{_armed[0]}"), os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def watch(point: str, of: Any, name: str) -> None:
    function: Callable[..., Any] = getattr(of, name)

    async def watched(*args: Any, **kwargs: Any) -> Any:
        result = await function(*args, **kwargs)
        reached(point)
        return result

    setattr(of, name, watched)


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, arm)
    for point, functions in POINTS.items():
        for of, name in functions:
            watch(point, of, name)
    main()

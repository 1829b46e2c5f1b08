"""The command `hetao` with the drill's clock, and told from outside to die at a certain moment: `python -m tests.drill.process serve`.

DRILL_FATE names a file with a token, the name of a point and a signal. At SIGUSR1 a process reads it, and the first of all processes so armed that
comes to the point sends itself the signal: SIGKILL, or SIGSTOP for a sleep in the worst moment. The product knows nothing of it.
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
    "timer": [(TimerLoop, "_do")],  # in the middle of timers that are due
}

_armed: tuple[str, str, signal.Signals] | None = None  # (token, point, signal)


def arm(*_: Any) -> None:
    global _armed
    token, point, number = FATE.read_text().split()
    _armed = token, point, signal.Signals(int(number))


def reached(point: str) -> None:
    """Dies or sleeps if it is told to, and if no other process has met the same fate."""
    global _armed
    if _armed is None or _armed[1] != point:
        return
    (token, _, number), _armed = _armed, None
    try:
        os.close(os.open(FATE.with_suffix(f".{token}"), os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return
    os.kill(os.getpid(), number)


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

"""What a process waits for, and whom it misses.

`waiting`: without it the process does not serve, and says so in /readyz (503). At the start that is every engine, and for a while every neighbour;
later it is the database alone, whose loss makes every call fail.
`away`: the process serves on without it, and says so too: events wait in the outbox while Kafka is away, limits are not counted while Redis is, and
calls to a neighbour that is away fail alone.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from kit.errors import StartupError

T = TypeVar("T")

log = logging.getLogger(__name__)

#: Seconds that a look at an engine or neighbour may take, and between two looks: while something is missing, and else.
LOOK, WAITING, WATCHING = 2.0, 0.2, 1.0

#: Seconds between two lines in the log about the same thing that is still missing.
SAY_AGAIN = 15.0

#: Looks that must fail one after the other until something that was there counts as away: one may fail because we were busy.
FAILURES = 2


class Readiness:
    def __init__(self) -> None:
        self.waiting: dict[str, str] = {}
        self.away: dict[str, str] = {}

    @property
    def ready(self) -> bool:
        return not self.waiting

    async def until(self, name: str, look: Callable[[], Awaitable[T]], *, seconds: float | None = None) -> T:
        """What `look` returns as soon as it raises nothing. `StartupError` goes through at once; after `seconds`, whatever it raised last does."""
        began, said = time.monotonic(), -SAY_AGAIN
        while True:
            try:
                async with asyncio.timeout(LOOK):
                    found = await look()
            except StartupError:
                raise
            except Exception as error:
                waited = time.monotonic() - began
                if seconds is not None and waited > seconds:
                    raise
                self.waiting[name] = described(error)
                if waited - said >= SAY_AGAIN:
                    said = waited
                    log.warning("waiting for %s: %s", name, self.waiting[name])
            else:
                if self.waiting.pop(name, None):
                    log.info("%s is there", name)
                return found
            await asyncio.sleep(WAITING)

    async def watch(self, name: str, look: Callable[[], Awaitable[object]], *, needed: bool) -> None:
        """Until cancelled: looks again and again whether it is still there. `needed`: the process does not serve without it."""
        missing, failures, said = self.waiting if needed else self.away, 0, 0.0
        while True:
            try:
                async with asyncio.timeout(LOOK):
                    await look()
            except Exception as error:
                failures += 1
                if failures >= FAILURES:
                    if name not in missing or time.monotonic() - said >= SAY_AGAIN:
                        said = time.monotonic()
                        log.warning("%s is away: %s", name, described(error))
                    missing[name] = described(error)
            else:
                failures = 0
                if missing.pop(name, None):
                    log.info("%s is back", name)
            await asyncio.sleep(WAITING if failures else WATCHING)


def described(error: Exception) -> str:
    """For an operator: the first line, not too long. Nothing that was asked for here carries anybody's data."""
    if isinstance(error, TimeoutError) and not error.args:
        return "no answer"
    first = (str(error).strip().splitlines() or [""])[0]
    return (first or type(error).__name__)[:200]

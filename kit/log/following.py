"""Following a log for as long as a process lives, through whatever becomes of the log."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence

import asyncpg

from kit.log import Log, LogAway, Stretch
from kit.unit import DATABASE_AWAY

log = logging.getLogger(__name__)

#: What a log raises while it cannot be reached.
AWAY = (LogAway, *DATABASE_AWAY, asyncpg.PostgresError)

#: Seconds between two tries while the log is away, at first and at most.
AGAIN, LATER = 0.1, 2.0


async def follow(source: Log, topics: Sequence[str], *, back: int = 0) -> AsyncGenerator[Sequence[Stretch], None]:
    """All that a tail of the topics reads, an empty sequence now and then. While the log is away, it waits; close it when done."""
    tail = source.tail(topics, back=back)
    pause = 0.0
    try:
        while True:
            try:
                found = await tail.fetch()
                pause = 0.0
            except AWAY as error:
                if not pause:
                    log.warning("the log is away: %s", type(error).__name__)
                pause = min(LATER, 2 * pause) or AGAIN
                await asyncio.sleep(pause)
                continue
            yield found
    finally:
        await tail.close()

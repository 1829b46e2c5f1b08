"""Waiting for conditions, which is what tests do instead of sleeping."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any


async def until(condition: Callable[[], bool | Awaitable[bool]], what: str, seconds: float = 40.0) -> None:
    """Waits for a condition, looking at it often. `what`: said when it does not come true in time."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        met = condition()
        if met if isinstance(met, bool) else await met:
            return
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"it did not come to this in {seconds} s: {what}")
        await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def running(*works: Any) -> AsyncIterator[list[asyncio.Task[Any]]]:
    """Tasks that run as long as the context, or shorter; an error of theirs is raised."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended

"""A cancellation that a library loses is obeyed all the same."""

import asyncio
from contextlib import suppress

import pytest

from kit.cancelling import obey


async def swallows(begun: asyncio.Event) -> str:
    """As libraries do: told to end while the answer arrives, it gives the answer."""
    begun.set()
    with suppress(asyncio.CancelledError):
        await asyncio.Event().wait()
    return "answer"


async def test_it_is_obeyed_behind_the_answer():
    begun, heard = asyncio.Event(), []

    async def work() -> None:
        heard.append(await swallows(begun))
        obey()
        heard.append("went on")

    task = asyncio.create_task(work())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert heard == ["answer"]


async def test_a_time_that_is_over_stays_one():
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await swallows(asyncio.Event())
            obey()
    obey()  # and nobody was told to end

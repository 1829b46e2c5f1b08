"""Running the load's own programs, each in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import orjson

from kit.config import CHECKOUT


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{CHECKOUT}:{CHECKOUT / 'gen'}", **more}


async def ask(module: str, order: Any) -> dict[str, Any]:
    """Gives a program its order and returns what it measured. RuntimeError with what it said when it failed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        cwd=CHECKOUT,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await process.communicate(orjson.dumps(order))
    if process.returncode:
        raise RuntimeError(f"{module} failed:\n{err.decode(errors='replace')[-2000:]}")
    found: dict[str, Any] = orjson.loads(out)
    return found


@contextlib.asynccontextmanager
async def running(module: str, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A program that says "ready" and serves until it is ended."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *arguments, cwd=CHECKOUT, env=environment(), stdout=subprocess.PIPE
    )
    try:
        assert process.stdout
        if await process.stdout.readline() != b"ready\n":
            raise RuntimeError(f"{module} did not start")
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()

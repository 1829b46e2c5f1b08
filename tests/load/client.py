"""A small HTTP client that costs little: on two cores, the load generator must not be what is measured."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import Any, TypeVar

import orjson

T = TypeVar("T")


class Connection:
    """One HTTP/1.1 connection, kept alive, one request at a time."""

    def __init__(self, host: str, port: int, token: str):
        self._host, self._port = host, port
        self._head = f"HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\n".encode()
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def call(
        self, method: str, path: str, body: Any = None, *, key: str = "", parse: bool = True
    ) -> tuple[int, Any]:
        """(status, parsed JSON). `key`: sent as Idempotency-Key; `parse`: whether the answer is JSON."""
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        assert self._reader
        payload = b"" if body is None else orjson.dumps(body)
        more = f"idempotency-key: {key}\r\n" if key else ""
        head = f"{more}content-type: application/json\r\ncontent-length: {len(payload)}\r\n\r\n"
        self._writer.write(b"%s %s %s%s%s" % (method.encode(), path.encode(), self._head, head.encode(), payload))
        answer = await self._reader.readuntil(b"\r\n\r\n")
        status = int(answer[9:12])
        length = _header(answer, b"content-length")
        text = await self._reader.readexactly(int(length)) if length else await self._chunks()
        return status, orjson.loads(text) if text and parse else text

    async def _chunks(self) -> bytes:
        assert self._reader
        parts = []
        while size := int((await self._reader.readline()).strip() or b"0", 16):
            parts.append(await self._reader.readexactly(size))
            await self._reader.readline()
        await self._reader.readline()
        return b"".join(parts)

    def close(self) -> None:
        if self._writer:
            self._writer.close()


def _header(head: bytes, name: bytes) -> bytes:
    for line in head.split(b"\r\n"):
        key, _, value = line.partition(b":")
        if key.lower() == name:
            return value.strip()
    return b""


class Timings:
    """How long calls took."""

    def __init__(self) -> None:
        self._taken: list[float] = []

    async def of(self, call: Awaitable[T]) -> T:
        started = time.perf_counter()
        try:
            return await call
        finally:
            self._taken.append(time.perf_counter() - started)

    def clear(self) -> None:
        """Forgets the warm-up."""
        self._taken.clear()

    def __len__(self) -> int:
        return len(self._taken)

    def percentile(self, share: float) -> float:
        """In milliseconds."""
        ordered = sorted(self._taken)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000 if ordered else 0.0

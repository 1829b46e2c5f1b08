"""Ids: UUIDv7 (RFC 9562), so that keys of rows follow time and indexes stay dense."""

from __future__ import annotations

import os
import time
from uuid import UUID


def uuid7(unix_ms: int | None = None) -> UUID:
    """A new id. `unix_ms`: milliseconds since 1970, where it is not the wall clock's.

    The order of two ids says nothing about the order of two commits; where that matters a database identity is used.
    """
    ms = time.time_ns() // 1_000_000 if unix_ms is None else unix_ms
    noise = int.from_bytes(os.urandom(10))
    return UUID(
        int=(ms & 0xFFFFFFFFFFFF) << 80 | 0x7 << 76 | (noise >> 68) << 64 | 0b10 << 62 | noise & 0x3FFFFFFFFFFFFFFF
    )

"""Ids: UUIDv7 (RFC 9562), so that keys of rows follow time and indexes stay dense."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterator
from datetime import datetime
from uuid import UUID

from asyncpg.pgproto import pgproto

#: Ids for which random bytes are drawn from the system at once: each call of it costs more than the rest of an id.
DRAWN = 400

_drawn: Iterator[tuple[bytes]] = iter(())


def uuid7(unix_ms: int | None = None) -> UUID:
    """A new id. `unix_ms`: milliseconds since 1970, where it is not the wall clock's.

    The order of two ids says nothing about the order of two commits; where that matters a database identity is used. The class is the
    driver's own, a UUID that is made and written as text at a fraction of the cost: rows that are read have it too.
    """
    ms = time.time_ns() // 1_000_000 if unix_ms is None else unix_ms
    noise = int.from_bytes(_noise())
    value = (ms & 0xFFFFFFFFFFFF) << 80 | 0x7 << 76 | (noise >> 68) << 64 | 0b10 << 62 | noise & 0x3FFFFFFFFFFFFFFF
    made: UUID = pgproto.UUID(value.to_bytes(16))
    return made


def first_id(moment: datetime) -> UUID:
    """Not above any id that was made in this millisecond or later, and above all from before."""
    return UUID(int=int(moment.timestamp() * 1000) << 80)


def _noise() -> bytes:
    """Ten random bytes, which are given out once, also to threads."""
    global _drawn
    for (drawn,) in _drawn:
        return drawn
    _drawn = struct.iter_unpack("10s", os.urandom(10 * DRAWN))
    return _noise()


def _forget() -> None:
    global _drawn
    _drawn = iter(())


os.register_at_fork(after_in_child=_forget)  # or parent and child would give out the same ones

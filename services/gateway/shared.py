"""Answers that are the same for everybody who may ask, kept for a short while: the tree of divisions, the centres.

The contract says which (`shared_seconds` of an RPC's access option), and so how old an answer may be at most. They are kept in the gateway's memory:
to fetch them from elsewhere would cost as much as to make them. Who may ask is looked at every time.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

#: Bytes of answers that are kept; those not asked for longest go first.
LARGEST: Final = 8 * 1024 * 1024

#: What an entry takes beside its body.
_OVERHEAD: Final = 500

Key = tuple[bytes, bytes]


class SharedAnswers:
    """JSON bodies by path and query. A body's tag changes with its content."""

    def __init__(self, largest: int = LARGEST, clock: Callable[[], float] = time.monotonic):
        self._largest, self._clock = largest, clock
        self._kept: OrderedDict[Key, tuple[float, str, bytes]] = OrderedDict()
        self._size = 0

    def get(self, key: Key) -> tuple[str, bytes] | None:
        """(tag, body), if there is one that is not too old."""
        found = self._kept.get(key)
        if found is None:
            return None
        until, tag, body = found
        if self._clock() >= until:
            self._drop(key)
            return None
        self._kept.move_to_end(key)
        return tag, body

    def put(self, key: Key, body: bytes, asked_at: float, seconds: int) -> str:
        """Keeps an answer for so many seconds from when it was asked for, by this class's clock. Returns its tag."""
        tag = hashlib.blake2b(body, digest_size=12).hexdigest()
        if key in self._kept:
            self._drop(key)
        size = _size(key, body)
        if size <= self._largest // 8:
            self._kept[key] = asked_at + seconds, tag, body
            self._size += size
            while self._size > self._largest:
                self._drop(next(iter(self._kept)))
        return tag

    def now(self) -> float:
        return self._clock()

    def _drop(self, key: Key) -> None:
        _, _, body = self._kept.pop(key)
        self._size -= _size(key, body)


def _size(key: Key, body: bytes) -> int:
    return len(body) + len(key[0]) + len(key[1]) + _OVERHEAD

"""Where a reader stands in the log, in a text short enough for a header: what comes back as `Last-Event-ID`.

A version, a mark of the log that it speaks of, and for each topic, in the order of their names, the number of its partitions and the offset of each that
comes next; numbers of variable length, in base64 for URLs.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping, Sequence

from kit.log import Place

VERSION = 1

#: Partitions of one topic that are believed.
MOST_PARTITIONS = 1024

#: Characters of a text that is looked at.
LONGEST = 16 * 1024

#: Bytes of a mark.
MARK = 4


def mark(*what: str) -> bytes:
    """What tells one log from another: an offset of a log says nothing in another one."""
    return hashlib.sha256("\n".join(what).encode()).digest()[:MARK]


def encode(of: bytes, topics: Sequence[Sequence[int]]) -> str:
    """`topics`: the offsets of each topic's partitions, topics in the order of their names."""
    written = bytearray((VERSION,)) + of
    for offsets in topics:
        _write(written, len(offsets))
        for offset in offsets:
            _write(written, offset)
    return base64.urlsafe_b64encode(written).rstrip(b"=").decode()


def decode(text: str, of: bytes, topics: Sequence[str]) -> Mapping[Place, int] | None:
    """None where the text is none of this log's."""
    if len(text) > LONGEST:
        return None
    try:
        read = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    if read[: 1 + MARK] != bytes((VERSION,)) + of:
        return None
    found, at = dict[Place, int](), 1 + MARK
    try:
        for topic in topics:
            count, at = _read(read, at)
            if count > MOST_PARTITIONS:
                return None
            for partition in range(count):
                found[topic, partition], at = _read(read, at)
    except IndexError:
        return None
    return found if at == len(read) else None


def _write(into: bytearray, number: int) -> None:
    while number > 0x7F:
        into.append(number & 0x7F | 0x80)
        number >>= 7
    into.append(number)


def _read(read: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = read[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return number, at
        if shift > 63:
            raise IndexError

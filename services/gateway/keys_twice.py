"""Keys that an object of a JSON body has twice. Parsers keep the last and say nothing (RFC 8259 leaves it open), so a caller would not learn which
of the two values was taken."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import orjson

#: The strings of a JSON text, which tell their colon where they are keys.
_STRINGS = re.compile(rb'"(?:[^"\\]++|\\.)*+"\s*+(:?)')
_TOKENS = re.compile(rb'("(?:[^"\\]++|\\.)*+")\s*+(:?)|[{}\[\],]')


def key_twice(body: bytes, value: Any) -> str:
    """The path of the first key that is there twice, such as "parties[1].name"; empty where none is. `value`: the body as it was parsed.

    As many keys in the text as in what was made of it is a look of microseconds, and all that nearly every body needs.
    """
    return "" if _STRINGS.findall(body).count(b":") == _count(value) else _find(body)


def _count(value: Any) -> int:
    count, left = 0, [value]
    while left:
        one = left.pop()
        if type(one) is dict:
            count += len(one)
            left += one.values()
        elif type(one) is list:
            left += one
    return count


@dataclass(slots=True)
class _Level:
    """An object or a list that is being read: the keys so far, and where in it the reading is."""

    keys: set[str] = field(default_factory=set)
    key: str = ""
    place: int = -1


def _find(body: bytes) -> str:
    levels: list[_Level] = []
    for token in _TOKENS.finditer(body):
        text, key = token[0], token[1]
        if text == b"{":
            levels.append(_Level())
        elif text == b"[":
            levels.append(_Level(place=0))
        elif text in (b"}", b"]"):
            levels.pop()
        elif text == b"," and levels[-1].place >= 0:
            levels[-1].place += 1
        elif key is not None and token[2]:
            level = levels[-1]
            level.key = orjson.loads(key)
            if level.key in level.keys:
                return "".join(f"[{one.place}]" if one.place >= 0 else f".{one.key}" for one in levels).removeprefix(
                    "."
                )
            level.keys.add(level.key)
    raise AssertionError("unreachable: the keys were fewer than in the text")

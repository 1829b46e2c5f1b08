"""Small helpers between protobuf and plain values."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache
from typing import Any

from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.timestamp_pb2 import Timestamp


def stamp(moment: datetime | None) -> Timestamp | None:
    """A moment as Timestamp; None stays None, which leaves a field unset."""
    if moment is None:
        return None
    seconds = moment.timestamp()
    whole = int(seconds // 1)
    return Timestamp(seconds=whole, nanos=moment.microsecond * 1000)


def moment(value: Timestamp) -> datetime:
    """An aware UTC datetime, to the microsecond."""
    return datetime.fromtimestamp(value.seconds, UTC).replace(microsecond=value.nanos // 1000)


@cache
def _texts(enum: EnumDescriptor) -> tuple[dict[int, str], dict[str, int]]:
    prefix = "".join("_" + c if c.isupper() and i else c for i, c in enumerate(enum.name)).upper() + "_"
    texts = {v.number: v.name.removeprefix(prefix).lower() for v in enum.values}
    return {**texts, 0: ""}, {**{t: n for n, t in texts.items()}, "": 0}


def text_of(enum: Any, number: int) -> str:
    """CASE_STATE_HANDLING of the enum CaseState → "handling"; 0 (unspecified) → ""."""
    return _texts(enum.DESCRIPTOR)[0][number]


def number_of(enum: Any, text: str) -> Any:
    """ "handling" → CASE_STATE_HANDLING; "" → 0. KeyError for a text that the enum lacks."""
    return _texts(enum.DESCRIPTOR)[1][text]


def texts_of(enum: Any, numbers: Iterable[int]) -> list[str]:
    return [text_of(enum, n) for n in numbers]

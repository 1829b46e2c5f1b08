"""Small helpers between protobuf and plain values."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime
from functools import cache
from typing import Any, TypeVar

from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from kit.errors import InvalidArgument

D = TypeVar("D", bound=date)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

#: Seconds of the first and the last second that a Timestamp may hold.
_FIRST, _LAST = -62_135_596_800, 253_402_300_799


def stamp(moment: datetime | None) -> Timestamp | None:
    """A moment as Timestamp; None stays None, which leaves a field unset. Whatever the database holds can be told: a moment that lies outside the
    years 1 to 9999 of UTC (such as the first day of year 1 in Beijing) is told as the nearest in them."""
    if moment is None:
        return None
    since = moment - _EPOCH  # not `timestamp()`: a float does not hold the microseconds of every year
    seconds = since.days * 86400 + since.seconds
    if not _FIRST <= seconds <= _LAST:
        return Timestamp(seconds=min(max(seconds, _FIRST), _LAST))
    return Timestamp(seconds=seconds, nanos=since.microseconds * 1000)


def moment(value: Timestamp) -> datetime:
    """An aware UTC datetime, to the microsecond. ValueError for what no clock can have said."""
    try:
        return datetime.fromtimestamp(value.seconds, UTC).replace(microsecond=value.nanos // 1000)
    except (
        OverflowError,
        OSError,
    ) as error:  # the one beyond the years that there are, the other beyond what the system's clock can say
        raise ValueError(f"{value.seconds} is no moment") from error


def given_moment(request: Message, field: str, at: str = "") -> datetime | None:
    """A moment of a request, None where it is unset. InvalidArgument(DATE_INVALID) for one of another age. `at`: its place in the
    request, where that is not the field itself."""
    if not request.HasField(field):
        return None
    try:
        found = moment(getattr(request, field))
    except ValueError:
        raise InvalidArgument("DATE_INVALID", field=at or field) from None
    return _of_our_age(found, at or field)


def given_day(text: str, field: str) -> date:
    """A date of a request ("2026-03-02"). InvalidArgument(DATE_INVALID) for a day that the calendar does not have, or of another age."""
    try:
        found = date.fromisoformat(text)
    except ValueError:
        raise InvalidArgument("DATE_INVALID", field=field) from None
    return _of_our_age(found, field)


def _of_our_age(found: D, field: str) -> D:
    if not 1900 <= found.year <= 2100:
        raise InvalidArgument("DATE_INVALID", field=field)
    return found


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

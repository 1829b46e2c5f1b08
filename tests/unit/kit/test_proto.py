"""Between protobuf and plain values."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from kit.clock import BUSINESS_ZONE
from kit.proto import moment, stamp
from services.gateway.json_codec import time_text

LAST = datetime(9999, 12, 31, 23, 59, 59, 999_999, UTC)


@pytest.mark.parametrize(
    ("at", "told"),
    [
        (datetime(1, 1, 1, tzinfo=UTC), "0001-01-01T00:00:00Z"),
        (datetime(1, 1, 1, tzinfo=BUSINESS_ZONE), "0001-01-01T00:00:00Z"),
        (datetime.min.replace(tzinfo=timezone(timedelta(hours=14))), "0001-01-01T00:00:00Z"),
        (datetime(1, 1, 1, 0, 0, 0, 1, UTC), "0001-01-01T00:00:00.000001Z"),
        (datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC), "1969-12-31T23:59:59.999999Z"),
        (datetime(2026, 3, 2, 9, 0, 0, 123_456, BUSINESS_ZONE), "2026-03-02T01:00:00.123456Z"),
        (LAST, "9999-12-31T23:59:59.999999Z"),
        (datetime.max.replace(tzinfo=timezone(-timedelta(hours=12))), "9999-12-31T23:59:59Z"),
    ],
)
def test_whatever_the_database_holds_can_be_told(at: datetime, told: str) -> None:
    made = stamp(at)
    assert made is not None
    assert made.ToJsonString() == time_text(made) == told
    if 1 < at.year < 9999:
        assert moment(made) == at


def test_no_moment_is_none() -> None:
    assert stamp(None) is None

"""What the log in tables does by itself: it drops what is old, in small steps."""

from __future__ import annotations

from datetime import timedelta

from kit.log import lag
from tests.conformance.conftest import NOON, TOPIC, SqlLogs, record


async def test_old_records_are_dropped_in_small_steps(sql_logs: SqlLogs) -> None:
    log = await sql_logs.client()
    await log.append(TOPIC, [record("k", str(n), at=NOON - timedelta(days=60)) for n in range(120)])
    await log.append(TOPIC, [record("k", str(n)) for n in range(10)])
    gone = 0
    while part := await log.trim(NOON - timedelta(days=30), 50):
        assert part <= 50
        gone += part
    assert gone == 120
    assert await lag(log, "group", [TOPIC]) == 10

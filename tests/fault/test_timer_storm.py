"""Timers through a storm of crashes: none is lost, none fires twice, the oldest go first, and those that always fail keep nobody waiting."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from tests.drill import timers


@pytest.mark.timeout(300)
async def test_none_is_lost_and_none_fires_twice() -> None:
    storm = await timers.run(5000, seed=7, seconds=8, progress=lambda what: None)
    timers.show(Console(width=160), storm)
    assert storm.wrong == []
    assert storm.kills >= 1
    assert storm.left == 5000 - storm.due  # those that are not due yet, and those that always fail


def test_who_is_overtaken() -> None:
    moments = [datetime(2026, 3, 2, tzinfo=UTC) + timedelta(seconds=n) for n in range(5)]
    assert timers.overtaken(moments) == 0
    assert timers.overtaken([moments[n] for n in (1, 0, 2, 3, 4)]) == 1
    assert timers.overtaken([moments[n] for n in (4, 0, 1, 2, 3)]) == 4
    assert timers.overtaken([]) == 0

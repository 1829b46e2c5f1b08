"""The made-up year of 4,484 disputes as a person loads it; minutes long, so only where TEST_YEAR=1 asks for it: `TEST_YEAR=1 make test`.

What is quick of it (the plan, a part of the year played, an interruption) is tested in tests/unit/demo.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.functional.harness import Hetao

pytestmark = [
    pytest.mark.skipif(os.environ.get("TEST_YEAR") != "1", reason="the whole year takes minutes: TEST_YEAR=1"),
    pytest.mark.xdist_group("year"),
    pytest.mark.timeout(1800),
]

YEAR = {"from": "2025-01-01", "to": "2025-12-31"}


@pytest.fixture
def loaded() -> Iterator[Hetao]:
    hetao = Hetao()
    try:
        ran = hetao.command("demo", "load", timeout=1700)
        assert ran.returncode == 0, ran.stderr[-2000:]
        assert "受理 4484，化解 3762，化解率 0.8390" in ran.stdout
        yield hetao
    finally:
        hetao.close()


def figures(hetao: Hetao, division: str = "1508") -> dict[str, Any]:
    return hetao.person("city-leader").get("/v1/caseStatistics", division=division, **YEAR)


def test_the_year_stays_what_it_is(loaded: Hetao) -> None:
    """After a start, a rebuild and a kill; every county's part adds up; and nobody is sent late reminders."""
    loaded.start()
    first = figures(loaded)
    assert (first["accepted"], first["resolved"], first["resolutionRate"]) == (4484, 3762, 0.8390)
    counties = ["150802", "150821", "150822", "150823", "150824", "150825", "150826"]
    for name in ("accepted", "resolved", "concluded", "reopened", "overdue"):
        assert sum(figures(loaded, county)[name] for county in counties) == first[name]
    assert len(first["byCategory"]) > 10
    rebuilt = loaded.command("rebuild", "cases")
    assert rebuilt.returncode == 0, rebuilt.stderr
    assert {**figures(loaded), "asOf": ""} == {**first, "asOf": ""}
    loaded.kill()
    loaded.start()
    assert {**figures(loaded), "asOf": ""} == {**first, "asOf": ""}
    for account in ("dispatcher", "dispatcher-2", "centre-director", "county-leader-2", "department-officer-2"):
        late = [one for one in loaded.person(account).messages() if one["deliveredAt"] >= "2026-03-01"]
        assert late == [], account
    beside = loaded.command("demo", "load")
    assert beside.returncode == 1  # not beside a running platform
    assert len(beside.stderr.strip().splitlines()) == 2, beside.stderr

"""What leaders ask for: the figures of a township, a county, the city, for any period."""

from __future__ import annotations

from typing import Any

import pytest

from tests.functional.harness import Hetao, Person, eventually
from tests.functional.story import Centre

pytestmark = pytest.mark.xdist_group("story")

THIS_MONTH = {"from": "2026-03-01", "to": "2026-03-31"}


def figures(leader: Person, division: str, **period: str) -> dict[str, Any]:
    return leader.get("/v1/caseStatistics", division=division, **(period or THIS_MONTH))


def test_what_is_accepted_and_resolved_counts_once_at_every_level(hetao: Hetao) -> None:
    centre, city, county = Centre.of(hetao), hetao.person("city-leader"), hetao.person("county-leader-2")
    places = [(city, "1508"), (county, "150826"), (county, "150826108")]
    before = [figures(*place) for place in places]
    quiet = figures(hetao.person("county-leader"), "150802")

    village = "150826108203"  # 蒙海镇柴脑包村
    case = centre.concluded(division=village)
    centre.accepted(division=village)
    helped = centre.take_in(kind="KIND_CONSULTATION", parties=[], division=village)["case"]
    centre.act(helped, "accept")

    def change(n: int) -> dict[str, int]:
        after = figures(*places[n])
        return {
            name: after[name] - before[n][name] for name in ("accepted", "resolved", "resolvedInPeriod", "reopened")
        }

    expected = {"accepted": 2, "resolved": 1, "resolvedInPeriod": 1, "reopened": 0}
    for n in range(len(places)):
        eventually(lambda n=n: change(n) == expected, f"the figures of {places[n][1]}")
    assert {**figures(hetao.person("county-leader"), "150802"), "asOf": ""} == {**quiet, "asOf": ""}

    both = {"KIND_DISPUTE", "KIND_CONSULTATION"}
    eventually(lambda: {one["kind"] for one in figures(city, "1508")["byKind"]} >= both, "the consultation to count")
    now = figures(city, "1508")
    assert now["resolutionRate"] == round(now["resolved"] / now["accepted"], 4)
    assert sum(one["accepted"] for one in now["byCategory"]) == now["accepted"]

    centre.reopened(case)  # reopened: unresolved until it is resolved again
    expected = {"accepted": 2, "resolved": 0, "resolvedInPeriod": 0, "reopened": 1}
    eventually(lambda: change(0) == expected, "the reopened case to count as unresolved")


def test_another_period_and_another_county_are_other_figures(hetao: Hetao) -> None:
    leader = hetao.person("county-leader-2")
    long_ago = figures(leader, "150826", **{"from": "2020-01-01", "to": "2020-12-31"})
    assert (long_ago["accepted"], "resolutionRate" in long_ago) == (0, False)
    foreign = leader.refused("GET", "/v1/caseStatistics", query={"division": "150802", **THIS_MONTH})
    assert (foreign.status, foreign.reason) == (404, "NOT_FOUND")
    backwards = {"division": "150826", "from": "2026-03-31", "to": "2026-03-01"}
    assert leader.refused("GET", "/v1/caseStatistics", query=backwards).fields == ["to"]
    no_day = {"division": "150826", "from": "2026-02-30", "to": "2026-03-01"}
    assert leader.refused("GET", "/v1/caseStatistics", query=no_day).fields == ["from"]

"""Divisions over RPC: the tree, the search, and where a point lies."""

from __future__ import annotations

import pytest

from hetao.common.v1 import common_pb2
from hetao.grid.v1 import divisions_pb2 as pb
from services.grid.model.points import Point, to_crs
from tests.unit.grid.conftest import GRID, Territory
from tests.world import World, refused


async def test_all_divisions_are_loaded_once(world: World):
    rows = await world.rows("grid", "select level, count(*) as many from division group by level order by level")
    assert {row["level"]: row["many"] for row in rows} == {"city": 1, "county": 7, "township": 89, "village": 956}


async def test_a_division_has_both_codes(territory: Territory):
    found = (await territory.divisions().GetDivision(pb.GetDivisionRequest(code="150802201"))).division
    assert (found.name, found.mca_code, found.code12) == ("八一乡", "150802200", "150802201000")
    assert found.parent == "150802"
    # The ministry's code of one township is the bureau's of another: it finds that one, and never this.
    other = (await territory.divisions().GetDivision(pb.GetDivisionRequest(code="150802200"))).division
    assert other.name == "曙光乡"


async def test_an_unknown_division_is_not_found(territory: Territory):
    missing = await refused(territory.divisions().GetDivision(pb.GetDivisionRequest(code="150899")))
    assert (missing.code, missing.reason) == ("NOT_FOUND", "NOT_FOUND")
    wrong = await refused(territory.divisions().GetDivision(pb.GetDivisionRequest(code="15080")))
    assert (wrong.code, wrong.fields) == ("INVALID_ARGUMENT", ["code"])


async def test_the_tree_is_listed_page_by_page(territory: Territory):
    request = pb.ListDivisionsRequest(parent="1508")
    counties = (await territory.divisions().ListDivisions(request)).divisions
    assert [c.code for c in counties] == ["150802", *(f"15082{n}" for n in range(1, 7))]
    seen: list[str] = []
    request = pb.ListDivisionsRequest(parent="150802", deep=True, page_size=70)
    while True:
        page = await territory.divisions().ListDivisions(request)
        seen += [d.code for d in page.divisions]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert len(seen) == len(set(seen))
    assert seen == sorted(seen)
    assert all(code.startswith("150802") and code != "150802" for code in seen)
    everything = pb.ListDivisionsRequest(level=pb.DIVISION_LEVEL_TOWNSHIP, page_size=200)
    assert len((await territory.divisions().ListDivisions(everything)).divisions) == 89


async def test_a_page_token_belongs_to_its_query(territory: Territory):
    first = await territory.divisions().ListDivisions(pb.ListDivisionsRequest(parent="1508", page_size=2))
    other = pb.ListDivisionsRequest(parent="150802", page_token=first.next_page_token)
    assert (await refused(territory.divisions().ListDivisions(other))).reason == "PAGE_TOKEN_INVALID"


FOUND_BY = [
    ("泰欧", "150802013006"),
    ("泰欧社区", "150802013006"),
    ("taiou", "150802013006"),
    ("TaiOu", "150802013006"),
    ("tosq", "150802013006"),
    ("150802013006", "150802013006"),
    ("临河", "150802"),
    ("linhe", "150802"),
    ("shanba", "150826100"),
    ("柴脑包", "150826108203"),
    ("chainaobao", "150826108203"),
    ("hjhq", "150826"),
]


async def test_a_division_is_found_by_name_pinyin_initials_and_code(territory: Territory):
    for query, best in FOUND_BY:
        found = (await territory.divisions().SearchDivisions(pb.SearchDivisionsRequest(query=query))).divisions
        assert found[0].code == best, query


async def test_a_search_keeps_to_its_division_and_level(territory: Territory):
    request = pb.SearchDivisionsRequest(query="团结", within="150802")
    codes = [d.code for d in (await territory.divisions().SearchDivisions(request)).divisions]
    assert codes[0] == "150802001"
    assert all(code.startswith("150802") for code in codes)
    request = pb.SearchDivisionsRequest(query="团结", level=pb.DIVISION_LEVEL_TOWNSHIP)
    found = (await territory.divisions().SearchDivisions(request)).divisions
    assert {d.code for d in found} >= {"150802001", "150826105"}
    assert {d.level for d in found} == {pb.DIVISION_LEVEL_TOWNSHIP}


async def test_a_search_for_signs_finds_nothing(territory: Territory):
    for query in ("%", "_", "\\", "'; drop table division; --", " "):
        request = pb.SearchDivisionsRequest(query=query)
        assert not (await territory.divisions().SearchDivisions(request)).divisions, query


async def test_a_point_is_located_in_any_system(territory: Territory):
    """The point lies 60 m inside its grid: half a kilometre of shift would put it elsewhere."""
    for crs in ("WGS84", "CGCS2000", "GCJ02", "BD09", "UNSPECIFIED"):
        lat, lon = to_crs(Point(40.7526, 107.3727), crs.lower())
        point = common_pb2.Point(lat=lat, lon=lon, crs=common_pb2.Crs.Value(f"CRS_{crs}"))
        found = await territory.divisions().LocateDivision(pb.LocateDivisionRequest(point=point))
        assert (found.county.code, found.grid_code) == ("150802", GRID), crs
        assert found.point.lat == pytest.approx(40.7526, abs=1e-7)
        assert found.point.crs == common_pb2.CRS_CGCS2000


SEATS = [
    (40.749759, 107.358366, "150802"),
    (41.086846, 108.26227, "150821"),
    (40.32945, 107.003161, "150822"),
    (40.735856, 108.647001, "150823"),
    (41.585904, 108.508363, "150824"),
    (41.082572, 107.069205, "150825"),
    (40.884514, 107.145842, "150826"),
]


async def test_each_seat_lies_in_its_county(territory: Territory):
    for lat, lon, county in SEATS:
        request = pb.LocateDivisionRequest(point=common_pb2.Point(lat=lat, lon=lon))
        assert (await territory.divisions().LocateDivision(request)).county.code == county


async def test_a_point_outside_the_city_is_not_found(territory: Territory):
    beijing = pb.LocateDivisionRequest(point=common_pb2.Point(lat=39.9, lon=116.4))
    missing = await refused(territory.divisions().LocateDivision(beijing))
    assert (missing.code, missing.reason) == ("NOT_FOUND", "POINT_OUTSIDE")
    wrong = await refused(territory.divisions().LocateDivision(pb.LocateDivisionRequest()))
    assert wrong.fields == ["point"]


async def test_an_exclusive_grid_comes_before_the_basic_one_around_it(territory: Territory):
    request = pb.LocateDivisionRequest(point=common_pb2.Point(lat=40.7535, lon=107.375))
    assert (await territory.divisions().LocateDivision(request)).grid_code == "150802013006003"

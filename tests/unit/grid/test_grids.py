"""Grids and their triangles over RPC."""

from __future__ import annotations

import asyncio

from google.protobuf.field_mask_pb2 import FieldMask

from hetao.common.v1 import common_pb2
from hetao.grid.v1 import grids_pb2 as pb
from hetao.grid.v1 import types_pb2
from tests.unit.grid.conftest import GRID, VILLAGE_GRID, Territory
from tests.world import refused


def corners(west: float, south: float, size: float = 0.002) -> list[common_pb2.Point]:
    spots = ((west, south), (west + size, south), (west + size, south + size), (west, south + size))
    return [common_pb2.Point(lat=lat, lon=lon) for lon, lat in spots]


async def get(territory: Territory, code: str, account: str = "grid-worker") -> pb.Grid:
    found: pb.Grid = (await territory.grids(account).GetGrid(pb.GetGridRequest(grid_code=code))).grid
    return found


async def test_a_grid_is_shown_with_its_triangle(territory: Territory):
    grid = await get(territory, GRID)
    assert (grid.name, grid.form, grid.community) == ("泰欧社区第一网格", types_pb2.GRID_FORM_URBAN, "150802013006")
    assert grid.made
    assert not grid.vacancies
    assert [m.name for m in grid.members if m.role == types_pb2.MEMBER_ROLE_GRID_WORKER] == ["云秀兰"]
    assert len([m for m in grid.members if m.role == types_pb2.MEMBER_ROLE_BUILDING_HEAD]) == 2
    village = await get(territory, VILLAGE_GRID, "grid-worker-2")
    assert village.form == types_pb2.GRID_FORM_RURAL
    assert {m.role for m in village.members} >= {
        types_pb2.MEMBER_ROLE_PARTY_BRANCH_SECRETARY,
        types_pb2.MEMBER_ROLE_CENTRE_HOUSEHOLD,
    }


async def test_a_grid_of_another_division_is_not_found(territory: Territory):
    answer = await refused(territory.grids("grid-worker").GetGrid(pb.GetGridRequest(grid_code=VILLAGE_GRID)))
    assert answer.code == "NOT_FOUND"
    foreign = pb.ListGridsRequest(division="150826")
    assert (await refused(territory.grids("grid-worker").ListGrids(foreign))).code == "NOT_FOUND"
    vacancies = pb.ListGridVacanciesRequest(division="150826")
    assert (await refused(territory.grids("grid-worker").ListGridVacancies(vacancies))).code == "NOT_FOUND"


async def test_codes_are_given_in_order_and_never_twice(territory: Territory):
    async def create(**more: object) -> pb.Grid:
        values = {"community": "150802013007", "name": "新网格", "kind": types_pb2.GRID_KIND_BASIC} | more
        made: pb.Grid = (await territory.grids().CreateGrid(pb.CreateGridRequest(**values))).grid  # type: ignore[arg-type]
        return made

    first = await create()
    assert first.grid_code == "150802013007001"
    assert len(first.vacancies) == 4
    assert (await create(sequence=7)).grid_code == "150802013007007"
    together = await asyncio.gather(*(create() for _ in range(4)))
    assert sorted(grid.grid_code for grid in together) == [
        f"15080201300700{n}" if n < 10 else f"1508020130070{n}" for n in (8, 9, 10, 11)
    ]
    request = pb.CreateGridRequest(community="150802013007", name="又一个", kind=types_pb2.GRID_KIND_BASIC, sequence=7)
    answer = await refused(territory.grids().CreateGrid(request))
    assert (answer.code, answer.reason) == ("ALREADY_EXISTS", "GRID_EXISTS")


async def test_wrong_grids_are_refused(territory: Territory):
    right = {"community": "150802013007", "name": "新网格", "kind": types_pb2.GRID_KIND_BASIC}
    bow = [
        common_pb2.Point(lat=lat, lon=lon)
        for lat, lon in ((40.78, 107.39), (40.79, 107.40), (40.79, 107.39), (40.78, 107.40))
    ]
    for wrong, reason, field in (
        ({"community": "150826108203"}, "DIVISION_FOREIGN", "community"),
        ({"community": "150826108999"}, "DIVISION_UNKNOWN", "community"),
        ({"community": "150802013999"}, "DIVISION_UNKNOWN", "community"),
        ({"community": "150802013"}, "REQUEST_INVALID", "community"),
        ({"sequence": 1000}, "REQUEST_INVALID", "sequence"),
        ({"outline": bow}, "OUTLINE_INVALID", "outline"),
        ({"outline": corners(107.39, 40.78)[:2]}, "OUTLINE_INVALID", "outline"),
        ({"outline": corners(116.39, 39.9)}, "OUTLINE_ELSEWHERE", "outline"),
        ({"outline": corners(107.373, 40.753)}, "OUTLINE_OVERLAPS", "outline"),
    ):
        answer = await refused(territory.grids().CreateGrid(pb.CreateGridRequest(**(right | wrong))))  # type: ignore[arg-type]
        assert (answer.reason, answer.fields) == (reason, [field]), wrong
    exclusive = right | {"kind": types_pb2.GRID_KIND_EXCLUSIVE, "outline": corners(107.373, 40.753, 0.001)}
    await territory.grids().CreateGrid(pb.CreateGridRequest(**exclusive))  # type: ignore[arg-type]


async def test_a_grid_changes_and_is_given_up(territory: Territory):
    request = pb.UpdateGridRequest(
        grid_code=GRID,
        name="改名网格",
        name_en="Renamed grid",
        active=False,
        update_mask=FieldMask(paths=["name", "name_en", "active"]),
    )
    changed = (await territory.grids().UpdateGrid(request)).grid
    assert (changed.name, changed.active, changed.households) == ("改名网格", False, 412)
    assert changed.name_en == "Renamed grid"
    member = pb.AddGridMemberRequest(
        grid_code=GRID, role=types_pb2.MEMBER_ROLE_BUILDING_HEAD, name="某某", from_date="2026-03-02"
    )
    assert (await refused(territory.grids().AddGridMember(member))).reason == "GRID_GIVEN_UP"
    drawn = pb.UpdateGridRequest(grid_code=GRID, update_mask=FieldMask(paths=["outline"]))
    assert not (await territory.grids().UpdateGrid(drawn)).grid.outline


async def test_members_come_and_go_and_vacancies_follow(territory: Territory):
    lacking = "150802013006002"
    vacancies = (await territory.grids("township-leader").ListGridVacancies(pb.ListGridVacanciesRequest())).vacancies
    assert (lacking, types_pb2.MEMBER_ROLE_GRID_WORKER, 1) in [(v.grid_code, v.role, v.missing) for v in vacancies]
    request = pb.AddGridMemberRequest(
        grid_code=lacking, role=types_pb2.MEMBER_ROLE_GRID_WORKER, account="building-head", from_date="2026-03-01"
    )
    added = (await territory.grids("township-leader").AddGridMember(request)).member
    assert added.name == "郝玉成"
    assert not (await get(territory, lacking)).vacancies
    twice = await refused(territory.grids("township-leader").AddGridMember(request))
    assert twice.reason == "MEMBER_ALREADY"
    ended = pb.EndGridMemberRequest(grid_code=lacking, member_id=added.member_id)
    assert (await territory.grids("township-leader").EndGridMember(ended)).member.until_date == "2026-03-01"
    assert [v.role for v in (await get(territory, lacking)).vacancies] == [types_pb2.MEMBER_ROLE_GRID_WORKER]
    everybody = pb.ListGridMembersRequest(grid_code=lacking)
    yesterday = pb.ListGridMembersRequest(grid_code=lacking, on_date="2026-03-01")
    today = pb.ListGridMembersRequest(grid_code=lacking, on_date="2026-03-02")
    counts = [len((await territory.grids().ListGridMembers(r)).members) for r in (everybody, yesterday, today)]
    assert counts == [4, 4, 3]


async def test_there_is_one_linked_leader(territory: Territory):
    request = pb.AddGridMemberRequest(grid_code=GRID, role=types_pb2.MEMBER_ROLE_LINKED_LEADER, account="county-leader")
    answer = await refused(territory.grids().AddGridMember(request))
    assert (answer.code, answer.reason) == ("FAILED_PRECONDITION", "PLACE_FULL")
    assert "最多 1 人" in answer.zh
    request = pb.AddGridMemberRequest(grid_code=GRID, role=types_pb2.MEMBER_ROLE_CENTRE_HOUSEHOLD, name="某某")
    assert (await refused(territory.grids().AddGridMember(request))).reason == "ROLE_NOT_OF_FORM"


async def test_a_list_pages_through_a_county(territory: Territory):
    seen: list[str] = []
    request = pb.ListGridsRequest(page_size=1)
    while True:
        page = await territory.grids().ListGrids(request)
        seen += [grid.grid_code for grid in page.grids]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert seen == ["150802013005001", "150802013006001", "150802013006002", "150802013006003"]
    request = pb.ListGridsRequest(division="150802013006", kind=types_pb2.GRID_KIND_EXCLUSIVE)
    assert [g.name for g in (await territory.grids().ListGrids(request)).grids] == ["泰欧广场专属网格"]

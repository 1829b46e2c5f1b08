"""DivisionService and GridService."""

from __future__ import annotations

from datetime import date
from uuid import UUID

from hetao.grid.v1 import divisions_pb2 as divisions_pb
from hetao.grid.v1 import grids_pb2 as grids_pb
from hetao.grid.v1 import types_pb2
from kit.paging import FIRST_ID, Page
from kit.proto import number_of, text_of
from kit.unit import Unit
from services.grid.api.convert import changes, named, point, some_day, text_date, to_point
from services.grid.model.divisions import Division
from services.grid.model.grids import Grid, Member, Vacancy
from services.grid.service.grids import Grids, Staffed
from services.grid.service.territory import Territory
from services.grid.store import divisions, grids
from services.grid.store.scope import scope

FIRST_DAY = date(1900, 1, 1)


class DivisionApi:
    def __init__(self, service: Territory):
        self.service = service

    async def GetDivision(
        self, request: divisions_pb.GetDivisionRequest, unit: Unit
    ) -> divisions_pb.GetDivisionResponse:
        return divisions_pb.GetDivisionResponse(division=division(await divisions.get(unit, request.code)))

    async def ListDivisions(
        self, request: divisions_pb.ListDivisionsRequest, unit: Unit
    ) -> divisions_pb.ListDivisionsResponse:
        page, level = Page.of(unit, request), text_of(divisions_pb.DivisionLevel, request.level)
        after = (page.after or ("",))[0]
        if request.parent and not request.deep:
            rows = await divisions.children(unit, request.parent, level, after, page.limit)
        else:
            rows = await divisions.below(unit, request.parent, level, after, page.limit)
        shown, token = page.cut(rows, key=lambda row: (row.code,))
        return divisions_pb.ListDivisionsResponse(divisions=map(division, shown), next_page_token=token)

    async def SearchDivisions(
        self, request: divisions_pb.SearchDivisionsRequest, unit: Unit
    ) -> divisions_pb.SearchDivisionsResponse:
        level = text_of(divisions_pb.DivisionLevel, request.level)
        found = await self.service.search(unit, request.query, request.within, level)
        return divisions_pb.SearchDivisionsResponse(divisions=map(division, found))

    async def LocateDivision(
        self, request: divisions_pb.LocateDivisionRequest, unit: Unit
    ) -> divisions_pb.LocateDivisionResponse:
        found = await self.service.locate(unit, point(request.point))
        return divisions_pb.LocateDivisionResponse(
            point=to_point(found.point), county=division(found.county), grid_code=found.grid_code
        )


class GridApi:
    def __init__(self, service: Grids):
        self.service = service

    async def CreateGrid(self, request: grids_pb.CreateGridRequest, unit: Unit) -> grids_pb.CreateGridResponse:
        made = await self.service.create(
            unit,
            request.community,
            request.sequence,
            request.name,
            request.name_en,
            text_of(types_pb2.GridKind, request.kind),
            request.households,
            [point(corner) for corner in request.outline],
        )
        return grids_pb.CreateGridResponse(grid=staffed(await self.service.staffed(unit, made)))

    async def GetGrid(self, request: grids_pb.GetGridRequest, unit: Unit) -> grids_pb.GetGridResponse:
        return grids_pb.GetGridResponse(grid=staffed(await self.service.get(unit, request.grid_code)))

    async def ListGrids(self, request: grids_pb.ListGridsRequest, unit: Unit) -> grids_pb.ListGridsResponse:
        page, kind = Page.of(unit, request), text_of(types_pb2.GridKind, request.kind)
        after = (page.after or ("",))[0]
        rows = await grids.grids(unit, scope(unit, request.division), kind, after, page.limit)
        shown, token = page.cut(rows, key=lambda row: (row.code,))
        return grids_pb.ListGridsResponse(grids=map(grid, shown), next_page_token=token)

    async def UpdateGrid(self, request: grids_pb.UpdateGridRequest, unit: Unit) -> grids_pb.UpdateGridResponse:
        changed = dict(
            named(changes(request, request.update_mask, ("name", "name_en", "households", "outline", "active")))
        )
        drawn = changed.pop("outline", None)
        outline = None if drawn is None else [point(corner) for corner in drawn]
        saved = await self.service.update(unit, request.grid_code, changed, outline, request.etag)
        return grids_pb.UpdateGridResponse(grid=staffed(await self.service.staffed(unit, saved)))

    async def AddGridMember(self, request: grids_pb.AddGridMemberRequest, unit: Unit) -> grids_pb.AddGridMemberResponse:
        added = await self.service.add_member(
            unit,
            request.grid_code,
            text_of(types_pb2.MemberRole, request.role),
            request.account,
            request.name,
            request.area,
            some_day(request.from_date, "from_date"),
            some_day(request.until_date, "until_date"),
        )
        return grids_pb.AddGridMemberResponse(member=member(added))

    async def EndGridMember(self, request: grids_pb.EndGridMemberRequest, unit: Unit) -> grids_pb.EndGridMemberResponse:
        ended = await self.service.end_member(
            unit, request.grid_code, UUID(request.member_id), some_day(request.from_date, "from_date")
        )
        return grids_pb.EndGridMemberResponse(member=member(ended))

    async def ListGridMembers(
        self, request: grids_pb.ListGridMembersRequest, unit: Unit
    ) -> grids_pb.ListGridMembersResponse:
        page, on = Page.of(unit, request), some_day(request.on_date, "on_date")
        found = await grids.get(unit, request.grid_code)
        rows = await grids.members_page(unit, found.id, on, page.after or (FIRST_DAY, FIRST_ID), page.limit)
        shown, token = page.cut(rows, key=lambda row: (row.from_date, row.id))
        return grids_pb.ListGridMembersResponse(members=map(member, shown), next_page_token=token)

    async def ListGridVacancies(
        self, request: grids_pb.ListGridVacanciesRequest, unit: Unit
    ) -> grids_pb.ListGridVacanciesResponse:
        page = Page.of(unit, request)
        division, rooms = scope(unit, request.division), self.service.rooms(unit)
        rows = await grids.vacancies(unit, division, unit.today, rooms, page.after or ("", ""), page.limit)
        shown, token = page.cut(rows, key=lambda row: (row.grid_code, row.role))
        return grids_pb.ListGridVacanciesResponse(vacancies=map(vacancy, shown), next_page_token=token)


# -- messages ---------------------------------------------------------------------------------------------------------


def division(row: Division) -> divisions_pb.Division:
    return divisions_pb.Division(
        code=row.code,
        name=row.name,
        short_name=row.short_name,
        level=number_of(divisions_pb.DivisionLevel, row.level),
        parent=row.parent,
        code12=row.code12,
        mca_code=row.mca_code,
        kind=row.kind,
        pinyin=row.pinyin.split(" ", 1)[0],
        source=row.source,
    )


def grid(row: Grid) -> grids_pb.Grid:
    return grids_pb.Grid(
        grid_id=str(row.id),
        grid_code=row.code,
        name=row.name,
        name_en=row.name_en,
        kind=number_of(types_pb2.GridKind, row.kind),
        form=number_of(types_pb2.GridForm, row.form),
        community=row.division,
        township=row.township,
        county=row.county,
        households=row.households,
        outline=map(to_point, row.corners()),
        active=row.active,
        made=row.made,
        etag=str(row.version),
    )


def staffed(found: Staffed) -> grids_pb.Grid:
    message = grid(found.grid)
    message.members.extend(map(member, found.members))
    message.vacancies.extend(map(vacancy, found.vacancies))
    return message


def member(row: Member) -> grids_pb.GridMember:
    return grids_pb.GridMember(
        member_id=str(row.id),
        grid_code=row.grid_code,
        role=number_of(types_pb2.MemberRole, row.role),
        account=row.account,
        name=row.name,
        area=row.area,
        from_date=text_date(row.from_date),
        until_date=text_date(row.until_date),
    )


def vacancy(row: Vacancy) -> grids_pb.Vacancy:
    return grids_pb.Vacancy(
        grid_code=row.grid_code, role=number_of(types_pb2.MemberRole, row.role), missing=row.missing
    )

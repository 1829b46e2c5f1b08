"""Grids and their triangles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any
from uuid import UUID

from kit.errors import AlreadyExists, FailedPrecondition, InvalidArgument, PermissionDenied
from kit.unit import Unit
from services.grid.model.divisions import Ancestors
from services.grid.model.grids import BASIC, Grid, Member, Room, Triangle, Vacancy, code_of, form_of
from services.grid.model.points import Point
from services.grid.service.territory import Counties, polygon
from services.grid.store import directory, divisions
from services.grid.store import grids as store
from services.grid.words import Words

#: Outlines may overlap by this share of the smaller one: drawn by hand along one street, they never fit exactly.
SLACK = 0.01


@dataclass(frozen=True, slots=True)
class Staffed:
    """A grid with its triangle today and what it lacks."""

    grid: Grid
    members: Sequence[Member]
    vacancies: Sequence[Vacancy]


class Grids:
    def __init__(self, counties: Counties, words: Words):
        self.counties, self.words = counties, words

    async def get(self, unit: Unit, code: str) -> Staffed:
        return await self.staffed(unit, await store.get(unit, code))

    async def staffed(self, unit: Unit, grid: Grid) -> Staffed:
        members = await store.members_on(unit, grid.id, unit.today)
        vacancies = self._triangle(unit, grid, members).vacancies(grid.code, unit.today) if grid.active else []
        return Staffed(grid, members, vacancies)

    def _triangle(self, unit: Unit, grid: Grid, members: Sequence[Member]) -> Triangle:
        return Triangle(grid.form, self.rooms(unit)[grid.form], members)

    def rooms(self, unit: Unit) -> Mapping[str, Mapping[str, Room]]:
        """How many serve a grid today, by form and role."""
        return self.words.triangles.on(unit.today).rooms

    async def create(
        self,
        unit: Unit,
        community: str,
        sequence: int,
        name: str,
        name_en: str,
        kind: str,
        households: int,
        outline: Sequence[Point],
    ) -> Grid:
        """`sequence`: the last three digits of the code, 0 for the next free ones. A code is never given twice."""
        if await divisions.find(unit, community) is None:
            raise InvalidArgument("DIVISION_UNKNOWN", field="community", division=community)
        if not unit.principal.covers(community):
            raise PermissionDenied("DIVISION_FOREIGN", field="community", division=community)
        last = await store.last_code(unit, community)
        code = code_of(community, sequence or (int(last[12:]) + 1 if last else 1))
        if sequence and await store.by_code(unit, code):
            raise AlreadyExists("GRID_EXISTS", field="sequence", code=code)
        at = Ancestors.of(community)
        grid = Grid(
            unit.new_id(), code, name, kind, form_of(community), community, at.township, at.county, households,
            name_en=name_en,
        ).drawn(outline)  # fmt: skip
        await self._check_outline(unit, grid)
        return await store.GRIDS.add(unit, grid)

    async def update(
        self, unit: Unit, code: str, changes: Mapping[str, Any], outline: Sequence[Point] | None, etag: str
    ) -> Grid:
        """`outline`: None to leave it as it is."""
        grid = await store.get(unit, code)
        unit.match(etag, grid)
        changed = replace(grid, **changes)
        if outline is not None:
            changed = changed.drawn(outline)
            await self._check_outline(unit, changed)
        return await store.GRIDS.save(unit, changed)

    async def _check_outline(self, unit: Unit, grid: Grid) -> None:
        """A simple polygon in its county, and no basic grid over another."""
        if not grid.outline:
            return
        corners = grid.corners()
        area = polygon(corners) if len(corners) >= 3 else None
        if area is None or not area.is_valid or area.area == 0:
            raise InvalidArgument("OUTLINE_INVALID", field="outline")
        centre = area.representative_point()
        if self.counties.at(Point(centre.y, centre.x)) != grid.county:
            raise InvalidArgument("OUTLINE_ELSEWHERE", field="outline", county=grid.county)
        if grid.kind != BASIC:
            return
        for other in await store.near(unit, grid):
            theirs = polygon(other.corners())
            if other.kind == BASIC and area.intersection(theirs).area > SLACK * min(area.area, theirs.area):
                raise FailedPrecondition("OUTLINE_OVERLAPS", field="outline", grid=other.code)

    # -- the triangle -------------------------------------------------------------------------------------------------

    async def add_member(
        self,
        unit: Unit,
        code: str,
        role: str,
        account: str,
        name: str,
        area: str,
        first: date | None,
        last: date | None,
    ) -> Member:
        grid = await store.get(unit, code)
        if not grid.active:
            raise FailedPrecondition("GRID_GIVEN_UP", grid=code)
        if account:
            staff = await directory.any_staff(unit, account)
            if staff is None or not staff.active:
                raise InvalidArgument("STAFF_UNKNOWN", field="account", account=account)
            name = staff.name
        elif not name:
            raise InvalidArgument("MEMBER_UNNAMED", field="name")
        begins = first or unit.today
        member = Member(unit.new_id(), grid.id, code, grid.division, role, account, name, area, begins, last)
        self._triangle(unit, grid, await store.members(unit, grid.id)).check_room(member)
        await store.MEMBERS.add(unit, member)
        await store.GRIDS.save(unit, grid)
        return member

    async def end_member(self, unit: Unit, code: str, member_id: UUID, first_without: date | None) -> Member:
        grid = await store.get(unit, code)
        member = await store.member(unit, grid.id, member_id)
        ended = await store.MEMBERS.save(unit, member.end(first_without or unit.today))
        await store.GRIDS.save(unit, grid)
        return ended

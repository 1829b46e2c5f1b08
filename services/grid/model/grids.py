"""Grids and the triangle (铁三角) that serves each of them: the party group or branch, the full-time worker, the building heads or centre
households; and the leader of the township who is linked to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from uuid import UUID

from kit.errors import FailedPrecondition, InvalidArgument
from services.grid.model.points import Point

BASIC, EXCLUSIVE = "basic", "exclusive"
URBAN, RURAL = "urban", "rural"

LEADER, SECRETARY, WORKER = "party_group_leader", "party_branch_secretary", "grid_worker"
BUILDING_HEAD, HOUSEHOLD, LINKED = "building_head", "centre_household", "linked_leader"

#: Who must have an account: they are told things and answer for them.
WITH_ACCOUNT = (WORKER, LINKED)

DAY = timedelta(days=1)


def form_of(community: str) -> str:
    """By the last three digits of the statistics bureau's code: 001–199 and 400–499 are residents' committees, the rest villages (国统字〔2009〕91号)."""
    village = int(community[9:12])
    return URBAN if village < 200 or 400 <= village < 500 else RURAL


@dataclass(frozen=True, slots=True)
class Grid:
    """A grid. `code`: the 12 digits of its community and three of its own; `division`: the community; `outline`: lon, lat, lon, lat, … in
    CGCS2000, not closed; `west` to `north`: its box, where there is an outline."""

    id: UUID
    code: str
    name: str
    kind: str
    form: str
    division: str
    township: str
    county: str
    households: int = 0
    outline: Sequence[float] = ()
    west: float | None = None
    south: float | None = None
    east: float | None = None
    north: float | None = None
    name_en: str = ""
    active: bool = True
    made: bool = False
    version: int = 1

    def corners(self) -> list[Point]:
        return [Point(lat, lon) for lon, lat in zip(self.outline[::2], self.outline[1::2], strict=True)]

    def drawn(self, corners: Sequence[Point]) -> Grid:
        """With another outline, or with none."""
        if not corners:
            return replace(self, outline=[], west=None, south=None, east=None, north=None)
        lons, lats = [p.lon for p in corners], [p.lat for p in corners]
        flat = [degree for p in corners for degree in (p.lon, p.lat)]
        return replace(self, outline=flat, west=min(lons), south=min(lats), east=max(lons), north=max(lats))


def code_of(community: str, sequence: int) -> str:
    if not 1 <= sequence <= 999:
        raise FailedPrecondition("GRID_CODES_USED_UP", community=community)
    return f"{community}{sequence:03d}"


@dataclass(frozen=True, slots=True)
class Member:
    """A place in a triangle, both days included; `until_date` is None while it lasts. `account` is "" for somebody without one; `area`: what a
    building head looks after. `division` is the grid's community."""

    id: UUID
    grid_id: UUID
    grid_code: str
    division: str
    role: str
    account: str
    name: str
    area: str
    from_date: date
    until_date: date | None = None
    version: int = 1

    def on(self, day: date) -> bool:
        return self.from_date <= day and (self.until_date is None or day <= self.until_date)

    def end(self, day: date) -> Member:
        """`day` is the first without it."""
        if self.until_date is not None and self.until_date < day:
            raise FailedPrecondition("MEMBER_ENDED")
        if day < self.from_date:
            raise InvalidArgument("DATES_REVERSED", field="from_date")
        return replace(self, until_date=day - DAY)


@dataclass(frozen=True, slots=True)
class Vacancy:
    grid_code: str
    role: str
    missing: int


@dataclass(frozen=True, slots=True)
class Room:
    """How many serve a grid in a role; `most` is None where there is no limit."""

    least: int
    most: int | None


@dataclass(frozen=True, slots=True)
class Triangle:
    """All members that a grid has, had or will have. `rooms`: the roles of the grid's form, by the rule in force (data/rules/grid.toml)."""

    form: str
    rooms: Mapping[str, Room]
    members: Sequence[Member] = field(default_factory=tuple)

    def check_room(self, new: Member) -> None:
        """Refuses a role that the form does not know, a full place on any of the days, and the same person twice."""
        if new.role not in self.rooms:
            raise InvalidArgument("ROLE_NOT_OF_FORM", field="role", role=new.role, form=self.form)
        if new.role in WITH_ACCOUNT and not new.account:
            raise InvalidArgument("ROLE_NEEDS_ACCOUNT", field="account", role=new.role)
        if new.until_date is not None and new.until_date < new.from_date:
            raise InvalidArgument("DATES_REVERSED", field="until_date")
        at_once = [m for m in self.members if m.role == new.role and _overlap(m, new)]
        if new.account and any(m.account == new.account for m in at_once):
            raise FailedPrecondition("MEMBER_ALREADY", role=new.role)
        most = self.rooms[new.role].most
        # The place is fullest on a day on which somebody's turn begins.
        days = [max(m.from_date, new.from_date) for m in at_once]
        if most is not None and any(sum(m.on(day) for m in at_once) >= most for day in days):
            raise FailedPrecondition("PLACE_FULL", role=new.role, most=most)

    def vacancies(self, grid_code: str, today: date) -> list[Vacancy]:
        """Places below their least, today."""
        present = {role: sum(m.role == role and m.on(today) for m in self.members) for role in self.rooms}
        return [
            Vacancy(grid_code, role, room.least - present[role])
            for role, room in self.rooms.items()
            if present[role] < room.least
        ]


def _overlap(one: Member, other: Member) -> bool:
    ends_before = one.until_date is not None and one.until_date < other.from_date
    begins_after = other.until_date is not None and one.from_date > other.until_date
    return not ends_before and not begins_after

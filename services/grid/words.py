"""Numbers of the grid that are local: data/rules/grid.toml. What is decided follows the version in force on the day; all versions are kept."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Generic, TypeVar

from services.grid.model.grids import Room


@dataclass(frozen=True, slots=True, kw_only=True)
class Versioned:
    """`source`, in Chinese, and `source_en`: where it comes from; `confidence`: see data/rules/grid.toml."""

    version: str
    effective_from: date
    source: str
    source_en: str
    confidence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters(Versioned):
    """`same_place_metres`: points that are not further apart are one place. The others: days that an entry of the roster, or an absence, may span
    beyond its first."""

    same_place_metres: int
    longest_duty_days: int
    longest_leave_days: int

    @property
    def longest_duty(self) -> timedelta:
        return timedelta(days=self.longest_duty_days)

    @property
    def longest_leave(self) -> timedelta:
        return timedelta(days=self.longest_leave_days)


@dataclass(frozen=True, slots=True, kw_only=True)
class Triangles(Versioned):
    """Who serves a grid, by the grid's form and the role."""

    rooms: Mapping[str, Mapping[str, Room]]


V = TypeVar("V", bound=Versioned)


class Versions(Generic[V]):
    """All versions of one thing."""

    def __init__(self, name: str, versions: Iterable[V]):
        self.name, self.all = name, sorted(versions, key=lambda one: one.effective_from)

    def on(self, day: date) -> V:
        """The one in force on a day; LookupError where there was none yet."""
        found = [one for one in self.all if one.effective_from <= day]
        if not found:
            raise LookupError(f"no {self.name} in force on {day}")
        return found[-1]


class Words:
    """Everything that the grid takes from data files beside its limits. `data`: the folder."""

    def __init__(self, data: Path):
        rules = tomllib.loads((data / "rules" / "grid.toml").read_text("utf-8"))
        self.parameters = Versions("parameters of the grid", (Parameters(**row) for row in rules["parameters"]))
        self.triangles = Versions("triangle", (_triangles(row) for row in rules["triangles"]))
        #: An entry of the roster that touches a day begins no longer before it, by whichever version it was made.
        self.longest_duty_ever = max(one.longest_duty for one in self.parameters.all)


def _triangles(row: Mapping[str, Any]) -> Triangles:
    rest = dict(row)
    places = rest.pop("places")
    rooms: dict[str, dict[str, Room]] = {}
    for place in places:
        rooms.setdefault(place["form"], {})[place["role"]] = Room(place["least"], place.get("most"))
    return Triangles(rooms=rooms, **rest)

"""Divisions and where a point lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson
import shapely
from shapely.geometry import shape

from kit.errors import NotFound
from kit.unit import Unit
from services.grid.model.divisions import Division, search_words
from services.grid.model.grids import BASIC, Grid
from services.grid.model.points import Point
from services.grid.store import divisions, grids


class Counties:
    """The outlines of the counties (data/counties.geojson, CGCS2000)."""

    def __init__(self, geojson: Path):
        features = orjson.loads(geojson.read_bytes())["features"]
        self._outlines = {f["properties"]["code"]: shape(f["geometry"]) for f in features}
        for outline in self._outlines.values():
            shapely.prepare(outline)

    def at(self, point: Point) -> str:
        """Code of the county in which the point lies, or "". On a border the lower code wins."""
        spot = shapely.Point(point.lon, point.lat)
        return next((code for code, outline in self._outlines.items() if outline.intersects(spot)), "")


@dataclass(frozen=True, slots=True)
class Located:
    point: Point
    county: Division
    grid_code: str


class Territory:
    def __init__(self, counties: Counties):
        self.counties = counties

    async def search(self, unit: Unit, query: str, within: str, level: str) -> Sequence[Division]:
        words = search_words(query)
        return await divisions.search(unit, words, within, level) if words else []

    async def locate(self, unit: Unit, point: Point) -> Located:
        """NotFound(POINT_OUTSIDE) for a point outside all counties."""
        county = self.counties.at(point)
        if not county:
            raise NotFound("POINT_OUTSIDE", field="point")
        grid = await grid_at(unit, point)
        return Located(point, await divisions.get(unit, county), grid.code if grid else "")


async def grid_at(unit: Unit, point: Point) -> Grid | None:
    """The grid in whose outline the point lies; an exclusive one before the basic one around it, else the lower code."""
    spot = shapely.Point(point.lon, point.lat)
    found = [grid for grid in await grids.around(unit, point) if polygon(grid.corners()).intersects(spot)]
    return min(found, key=lambda grid: (grid.kind == BASIC, grid.code), default=None)


def polygon(corners: Sequence[Point]) -> shapely.Polygon:
    return shapely.Polygon([(p.lon, p.lat) for p in corners])

"""Coordinate systems of Chinese maps, to and fro.

Everything is kept in CGCS2000 (EPSG:4490), which is within a metre of WGS-84 and is treated as equal to it. GCJ-02 is the shifted system of most web
maps and mini-programs (some 500 m at Linhe: a wrong system breaks every geofence), BD-09 is Baidu's shift on top of it. The inverses are
solved by iteration until they are exact to about a tenth of a millimetre.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import atan2, cos, hypot, pi, radians, sin, sqrt

WGS84, CGCS2000, GCJ02, BD09 = "wgs84", "cgcs2000", "gcj02", "bd09"

#: Krasovsky 1940, on which the shift of GCJ-02 is defined: semi-major axis in metres, squared eccentricity.
AXIS, ECCENTRICITY = 6378245.0, 0.00669342162296594323

#: Mean radius of the earth in metres, for short distances.
RADIUS = 6371008.8


@dataclass(frozen=True, slots=True)
class Point:
    """Degrees, CGCS2000."""

    lat: float
    lon: float

    def metres_to(self, other: Point) -> float:
        """Distance on the sphere; good to half a per cent, which is enough to tell a place from another."""
        a = sin(radians(other.lat - self.lat) / 2) ** 2
        b = sin(radians(other.lon - self.lon) / 2) ** 2
        h = a + cos(radians(self.lat)) * cos(radians(other.lat)) * b
        return 2 * RADIUS * atan2(sqrt(h), sqrt(1 - h))


def from_crs(lat: float, lon: float, crs: str) -> Point:
    """A point given in any of the four systems; "" is taken as WGS-84."""
    if crs == GCJ02:
        return Point(*_inverse(_to_gcj02, lat, lon))
    if crs == BD09:
        return Point(*_inverse(_to_gcj02, *_inverse(_gcj02_to_bd09, lat, lon)))
    return Point(lat, lon)


def to_crs(point: Point, crs: str) -> tuple[float, float]:
    """(lat, lon) of a point in another system."""
    if crs == GCJ02:
        return _to_gcj02(point.lat, point.lon)
    if crs == BD09:
        return _gcj02_to_bd09(*_to_gcj02(point.lat, point.lon))
    return point.lat, point.lon


def _to_gcj02(lat: float, lon: float) -> tuple[float, float]:
    # Outside this box GCJ-02 is WGS-84.
    if not (72.004 <= lon <= 137.8347 and 0.8293 <= lat <= 55.8271):
        return lat, lon
    x, y = lon - 105.0, lat - 35.0
    fine = (20.0 * sin(6.0 * x * pi) + 20.0 * sin(2.0 * x * pi)) * 2.0 / 3.0
    north = -100.0 + 2.0 * x + 3.0 * y + 0.2 * y * y + 0.1 * x * y + 0.2 * sqrt(abs(x)) + fine
    north += (20.0 * sin(y * pi) + 40.0 * sin(y / 3.0 * pi)) * 2.0 / 3.0
    north += (160.0 * sin(y / 12.0 * pi) + 320.0 * sin(y * pi / 30.0)) * 2.0 / 3.0
    east = 300.0 + x + 2.0 * y + 0.1 * x * x + 0.1 * x * y + 0.1 * sqrt(abs(x)) + fine
    east += (20.0 * sin(x * pi) + 40.0 * sin(x / 3.0 * pi)) * 2.0 / 3.0
    east += (150.0 * sin(x / 12.0 * pi) + 300.0 * sin(x / 30.0 * pi)) * 2.0 / 3.0
    w = 1 - ECCENTRICITY * sin(radians(lat)) ** 2
    meridian = AXIS * (1 - ECCENTRICITY) / (w * sqrt(w))
    parallel = AXIS / sqrt(w) * cos(radians(lat))
    return lat + north * 180.0 / (meridian * pi), lon + east * 180.0 / (parallel * pi)


def _gcj02_to_bd09(lat: float, lon: float) -> tuple[float, float]:
    scale = pi * 3000.0 / 180.0
    length = hypot(lon, lat) + 0.00002 * sin(lat * scale)
    angle = atan2(lat, lon) + 0.000003 * cos(lon * scale)
    return length * sin(angle) + 0.006, length * cos(angle) + 0.0065


def _inverse(shift: Callable[[float, float], tuple[float, float]], lat: float, lon: float) -> tuple[float, float]:
    """What `shift` maps to (lat, lon). The shift hardly changes from place to place, so each step gains two digits or more."""
    at, on = lat, lon
    for _ in range(20):
        there, thither = shift(at, on)
        error, slip = there - lat, thither - lon
        at, on = at - error, on - slip
        if abs(error) < 1e-9 and abs(slip) < 1e-9:
            break
    return at, on
